"""Matview: saved SQL views, each materialized on a Temporal schedule of its own.

This module imports nothing on purpose. Every process would load it too, also those that run one query, and the sandbox
in which the tests replay workflows would load it again for each.
"""
