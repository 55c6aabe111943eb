"""Parquet: where snapshots live. `base.py` is the promise, the other files keep it."""
