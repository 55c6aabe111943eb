"""Matview: saved SQL views, each materialized on a Temporal schedule of its own.

Nothing is imported here on purpose: whatever stood here, every process would load, also those that run one query, and
the sandbox in which the tests replay workflows would load it again for each.
"""
