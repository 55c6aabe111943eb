"""The columns of a query's result, each of which must have a type that a snapshot can hold."""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

from collections.abc import Mapping
from typing import Any

import duckdb

from orchestrator.engines.duckdb.child.places import stating
from orchestrator.model.column_limits import too_wide
from orchestrator.model.names import quoted
from orchestrator.model.type_names import Kind, example_size, kind_of, literal, parts

_STORABLE = frozenset(
    [
        *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
        *("FLOAT", "DOUBLE", "DECIMAL", "VARCHAR", "JSON", "UUID", "BLOB"),
        *("DATE", "TIME", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"),
        *("HUGEINT", "UHUGEINT", "BIGNUM", "BIT", "ENUM", "INTERVAL", "TIME WITH TIME ZONE", "TIME_NS"),
        *("TIMESTAMP_S", "TIMESTAMP_MS", "GEOMETRY"),
    ]
)
_LARGEST_EXAMPLE = 10_000
# A view cannot have this name, since it contains a space.
_PROBE = "a probe"


class UnsupportedType(ValueError):
    """A column has a type that no snapshot can hold, or there are too many columns. The message says which."""


def columns_of_query(
    connection: duckdb.DuckDBPyConnection, sql: str, *, collated: bool, parameters: Mapping[str, Any] | None = None
) -> list[tuple[str, Kind]]:
    """The columns of `sql`, and their types. If `collated`, they may have collations, which are then looked up.

    Raises UnsupportedType, or duckdb.Error if `sql` does not bind.
    """
    select = f"SELECT * FROM (\n{sql}\n) AS q"
    with stating(f"DESCRIBE {select}", sql):
        described = _described(connection, select, parameters)
    columns = [(name, kind_of(kind)) for name, kind in described]
    # A query can name one type many times: without a limit, 200,000 bytes of SQL would have gigabytes of types.
    excess = too_wide([(name, kind.text) for name, kind in columns])
    if excess:
        raise UnsupportedType(excess)
    for name, kind in columns:
        for part in parts(kind):
            _check(connection, name, part)
    return _with_collations(connection, sql, columns) if collated else columns


def _described(
    connection: duckdb.DuckDBPyConnection, select: str, parameters: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    if parameters:  # with them, `sql` would run the query
        rows = connection.execute(f"DESCRIBE {select}", parameters).fetchall()
        return [(row[0], row[1]) for row in rows]
    try:
        relation = connection.sql(select)
    except duckdb.Error:
        connection.execute(f"DESCRIBE {select}")  # it raises the same error, with its place
        raise
    return [(name, str(kind)) for name, kind in zip(relation.columns, relation.types, strict=True)]


def _with_collations(
    connection: duckdb.DuckDBPyConnection, sql: str, columns: list[tuple[str, Kind]]
) -> list[tuple[str, Kind]]:
    """The columns with their collations, which DuckDB shows only in the definition of a table."""
    names = ", ".join(f"c{n}" for n in range(len(columns)))
    table = f"memory.main.{quoted(_PROBE)}"
    connection.execute(f"CREATE TABLE {table} AS SELECT * FROM (\n{sql}\n) AS q({names}) WITH NO DATA")
    found = connection.execute(f"SELECT sql FROM duckdb_tables() WHERE table_name = {literal(_PROBE)}").fetchone()
    connection.execute(f"DROP TABLE {table}")
    types = str(found[0] if found else "").partition("(")[2].rpartition(")")[0]
    kinds = kind_of(f"STRUCT({types})").children
    return [
        (name, probed if probed.name == "VARCHAR COLLATE" else kind)
        for (name, kind), probed in zip(columns, kinds, strict=True)
    ]


def _check(connection: duckdb.DuckDBPyConnection, column: str, kind: Kind) -> None:
    if kind.name == "GEOMETRY" and not _has_known_system(connection, kind):
        advice = "ST_SetCRS(…, 'OGC:CRS84') gives it another one."
        raise UnsupportedType(f'The column "{column}" has a coordinate system that a snapshot cannot hold. {advice}')
    if kind.name == "UNION":
        raise UnsupportedType(
            f'The column "{column}" is a UNION, which a snapshot cannot hold. Cast it to another type.'
        )
    if kind.name == "VARIANT":
        advice = "Cast it to JSON or to another type."
        raise UnsupportedType(
            f'The column "{column}" is a VARIANT, which a snapshot cannot hold without loss. {advice}'
        )
    if example_size(kind) > _LARGEST_EXAMPLE:
        raise UnsupportedType(
            f'The column "{column}" is an array of structs without names of fields, and too large for that.'
        )
    if not kind.children and kind.name not in _STORABLE:
        raise UnsupportedType(f'The column "{column}" is of the type {kind.text}, which a snapshot cannot hold.')


def _has_known_system(connection: duckdb.DuckDBPyConnection, kind: Kind) -> bool:
    """Whether Parquet can hold a GEOMETRY's coordinate system: one built into DuckDB, or one in PROJJSON."""
    if kind.text in {"GEOMETRY", "GEOMETRY('OGC:CRS84')", "GEOMETRY('OGC:CRS83')"}:
        return True
    try:
        return kind.text.startswith("GEOMETRY('{") and bool(connection.sql(f"SELECT CAST(NULL AS {kind.text})"))
    except duckdb.Error:
        return False
