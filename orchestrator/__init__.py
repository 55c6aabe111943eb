"""Matview: saved SQL views, each materialized on a Temporal schedule of its own.

Nothing is imported here on purpose: Temporal's workflow sandbox imports this package again for every workflow
module, so whatever stood here would be paid for each time.
"""
