"""Which columns source files have: found out once, when they are registered. Only types are ever guessed."""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

import re
from collections.abc import Mapping, Sequence
from itertools import groupby

import duckdb

from orchestrator.engines.parquet_types import literal, quoted
from orchestrator.engines.session import described
from orchestrator.engines.source_files import SourceFile
from orchestrator.engines.source_parquet import parquet_columns
from orchestrator.engines.source_relations import JSON, source_select, unpacked
from orchestrator.engines.source_text import (
    Unreadable,
    compression,
    default_names,
    first_record,
    header,
    other_separator,
)

# Rows from which the types of CSV and JSON are told: ten times DuckDB's own number, so that a type rarely proves wrong
# later, and still read in a second or two. A later value that does not fit fails the run, it never changes the type.
SAMPLE_ROWS = 204_800
# Enough to rule out most types of most columns, so that the large sample costs little.
_FIRST_ROWS = 2_000
_CLOCK = r"\d{2}:\d{2}(:\d{2}(\.\d+)?)?"
_MOMENT = rf"\d{{4}}-\d{{2}}-\d{{2}}([ T]{_CLOCK}"
# The text that each type has, from the narrowest to the widest. Dates are ISO dates: any other order of day and month
# would be a guess.
_TYPES = {
    "BOOLEAN": r"(?i)true|false|t|f",
    "BIGINT": r" *-?\d+ *",
    "DOUBLE": r"(?i) *-?(\d+\.?\d*|\.\d+)(e[-+]?\d+)? *|-?inf(inity)?|nan",
    "TIME": _CLOCK,
    "DATE": r"\d{4}-\d{2}-\d{2}",
    "TIMESTAMP": rf"{_MOMENT})?",
    "TIMESTAMP WITH TIME ZONE": rf"{_MOMENT}(Z| UTC|[-+]\d{{2}}(:?\d{{2}})?)?)?",
}
# What DuckDB takes for a date in JSON by guessing the order, or for a time by forgetting its zone.
_NOT_ISO = r'"(\d{1,2}-\d{1,2}-\d{2,4}( [^"]*)?|\d+-\d+-\d+[ T][^"]*[-+]\d{2}(:?\d{2})?)"'
_DATES = re.compile(r'("(?:[^"]|"")*")|\b(?:DATE|TIMESTAMP)(?=[,)\[]|$)')


def source_columns(
    connection: duckdb.DuckDBPyConnection, source_format: str, files: Sequence[SourceFile]
) -> list[tuple[str, str]]:
    """The name and the DuckDB type of each column. Raises Unreadable or duckdb.Error."""
    if source_format == "Parquet":
        return [*parquet_columns(connection, files)]
    if source_format == "JSONEachRow":
        return _json_columns(connection, files)
    return _csv_columns(connection, source_format, files)


def _csv_columns(
    connection: duckdb.DuckDBPyConnection, source_format: str, files: Sequence[SourceFile]
) -> list[tuple[str, str]]:
    record = first_record(files[0])
    separator = other_separator(files[0])
    if separator:
        raise Unreadable(f"{files[0].real} seems to have {separator} between its columns. Only commas are read.")
    names = header(files[0]) if source_format == "CSVWithNames" else default_names(len(record))
    texts = source_select(source_format, files, [(name, "VARCHAR") for name in names])
    left: Mapping[str, Sequence[str]] = dict.fromkeys(names, tuple(_TYPES))
    for rows in (_FIRST_ROWS, SAMPLE_ROWS):
        left = _that_fit(connection, f"SELECT * FROM ({texts}) LIMIT {rows}", left)
    return [(name, "VARCHAR" if len(kinds) in {0, len(_TYPES)} else kinds[0]) for name, kinds in left.items()]


def _that_fit(
    connection: duckdb.DuckDBPyConnection, sample: str, left: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """For each column, those types that all its values have: all types if it has no values."""
    asked = [(name, kind) for name, kinds in left.items() for kind in kinds]
    counts = [
        f"count_if({quoted(name)} IS NOT NULL AND (NOT regexp_full_match({quoted(name)}, {literal(_TYPES[kind])})"
        f" OR TRY_CAST({quoted(name)} AS {kind}) IS NULL))"
        for name, kind in asked
    ]
    row = connection.execute(f"SELECT {', '.join([*counts, '0'])} FROM ({sample})").fetchone() or ()
    fits: dict[str, list[str]] = {name: [] for name in left}
    for (name, kind), misfits in zip(asked, row, strict=False):
        if not misfits:
            fits[name].append(kind)
    return fits


def _json_columns(connection: duckdb.DuckDBPyConnection, files: Sequence[SourceFile]) -> list[tuple[str, str]]:
    groups = [unpacked(list(group)) for _, group in groupby(sorted(files, key=compression), key=compression)]
    selects = [f"SELECT * FROM read_json({group}, {JSON}, sample_size = {SAMPLE_ROWS})" for group in groups]
    try:
        columns = described(connection, " UNION ALL BY NAME ".join(selects))
    except duckdb.NotImplementedException as error:
        twice = re.search(r'Duplicate name "(.*)" in struct', str(error))
        raise (_same_but_for_case(twice[1]) if twice else error) from None
    _check_keys(connection, groups, [name for name, _ in columns])
    guessed = _guessed_dates(connection, groups, [name for name, kind in columns if _DATES.sub(_text, kind) != kind])
    return [(name, _DATES.sub(_text, kind) if name in guessed else kind) for name, kind in columns]


def _text(found: re.Match[str]) -> str:
    return found[1] or "VARCHAR"


def _same_but_for_case(key: str) -> Unreadable:
    return Unreadable(f'the key "{key}" is also written in another case, and names of columns may not differ in that.')


def _check_keys(connection: duckdb.DuckDBPyConnection, groups: Sequence[str], names: Sequence[str]) -> None:
    """Raise Unreadable if DuckDB gave a suffix to a key, since it found the same one in another case before."""
    known = {name.lower() for name in names}
    for name in names:
        base, _, number = name.rpartition("_")
        if number.isdecimal() and base.lower() in known and not any(_has_key(connection, g, name) for g in groups):
            raise _same_but_for_case(base)


def _has_key(connection: duckdb.DuckDBPyConnection, group: str, key: str) -> bool:
    lines = f"SELECT json FROM read_json_objects({group}, format = 'newline_delimited') LIMIT {SAMPLE_ROWS}"
    found = f"SELECT 1 FROM ({lines}) WHERE list_contains(json_keys(json), {literal(key)}) LIMIT 1"
    return connection.execute(found).fetchone() is not None


def _guessed_dates(connection: duckdb.DuckDBPyConnection, groups: Sequence[str], names: Sequence[str]) -> set[str]:
    """Those of the columns in which a date is not written as ISO says."""
    guessed: set[str] = set()
    for group in groups if names else ():
        types = "{" + ", ".join(f"{literal(name)}: 'JSON'" for name in names) + "}"
        sample = f"SELECT * FROM read_json({group}, {JSON}, columns = {types}) LIMIT {SAMPLE_ROWS}"
        counts = ", ".join(f"count_if(regexp_matches({quoted(name)}::VARCHAR, {literal(_NOT_ISO)}))" for name in names)
        row = connection.execute(f"SELECT {counts} FROM ({sample})").fetchone() or ()
        guessed |= {name for name, count in zip(names, row, strict=True) if count}
    return guessed
