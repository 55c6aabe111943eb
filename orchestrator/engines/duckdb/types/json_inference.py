"""Finds the columns of JSON files: DuckDB gives the keys and a first type for each, which the rules then refine.

DuckDB's own detection silently loses the case of a UUID, digits of long numbers, and the zone of a time.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

import re
from collections.abc import Sequence

import duckdb
from duckdb.sqltypes import DuckDBPyType

from orchestrator.engines.duckdb.child.errors import plain_message
from orchestrator.engines.duckdb.child.session import described
from orchestrator.engines.duckdb.sources.contract import Contract, UnreadableFile, check_names
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.engines.duckdb.sources.parquet import listed
from orchestrator.engines.duckdb.sources.scan import groups, raw_select
from orchestrator.engines.duckdb.sources.text import compression, is_array
from orchestrator.engines.duckdb.sql.parquet_casts import literal
from orchestrator.engines.duckdb.types.json_rules import JsonRules
from orchestrator.engines.duckdb.types.nested import leaves, types_of, with_leaves
from orchestrator.model.names import fold

SAMPLE_ROWS = 204_800
_DECIMALS = [f"DECIMAL(38,{scale})" for scale in (2, 4, 6, 9, 12, 18, 24, 30)]
# The types to try in place of DuckDB's, from the narrowest on. The last one always fits.
_CANDIDATES = {
    "BOOLEAN": ["BOOLEAN", "JSON"],
    "BIGINT": ["BIGINT", "HUGEINT", "DOUBLE", *_DECIMALS, "JSON"],
    "DOUBLE": ["HUGEINT", "DOUBLE", *_DECIMALS, "JSON"],
    "TIME": ["TIME", "VARCHAR", "JSON"],
    "DATE": ["DATE", "TIMESTAMP", "VARCHAR", "JSON"],
    "TIMESTAMP": ["TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "VARCHAR", "JSON"],
    "VARCHAR": ["VARCHAR", "JSON"],
    "JSON": ["JSON"],
}
_SAME = {"UBIGINT": "BIGINT", "HUGEINT": "BIGINT", "TIMESTAMP WITH TIME ZONE": "TIMESTAMP", "TIMESTAMP_NS": "TIMESTAMP",
         "UUID": "VARCHAR", "BLOB": "VARCHAR"}  # fmt: skip


def json_columns(
    connection: duckdb.DuckDBPyConnection, contract: Contract, files: Sequence[SourceFile]
) -> list[tuple[str, str]]:
    """The keys of the rows and the types of their values. Raises UnreadableFile or duckdb.Error."""
    calls = _calls(files)
    try:
        columns = described(connection, " UNION ALL BY NAME ".join(f"SELECT * FROM read_json({one})" for one in calls))
    except duckdb.NotImplementedException as error:
        twice = re.search(r'Duplicate name "(.*)" in struct', plain_message(error))
        raise (_case_conflict(twice[1]) if twice else error) from None
    check_names(files[0].real, columns)
    _check_keys(connection, calls, [name for name, _ in columns])
    plain = contract._replace(columns=[(name, "JSON") for name, _ in columns], stated=frozenset())
    samples = [
        f"SELECT * FROM ({raw_select(plain, group, [])}) LIMIT {SAMPLE_ROWS}"
        for group in groups(connection, plain, files)
    ]
    sample = " UNION ALL ".join(f"({one})" for one in samples)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE json_sample AS {sample}")
    kinds = types_of(connection, [kind for _, kind in columns])
    refined = [_refined(connection, contract, f"r{number}", kind) for number, kind in enumerate(kinds)]
    spelled = map(str, types_of(connection, refined))
    return [(name, kind) for (name, _), kind in zip(columns, spelled, strict=True)]


def _calls(files: Sequence[SourceFile]) -> list[str]:
    """The arguments of read_json, one call for all files with the same compression and form."""
    alike: dict[tuple[str, bool], list[str]] = {}
    for file in files:
        alike.setdefault((compression(file), is_array(file)), []).append(file.real)
    return [
        f"{listed(paths)}, compression = {literal(packed)}, format = '{'array' if array else 'newline_delimited'}',"
        f" records = true, hive_partitioning = false, union_by_name = false, sample_size = {SAMPLE_ROWS}"
        for (packed, array), paths in alike.items()
    ]


def _refined(connection: duckdb.DuckDBPyConnection, contract: Contract, column: str, kind: DuckDBPyType) -> str:
    """The type with each part of it as narrow as all values of the sample allow."""
    found = [*leaves(kind)]
    if not found:  # an object without keys
        return "JSON"
    chosen = [_CANDIDATES[_base(leaf)][0] for leaf in found]
    if _all_fit(connection, contract, column, with_leaves(kind, chosen)):
        return with_leaves(kind, chosen)
    for position, leaf in enumerate(found):
        others = ["JSON"] * len(found)
        for candidate in _CANDIDATES[_base(leaf)]:
            others[position] = chosen[position] = candidate
            if _all_fit(connection, contract, column, with_leaves(kind, others)):
                break
    return with_leaves(kind, chosen)


def _all_fit(connection: duckdb.DuckDBPyConnection, contract: Contract, column: str, kind: str) -> bool:
    (parsed,) = types_of(connection, [kind])
    rules = JsonRules(parsed, stated=False, dialect=contract.dialect)
    misfit = connection.execute(f"SELECT 1 FROM json_sample WHERE NOT ({rules.fits(column)}) LIMIT 1").fetchone()
    return misfit is None


def _base(kind: DuckDBPyType) -> str:
    name = _SAME.get(str(kind), str(kind))
    return name if name in _CANDIDATES else "JSON"


def _check_keys(connection: duckdb.DuckDBPyConnection, calls: Sequence[str], names: Sequence[str]) -> None:
    """Raise UnreadableFile if DuckDB added a suffix to a key because it had found the key in another case."""
    known = {fold(name) for name in names}
    for name in names:
        base, _, number = name.rpartition("_")
        if number.isdecimal() and fold(base) in known and not any(_has_key(connection, call, name) for call in calls):
            raise _case_conflict(base)


def _case_conflict(key: str) -> UnreadableFile:
    return UnreadableFile(
        f'the key "{key}" is also written in another case, and names of columns may not differ in that.'
    )


def _has_key(connection: duckdb.DuckDBPyConnection, call: str, key: str) -> bool:
    objects = call.replace(" records = true,", "").partition(", sample_size")[0]
    rows = f"SELECT json FROM read_json_objects({objects}) LIMIT {SAMPLE_ROWS}"
    found = f"SELECT 1 FROM ({rows}) WHERE list_contains(json_keys(json), {literal(key)}) LIMIT 1"
    return connection.execute(found).fetchone() is not None
