"""Engines, which run a view's SQL. `base.py` has their protocols, `duckdb/` implements them."""
