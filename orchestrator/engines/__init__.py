"""Compute: what runs a view's SQL. `base.py` is the promise, the other files keep it with DuckDB."""
