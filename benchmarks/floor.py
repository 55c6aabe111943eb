"""The floor: the same work in plain DuckDB. Run as a program it loads nothing else, and prints the seconds."""

import sys
import time
from pathlib import Path

import duckdb


def plain(sql: str, folder: Path) -> None:
    """The same work without the product: one connection, one COPY with the same options."""
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET enable_progress_bar = false")
        several = "" if "ORDER BY" in sql else ", FILE_SIZE_BYTES '256MB', OVERWRITE true"
        target = f"{folder}.parquet" if not several else folder
        connection.execute(
            f"COPY ({sql}) TO '{target}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION V2"
            f"{several})"
        )


if __name__ == "__main__":
    began = time.perf_counter()
    plain(sys.argv[1], Path(sys.argv[2]))
    sys.stdout.write(f"{time.perf_counter() - began}\n")
