"""DuckDB as an engine. This folder is the parent's side and never imports duckdb; child processes load those below."""
