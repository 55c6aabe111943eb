"""Which types a snapshot can hold, and the casts that make a query's columns fit."""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

import duckdb
from duckdb.sqltypes import DuckDBPyType

_DECIMAL = "DECIMAL(38,0)"
_STORED_AS = {
    "hugeint": _DECIMAL,
    "uhugeint": _DECIMAL,
    "bignum": "VARCHAR",
    "bit": "VARCHAR",
    "enum": "VARCHAR",
    "interval": "VARCHAR",
    "time with time zone": "VARCHAR",
    "time_ns": "VARCHAR",
    "timestamp_s": "TIMESTAMP",
    "timestamp_ms": "TIMESTAMP",
}


class Unstorable(ValueError):
    """A column has a type that no snapshot can hold. The text says which."""


def storable(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """A SELECT that gives what `sql` gives, in types that come back from Parquet exactly as they went in.

    Left alone, DuckDB would store a HUGEINT as DOUBLE (wrong digits), cut an INTERVAL to milliseconds and fold it at 49
    days, move a TIME WITH TIME ZONE to UTC, and change some other types in silence. So, at any depth:

    * HUGEINT and UHUGEINT become DECIMAL(38,0); a value of more than 38 digits fails the query.
    * BIGNUM, BIT, ENUM, INTERVAL, TIME WITH TIME ZONE and TIME_NS become their text, which casts back without loss.
    * TIMESTAMP_S and TIMESTAMP_MS become TIMESTAMP, a fixed-size array becomes a list, a struct without field names
      gets the names v1, v2, ..., and a GEOMETRY without a coordinate system gets Parquet's default one.
    * A UNION is refused: Parquet would keep a struct of another shape.

    The same casts are used for a view that is only inlined and for the description of a query, so a view's columns do
    not depend on whether it is materialized. Columns of the same name get the suffix `_1`, `_2`, as in the file.

    Raises Unstorable, or duckdb.Error if `sql` does not bind.
    """
    relation = connection.sql(f"SELECT * FROM (\n{sql}\n) AS q")
    columns = []
    for position, (name, kind) in enumerate(zip(relation.columns, relation.types, strict=True), start=1):
        try:
            stored = _stored_type(kind)
        except Unstorable as error:
            raise Unstorable(f'The column "{name}" {error}') from None
        # Also where nothing seems to change: a NULL that is INTEGER here would have no type yet inside a view.
        columns.append(f"CAST(#{position} AS {stored}) AS {quoted(name)}")
    return f"SELECT {', '.join(columns)} FROM (\n{sql}\n) AS q"


def quoted(identifier: str) -> str:
    """`identifier` as SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def _stored_type(kind: DuckDBPyType) -> str:
    if kind.id in _STORED_AS:
        return _STORED_AS[kind.id]
    if kind.id == "union":
        raise Unstorable("is a UNION, which a snapshot cannot hold. Cast it to another type.")
    if kind.id in {"list", "array"}:
        return f"{_stored_type(_child_types(kind)[0][1])}[]"
    if kind.id == "map":
        key, value = (_stored_type(child) for _, child in _child_types(kind))
        return f"MAP({key}, {value})"
    if kind.id == "struct":
        return _stored_struct(kind)
    return "GEOMETRY('OGC:CRS84')" if str(kind) == "GEOMETRY" else str(kind)


def _stored_struct(kind: DuckDBPyType) -> str:
    fields = [(name, child, _stored_type(child)) for name, child in _child_types(kind)]
    if all(name and stored == str(child) for name, child, stored in fields):
        return str(kind)
    named = (f"{quoted(name or f'v{n}')} {stored}" for n, (name, _, stored) in enumerate(fields, start=1))
    return f"STRUCT({', '.join(named)})"


def _child_types(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    return [(str(name), child) for name, child in kind.children if isinstance(child, DuckDBPyType)]
