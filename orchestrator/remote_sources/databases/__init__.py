"""Tables of databases: describes them, and copies them into Parquet files."""
