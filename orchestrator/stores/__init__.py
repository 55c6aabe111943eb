"""Snapshot stores, which keep Parquet files. `base.py` is the protocol, the other files implement it."""
