"""The digest of the rows of Parquet files, in any order and in any layout."""

# ruff: noqa: S608 - composing SQL is what this module is for; every name in it is quoted here

from collections.abc import Sequence

import duckdb

from orchestrator.engines.duckdb.sources.parquet import read_parquet
from orchestrator.engines.duckdb.sql.parquet_casts import quoted


def content_digest(connection: duckdb.DuckDBPyConnection, paths: Sequence[str], columns: Sequence[str]) -> str:
    """The digest of the rows in these files, which have these columns.

    It says that two versions are equal, not where a person has made them collide on purpose. It is comparable only
    between results of one version of DuckDB, whose hash function it uses.
    """
    # Of texts: DuckDB's hashes of values are made for grouping. There 0 and -1 are equal as HUGEINT, an empty list and
    # NULL, 0.0 and -0.0, and ([1, 2], [3]) and ([1], [2, 3]) as two columns.
    row_hash = f"hash({', '.join(f'{name} IS NULL, {name}::VARCHAR' for name in map(quoted, columns))})"
    # The sum notices a row that occurs twice, and the exclusive or does not; together they hardly ever collide.
    figures = "count(*), coalesce(sum(h::HUGEINT), 0), coalesce(bit_xor(h), 0)"
    select = f"SELECT {figures} FROM (SELECT {row_hash} AS h FROM ({read_parquet(paths)}))"
    found = connection.execute(select).fetchone()
    return f"duckdb-{duckdb.__version__}:{':'.join(map(str, found or ()))}"
