"""Nested types: structs, lists, arrays and maps of other types."""

from collections.abc import Iterator, Sequence

import duckdb
from duckdb.sqltypes import DuckDBPyType

from orchestrator.engines.duckdb.sql.parquet_casts import quoted


def types_of(connection: duckdb.DuckDBPyConnection, kinds: Sequence[str]) -> list[DuckDBPyType]:
    """The types with these names. Raises duckdb.Error if DuckDB does not know one."""
    return connection.sql(f"SELECT {', '.join(f'CAST(NULL AS {kind})' for kind in kinds)}").types if kinds else []


def parts(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    """The fields of a struct; `child` of a list or an array; `key` and `value` of a map; none of any other type."""
    if kind.id not in {"struct", "list", "array", "map"}:
        return []
    return [(name, part) for name, part in kind.children if isinstance(part, DuckDBPyType)]


def leaves(kind: DuckDBPyType) -> Iterator[DuckDBPyType]:
    """The innermost types, from left to right. The key of a map is left out, since it is always VARCHAR."""
    own = parts(kind)[1:] if kind.id == "map" else parts(kind)
    if not own and kind.id != "struct":
        yield kind
    for _, part in own:
        yield from leaves(part)


def with_leaves(kind: DuckDBPyType, names: Sequence[str]) -> str:
    """The name of the type with its leaves replaced by `names`."""
    left = iter(names)

    def named(part: DuckDBPyType) -> str:
        if part.id == "struct":
            return f"STRUCT({', '.join(f'{quoted(key)} {named(field)}' for key, field in parts(part))})"
        if part.id in {"list", "array"}:
            return f"{named(parts(part)[0][1])}[]"
        if part.id == "map":
            return f"MAP(VARCHAR, {named(parts(part)[1][1])})"
        return next(left)

    return named(kind)
