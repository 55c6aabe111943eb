"""Casts that store each of DuckDB's types in Parquet and read it back as the same type.

A column has two types. The *logical* one is the type in the query: it is recorded and shown, and the next view sees it,
whether this one is materialized or not. The *stored* one is the type in the files, where Parquet has no equivalent.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import duckdb

from orchestrator.engines.duckdb.sql.output_columns import UnsupportedType, columns_of_query
from orchestrator.model.names import quoted
from orchestrator.model.type_names import Kind, is_nameable, kind_of, literal, parts

__all__ = [
    "TOO_WIDE",
    "Logical",
    "Storable",
    "UnsupportedType",
    "cast_for_parquet",
    "decoded",
    "literal",
    "logical",
    "quoted",
    "typed_null",
]

DECIMAL = "DECIMAL(38,0)"
# DuckDB's error message contains this if a number does not fit into that DECIMAL.
TOO_WIDE = f"to {DECIMAL}"
_PARQUET_TYPES = {
    "HUGEINT": DECIMAL,
    "UHUGEINT": "VARCHAR",
    "BIGNUM": "VARCHAR",
    "BIT": "VARCHAR",
    "ENUM": "VARCHAR",
    "INTERVAL": "VARCHAR",
    "TIME WITH TIME ZONE": "VARCHAR",
    "TIME_NS": "VARCHAR",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
    "VARCHAR COLLATE": "VARCHAR",
}
# DuckDB does not read its own text of some values back as the same value: an offset of `+00:00:01` becomes `+00:01`,
# and 2,147,483,648 hours or more are no INTERVAL. An infinite TIMESTAMP_S cannot be cast to TIMESTAMP.
_WRITTEN_BY_HAND = {
    "TIME WITH TIME ZONE": (
        "CASE WHEN date_part('timezone', {0}) % 60 = 0 THEN CAST({0} AS VARCHAR) ELSE printf('%s%s%02d:%02d:%02d',"
        " CAST(CAST({0} AS TIME) AS VARCHAR), CASE WHEN date_part('timezone', {0}) < 0 THEN '-' ELSE '+' END,"
        " abs(date_part('timezone', {0})) // 3600, abs(date_part('timezone', {0})) // 60 % 60,"
        " abs(date_part('timezone', {0})) % 60) END"
    ),
    "INTERVAL": (
        "CASE WHEN abs(date_part('hour', {0})) < 2147483648 THEN CAST({0} AS VARCHAR) ELSE"
        " printf('%d years %d months %d days %d hours %d minutes %d microseconds', date_part('year', {0}),"
        " date_part('month', {0}), date_part('day', {0}), date_part('hour', {0}), date_part('minute', {0}),"
        " date_part('microseconds', {0})) END"
    ),
    "TIMESTAMP_S": (
        "CASE WHEN isfinite({0}) THEN CAST({0} AS TIMESTAMP) ELSE CAST(CAST({0} AS VARCHAR) AS TIMESTAMP) END"
    ),
}


# With V2, DuckDB 1.5.5 fails to write three rows of ['x'] ("not enough space in buffer"). It also writes integers of 32
# bits that are far apart in a form that pyarrow, and so pandas, cannot read ("Unexpected end of stream").
_NEEDS_V1 = frozenset({"LIST", "ARRAY", "MAP", "INTEGER", "UINTEGER"})


class Forms(NamedTuple):
    """The types in which HUGEINT and JSON are stored."""

    huge: str
    json: str = "JSON"


AS_NUMBERS, AS_TEXT = Forms(DECIMAL), Forms("VARCHAR")


class Logical(NamedTuple):
    """A SELECT for the next view, and the name and the logical type of each of its columns."""

    select: str
    columns: list[tuple[str, str]]


class Storable(NamedTuple):
    """A SELECT for COPY, and the name and the logical type of each of its columns.

    If `may_be_wide`, the COPY fails on a HUGEINT of more than 38 digits; the caller must then store text.
    `version` is the version of Parquet's encodings to write with, V1 or V2.
    """

    select: str
    columns: list[tuple[str, str]]
    may_be_wide: bool
    version: str


def logical(connection: duckdb.DuckDBPyConnection, sql: str, *, collated: bool = False) -> Logical:
    """A SELECT that gives the next view the values and types of `sql`, the same whether `sql` is materialized or not.

    Two details would otherwise depend on that, and are fixed here. A bare NULL has no type inside a query and would be
    INTEGER in a file, so it is INTEGER. Columns of the same name get the suffix `_1`, `_2`, as in a file.

    `collated` says that something in `sql`, or in its inputs, may have a collation. To see it takes extra statements.

    Raises UnsupportedType, or duckdb.Error if `sql` does not bind.
    """
    kinds = columns_of_query(connection, sql, collated=collated)
    columns = []
    for position, (name, kind) in enumerate(kinds, start=1):
        value = f"#{position}"
        if any(part.name == "INTEGER" for part in parts(kind)):
            value = _cast(value, kind)
        columns.append(f"{value} AS {quoted(name)}")
    select = f"SELECT {', '.join(columns)} FROM (\n{sql}\n) AS q"
    return Logical(select, [(name, kind.text) for name, kind in kinds])


def cast_for_parquet(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    *,
    collated: bool = False,
    wide: bool = False,
    parameters: Mapping[str, Any] | None = None,
) -> Storable:
    """A SELECT of the values of `sql`, in types that are read back from Parquet exactly as they were written.

    By default, DuckDB would store a HUGEINT as DOUBLE (wrong digits), cut an INTERVAL to milliseconds and wrap it at 49
    days, move a TIME WITH TIME ZONE to UTC, and change some other types without an error. So, at any depth:

    * HUGEINT becomes DECIMAL(38,0), or text in all columns if `wide`: then one of them has a value of 39 digits.
    * UHUGEINT, BIGNUM, BIT, ENUM, INTERVAL, TIME WITH TIME ZONE and TIME_NS become text. A UHUGEINT is nearly always a
      hash of 39 digits, and its column must not be text in one run and a number in the next.
    * TIMESTAMP_S and TIMESTAMP_MS become TIMESTAMP, a fixed-size array becomes a list, a struct without field names
      gets the names v1, v2, ..., and a GEOMETRY without a coordinate system gets Parquet's default one. Inside another
      type, where Parquet would lose it, a GEOMETRY becomes its well-known binary.

    `decoded` reverses this. Raises UnsupportedType, or duckdb.Error if `sql` does not bind.
    """
    forms = AS_TEXT if wide else AS_NUMBERS
    kinds = columns_of_query(connection, sql, collated=collated, parameters=parameters)
    columns = [
        f"{encoded(f'#{position}', kind, forms, depth=0)} AS {quoted(name)}"
        for position, (name, kind) in enumerate(kinds, start=1)
    ]
    names = {part.name for _, kind in kinds for part in parts(kind)}
    select = f"SELECT {', '.join(columns)} FROM (\n{sql}\n) AS q"
    version = "V1" if names & _NEEDS_V1 else "V2"
    return Storable(select, [(name, kind.text) for name, kind in kinds], not wide and "HUGEINT" in names, version)


def decoded(files: str, columns: Sequence[tuple[str, str, str | None]]) -> str:
    """A SELECT of the `columns` (name, logical and stored type) from `files`, a SELECT of all that the files hold.

    A column without a stored type is stored in its logical type, as all are in snapshots of earlier releases.
    """
    if not any(stored or kind.startswith("GEOMETRY") for _, kind, stored in columns):
        return files
    values = (f"{_read(quoted(name), kind_of(kind), stored)} AS {quoted(name)}" for name, kind, stored in columns)
    return f"SELECT {', '.join(values)} FROM ({files})"


def typed_null(duckdb_type: str) -> str:
    """A NULL of that type, even if a cast cannot name the type."""
    kind = kind_of(duckdb_type)
    return f"CAST(NULL AS {duckdb_type})" if is_nameable(kind) else f"CASE WHEN false THEN {_example(kind)} END"


def encoded(value: str, kind: Kind, forms: Forms = AS_NUMBERS, *, depth: int = 0) -> str:
    """The stored form of `value`: a single cast, where DuckDB's own casts lose nothing."""
    if _needs_hand(kind, depth):
        return _by_hand(value, kind, forms, depth)
    if any(part.name == "JSON" for part in parts(kind)):
        # DuckDB accepts some numbers and geometries as JSON that are no JSON, and then refuses to read the file.
        value = f"CAST({value} AS {_stored(kind, Forms(forms.huge, json='VARCHAR'), depth)})"
    # Cast even to the same type: a NULL that is INTEGER here would have no type yet inside a view.
    return f"CAST({value} AS {_stored(kind, forms, depth)})"


def _needs_hand(kind: Kind, depth: int) -> bool:
    if kind.children:
        return any(_needs_hand(child, depth + 1) for child in kind.children)
    return kind.name in _WRITTEN_BY_HAND or (kind.name == "GEOMETRY" and depth > 0)


def _by_hand(value: str, kind: Kind, forms: Forms, depth: int) -> str:
    if kind.children:
        return rebuilt(value, kind, depth, lambda part, child, below: encoded(part, child, forms, depth=below))
    return f"ST_AsWKB({value})" if kind.name == "GEOMETRY" else _WRITTEN_BY_HAND[kind.name].format(value)


def rebuilt(value: str, kind: Kind, depth: int, change: Callable[[str, Kind, int], str]) -> str:
    """`value`, reassembled from its changed parts. A fixed-size array becomes a list.

    `change` is called with each part, its type, and the depth of that.
    """
    element = f"e{depth}"
    if kind.name == "STRUCT":
        changed = (
            f"{quoted(name)} := {change(f'struct_extract_at({value}, {n})', child, depth + 1)}"
            for n, (name, child) in enumerate(zip(_names(kind), kind.children, strict=True), start=1)
        )
        return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({', '.join(changed)}) END"
    if kind.name == "MAP":
        changed = (
            f"{part} := {change(f'{element}.{part}', child, depth + 1)}"
            for part, child in zip(("key", "value"), kind.children, strict=True)
        )
        entry = f"struct_pack({', '.join(changed)})"
        return f"map_from_entries(list_transform(map_entries({value}), lambda {element}: {entry}))"
    return f"list_transform({value}, lambda {element}: {change(element, kind.children[0], depth + 1)})"


def _stored(kind: Kind, forms: Forms, depth: int) -> str:
    if kind.name in {"LIST", "ARRAY"}:
        return f"{_stored(kind.children[0], forms, depth + 1)}[]"
    if kind.name == "MAP":
        return f"MAP({', '.join(_stored(child, forms, depth + 1) for child in kind.children)})"
    if kind.name == "STRUCT":
        fields = zip(_names(kind), kind.children, strict=True)
        return f"STRUCT({', '.join(f'{quoted(name)} {_stored(child, forms, depth + 1)}' for name, child in fields)})"
    if kind.name == "HUGEINT":
        return forms.huge
    if kind.name == "JSON":
        return forms.json
    return "GEOMETRY('OGC:CRS84')" if kind.text == "GEOMETRY" else _PARQUET_TYPES.get(kind.name, kind.text)


def _names(kind: Kind) -> list[str]:
    return [name or f"v{n}" for n, name in enumerate(kind.fields, start=1)]


def _read(value: str, kind: Kind, stored: str | None) -> str:
    if kind.name == "GEOMETRY" and stored in {None, kind.text}:
        # DuckDB 1.5.5 pushes a join down to the scan of the file as a filter, which finds no two geometries equal.
        return f"CASE WHEN {value} IS NOT NULL THEN {value} END"
    if stored is None:
        return value
    return _cast(_with_geometries(value, kind, 0) if kind.children else value, kind)


def _with_geometries(value: str, kind: Kind, depth: int) -> str:
    """`value` with every well-known binary in it converted to a GEOMETRY. All else keeps its stored form."""
    if kind.name == "GEOMETRY":
        return f"ST_GeomFromWKB({value})"
    if any(part.name == "GEOMETRY" for part in parts(kind)):
        return rebuilt(value, kind, depth, _with_geometries)
    return value


def _cast(value: str, kind: Kind) -> str:
    if kind.name == "VARCHAR COLLATE":
        return f"{value} COLLATE {kind.text.split()[-1]}"
    if is_nameable(kind):
        return f"CAST({value} AS {kind.text})"
    return f"cast_to_type({value}, {_example(kind)})"


def _example(kind: Kind) -> str:
    """An expression of that type. Only its type is used, never its value."""
    if is_nameable(kind):
        return f"CAST(NULL AS {kind.text})"
    inner = ", ".join(_example(child) for child in kind.children)
    if kind.name == "STRUCT" and any(kind.fields):
        fields = zip(_names(kind), kind.children, strict=True)
        return f"struct_pack({', '.join(f'{quoted(name)} := {_example(child)}' for name, child in fields)})"
    if kind.name == "MAP":
        return f"map_from_entries([row({inner})])"
    if kind.name == "ARRAY":
        return f"array_value({', '.join([inner] * kind.size)})"
    if kind.name == "LIST":
        return f"[{inner}]"
    return f"CAST(NULL AS VARCHAR) COLLATE {kind.text.split()[-1]}" if not inner else f"row({inner})"
