"""The DuckDB engine. These modules are the parent's side and never import duckdb; child processes load the folders."""
