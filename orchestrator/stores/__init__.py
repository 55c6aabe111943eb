"""Snapshot stores, which keep Parquet files. `base.py` is the protocol, `local.py` implements it."""
