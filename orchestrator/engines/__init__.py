"""Engines, which run a view's SQL. `base.py` has their protocols; the other files implement these with DuckDB."""
