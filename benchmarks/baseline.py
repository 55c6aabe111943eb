"""The floor: the same work in plain DuckDB. As a program, it loads nothing else and prints the seconds."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import duckdb


def plain(sql: str, folder: Path, sources: Mapping[str, Path] | None = None) -> None:
    """Do the same work without the product: one connection, one COPY with the same options.

    Args:
        sql: The statement.
        folder: Where the result is written: into the folder, or into `{folder}.parquet` if the statement has ORDER BY.
        sources: The Parquet files that each name in the statement refers to.
    """
    with connected() as connection:
        copy(connection, sql, folder, sources or {})


def connected() -> duckdb.DuckDBPyConnection:
    """A connection as the floors use it."""
    connection = duckdb.connect()
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET enable_progress_bar = false")
    return connection


def copy(connection: duckdb.DuckDBPyConnection, sql: str, folder: Path, sources: Mapping[str, Path]) -> None:
    """Write the result of a statement; the arguments are those of `plain`."""
    for name, path in sources.items():
        connection.execute(f"CREATE OR REPLACE VIEW {name} AS FROM read_parquet('{path}')")
    several = "" if "ORDER BY" in sql else ", FILE_SIZE_BYTES '256MB', OVERWRITE true"
    target = f"{folder}.parquet" if not several else folder
    connection.execute(
        f"COPY ({sql}) TO '{target}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION V2"
        f"{several})"
    )


if __name__ == "__main__":
    began = time.perf_counter()
    statement, target, *named = sys.argv[1:]
    plain(statement, Path(target), {name: Path(path) for name, _, path in (one.partition("=") for one in named)})
    sys.stdout.write(f"{time.perf_counter() - began}\n")
