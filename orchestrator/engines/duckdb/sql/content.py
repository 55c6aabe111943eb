"""The digest of the rows of Parquet files, in any order and in any layout."""

# ruff: noqa: S608 - composing SQL is what this module is for; every name in it is quoted here

import re
from collections.abc import Sequence

import duckdb

from orchestrator.engines.duckdb.sources.parquet import read_parquet
from orchestrator.engines.duckdb.sql.parquet_casts import quoted
from orchestrator.model.names import fold

# Types of which DuckDB's hash differs for any two values. It is made for grouping, so of the others a text is hashed:
# 0 and -1 are equal as HUGEINT, one month and thirty days, an empty list and NULL, and ([1, 2], [3]) and ([1], [2, 3])
# as two columns. Texts take several times as long.
_HASHED_AS_THEY_ARE = frozenset(
    {"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "DATE"}
    | {"TIME", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE", "VARCHAR", "BLOB"}
)
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
_SMALL_DECIMAL = re.compile(r"DECIMAL\((\d|1[0-8]),\d+\)")


def content_digest(connection: duckdb.DuckDBPyConnection, paths: Sequence[str], columns: Sequence[str]) -> str:
    """The digest of the rows in these files, which have these columns.

    It says that two versions are equal, not where a person has made them collide on purpose. It is comparable only
    between results of one version of DuckDB, whose hash function it uses.
    """
    rows = connection.sql(read_parquet(paths))
    kinds = dict(zip(map(fold, rows.columns), map(str, rows.types), strict=True))
    values = ", ".join(_hashed(quoted(name), kinds[fold(name)]) for name in columns)
    # Hashed once more, since the hash of several values mixes the last of them with an exclusive or only: for one pair
    # of rows in a hundred million, no sum would notice that they have exchanged it.
    select = f"SELECT hash(hash({values})) AS h FROM ({read_parquet(paths)})"
    # The sum notices a row that occurs twice, and the exclusive or does not; together they hardly ever collide.
    figures = "count(*), coalesce(sum(h::HUGEINT), 0), coalesce(bit_xor(h), 0)"
    found = connection.execute(f"SELECT {figures} FROM ({select})").fetchone()
    return f"duckdb-{duckdb.__version__}:{':'.join(map(str, found or ()))}"


def _hashed(name: str, kind: str) -> str:
    """The values that are hashed for a column of this type, given by its quoted name. NULL has the hash of a value."""
    if kind in _HASHED_AS_THEY_ARE or _SMALL_DECIMAL.fullmatch(kind):
        return f"{name} IS NULL, {name}"
    if kind in _FLOATS:  # 0.0 and -0.0 have one hash, and so do the two signs of NaN, which are equal to every reader
        return f"{name} IS NULL, {name}, signbit({name}) AND NOT isnan({name})"
    return f"{name} IS NULL, {name}::VARCHAR"
