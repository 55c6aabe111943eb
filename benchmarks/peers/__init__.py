"""dbt-duckdb, SQLMesh, Dagster and Prefect beside the product and plain DuckDB, doing the same work in turn."""
