"""A newcomer's journey, typed command by command: in the product, in dbt-duckdb and in SQLMesh."""
