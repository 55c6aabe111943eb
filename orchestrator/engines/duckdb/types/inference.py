"""Finds the columns of source files: reads their names, and detects the types that no client stated.

Detection samples the first SAMPLE_ROWS rows. It chooses only types that keep every text exactly: see `types/rules.py`.
A run checks every value against the same rules. So a later value that does not fit never changes a column's type: the
run fails, or leaves the row out.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

from collections.abc import Sequence

import duckdb

from orchestrator.engines.duckdb.sources.contract import Columns, Contract, UnreadableFile, check_names
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.engines.duckdb.sources.hive import partition_keys, partition_values
from orchestrator.engines.duckdb.sources.parquet import parquet_columns
from orchestrator.engines.duckdb.sources.scan import source_select
from orchestrator.engines.duckdb.sources.text import default_names, detect_separator, first_record, header
from orchestrator.engines.duckdb.sql.parquet_casts import literal, quoted
from orchestrator.engines.duckdb.types.json_inference import json_columns
from orchestrator.engines.duckdb.types.nested import types_of
from orchestrator.engines.duckdb.types.rules import (
    DATE,
    DECIMAL_DIGITS,
    PLAIN_EXPONENT,
    PLAIN_FRACTION,
    PLAIN_INTEGER,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    fully,
    gives_back,
    is_dated,
    number_text,
)
from orchestrator.model.names import fold

# Ten times DuckDB's default, so that a type rarely proves wrong later. Reading them takes a second or two.
SAMPLE_ROWS = 204_800
# The most values in a sample. A file of many columns has fewer rows in it.
_SAMPLE_VALUES = 10_000_000
# The columns of one query. Each takes 32 KiB in every step of a query, for any number of rows.
_COLUMNS_AT_A_TIME = 250
# The classes of texts. Each is one bit, so that bit_or gives all classes in a column.
_BOOLEAN, _BIGINT, _HUGEINT, _DOUBLE, _DECIMAL, _TIME, _DATE, _TIMESTAMP, _TIMESTAMPTZ, _TEXT = (
    1 << n for n in range(10)
)


def source_columns(
    connection: duckdb.DuckDBPyConnection, contract: Contract, files: Sequence[SourceFile]
) -> list[tuple[str, str]]:
    """The name and the DuckDB type of each column; the contract's columns are those that a client stated.

    Raises UnreadableFile or duckdb.Error.
    """
    contract = contract._replace(columns=_spelled(connection, contract.columns))
    if contract.format == "Parquet":
        found = parquet_columns(connection, contract, files)
    elif contract.format == "JSONEachRow":
        found = json_columns(connection, contract, files)
    else:
        found = _csv_columns(connection, contract, files)
    columns = _with_stated(contract, [*found, *_partition_columns(connection, contract, files)], files)
    check_names(files[0].real, columns)
    if contract.columns:
        _check_stated(connection, contract._replace(columns=columns), contract.columns, files)
    return columns


def _spelled(connection: duckdb.DuckDBPyConnection, columns: Columns) -> Columns:
    """The stated types in DuckDB's spelling, since a run compares types by name. Raises UnknownType."""
    spelled = []
    for name, kind in columns:
        try:
            (found,) = types_of(connection, [kind])
        except duckdb.Error:
            raise UnknownType(f'The type "{kind}" of the column "{name}" is none that DuckDB has.') from None
        spelled.append((name, str(found)))
    return spelled


class UnknownType(UnreadableFile):
    """DuckDB does not know a stated type, or a file lacks the column with a stated type."""


def _with_stated(contract: Contract, found: Columns, files: Sequence[SourceFile]) -> list[tuple[str, str]]:
    """The detected columns with stated types in place of detected ones, and the stated ones that may be absent."""
    wanted = {fold(name): kind for name, kind in contract.columns}
    columns = [(name, wanted.pop(fold(name), kind)) for name, kind in found]
    absent = [(name, kind) for name, kind in contract.columns if fold(name) in wanted]
    if absent and contract.format != "JSONEachRow" and not contract.options["union_by_name"]:
        raise UnknownType(f'{files[0].real} has no column "{absent[0][0]}", whose type is stated.')
    return columns + absent


def _check_stated(
    connection: duckdb.DuckDBPyConnection, contract: Contract, stated: Columns, files: Sequence[SourceFile]
) -> None:
    """Check the sample against the stated types. Raises duckdb.Error, with MISFIT in its message."""
    counts = ", ".join(f"count({quoted(name)})" for name, _ in stated)
    sample = f"SELECT * FROM ({source_select(connection, contract, files)}) LIMIT {SAMPLE_ROWS}"
    connection.execute(f"SELECT {counts} FROM ({sample})")


def _csv_columns(
    connection: duckdb.DuckDBPyConnection, contract: Contract, files: Sequence[SourceFile]
) -> list[tuple[str, str]]:
    record = first_record(files[0], contract.options)
    separator = detect_separator(files[0]) if contract.options["delimiter"] == "," else None
    if separator:
        raise UnreadableFile(
            f"{files[0].real} seems to have {separator} between its columns. State the delimiter of the table."
        )
    keys = {fold(key) for key in partition_keys(contract, files)}
    names = [name for name in _names(contract, files, record) if fold(name) not in keys]
    texts = [(name, "VARCHAR") for name in names]
    check_names(files[0].real, texts)
    rows = max(1, min(SAMPLE_ROWS, _SAMPLE_VALUES // len(names)))
    detected = []
    for start in range(0, len(texts), _COLUMNS_AT_A_TIME):
        part = contract._replace(columns=texts[start : start + _COLUMNS_AT_A_TIME])
        select = f"SELECT * FROM ({source_select(connection, part, files)}) LIMIT {rows}"
        detected += _detected(connection, contract, select, names[start : start + _COLUMNS_AT_A_TIME])
    return detected


def _names(contract: Contract, files: Sequence[SourceFile], record: Sequence[str]) -> Sequence[str]:
    if contract.format == "CSV":
        usual, stated = default_names(len(record)), [name for name, _ in contract.columns]
        # If a client states as many columns as there are, and none by a default name, it names the columns.
        return stated if len(stated) == len(usual) and not {*map(fold, stated)} & {*usual} else usual
    names = {fold(name): name for name in header(files[0], contract.options)}
    for file in files[1:] if contract.options["union_by_name"] else ():
        for name in header(file, contract.options):
            names.setdefault(fold(name), name)
    return [*names.values()]


def _partition_columns(
    connection: duckdb.DuckDBPyConnection, contract: Contract, files: Sequence[SourceFile]
) -> list[tuple[str, str]]:
    """The columns of the Hive partitions. Raises UnreadableFile if the files differ in their partition keys."""
    keys = partition_keys(contract, files)
    other = next((file for file in files if partition_keys(contract, [file]) != keys), None)
    if other is not None:
        raise UnreadableFile(f"{other.real} lies in folders with other keys than other files: {', '.join(keys)}.")
    if not keys:
        return []
    rows = (
        ", ".join("NULL" if value is None else literal(value) for value in values)
        for values in partition_values(files, keys)
    )
    names = ", ".join(quoted(key) for key in keys)
    texts = f"SELECT * FROM (VALUES {', '.join(f'({row})' for row in rows)}) AS folders({names})"
    return _detected(connection, contract, texts, keys)


def _detected(
    connection: duckdb.DuckDBPyConnection, contract: Contract, texts: str, names: Sequence[str]
) -> list[tuple[str, str]]:
    """For each column of the SELECT `texts`, the narrowest type that keeps all its values exactly."""
    listed = ", ".join(f"CAST({quoted(name)} AS VARCHAR)" for name in names)
    # One expression for all columns: DuckDB takes 2 ms to prepare one, and a file may have thousands of columns.
    values = f"SELECT unnest([{listed}]) AS value, unnest(range({len(names)})) AS position FROM ({texts})"
    number, pattern = number_text("value", contract.dialect), contract.options["date_format"]
    numbers = f"SELECT position, value, {number} AS number FROM ({values}) WHERE value IS NOT NULL"
    found = connection.execute(
        "SELECT position, bit_or(class), coalesce(max(scale) FILTER (class IN (8, 16)), 0),"
        " coalesce(max(whole) FILTER (class <= 16), 0) FROM (SELECT position,"
        " strlen(split_part(number, '.', 2)) AS scale, strlen(ltrim(split_part(number, '.', 1), '-')) AS whole,"
        f" {_class(pattern)} AS class FROM ({numbers})) GROUP BY position"
    ).fetchall()
    kinds = {position: _type_of(classes, scale, whole) for position, classes, scale, whole in found}
    return [(name, _dated(connection, contract, kinds.get(position, "VARCHAR"))) for position, name in enumerate(names)]


def _class(dated: str | None) -> str:
    """SQL: the class of `value`, whose text as a number is `number`."""
    dates = (
        f"WHEN try_strptime(value, {literal(dated)}) IS NOT NULL THEN {_TIMESTAMP}"
        if dated
        else f"WHEN {fully('value', DATE)} AND TRY_CAST(value AS DATE) IS NOT NULL THEN {_DATE}"
        f" WHEN {fully('value', TIMESTAMP)} AND TRY_CAST(value AS TIMESTAMP) IS NOT NULL THEN {_TIMESTAMP}"
        f" WHEN {fully('value', TIMESTAMPTZ)} AND TRY_CAST(value AS TIMESTAMPTZ) IS NOT NULL THEN {_TIMESTAMPTZ}"
    )
    double = f"isfinite(TRY_CAST(number AS DOUBLE)) AND {gives_back('number', 'TRY_CAST(number AS DOUBLE)')}"
    return f"""CASE
        WHEN value = 'true' OR value = 'false' THEN {_BOOLEAN}
        WHEN {fully("number", PLAIN_INTEGER)} AND number <> '-0' THEN CASE
            WHEN TRY_CAST(number AS BIGINT) IS NOT NULL THEN {_BIGINT}
            WHEN TRY_CAST(number AS HUGEINT) IS NOT NULL THEN {_HUGEINT} ELSE {_TEXT} END
        WHEN {fully("number", PLAIN_FRACTION)} THEN CASE
            WHEN {double} THEN {_DOUBLE}
            WHEN strlen(replace(replace(number, '-', ''), '.', '')) <= {DECIMAL_DIGITS} THEN {_DECIMAL} ELSE {_TEXT} END
        WHEN {fully("number", PLAIN_EXPONENT)} AND {double} THEN {_DOUBLE | _TEXT << 1}
        {dates}
        WHEN {fully("value", TIME)} AND TRY_CAST(value AS TIME) IS NOT NULL THEN {_TIME}
        ELSE {_TEXT} END"""


_EXPONENT = _TEXT << 1


def _type_of(classes: int, scale: int, whole: int) -> str:
    """The type that holds all values of these classes.

    `scale` and `whole` are the most digits that a number has after and before its point.
    """
    exponent, classes = classes & _EXPONENT, classes & ~_EXPONENT
    single = {
        _BOOLEAN: "BOOLEAN", _BIGINT: "BIGINT", _HUGEINT: "HUGEINT", _BIGINT | _HUGEINT: "HUGEINT", _TIME: "TIME",
        _DATE: "DATE", _TIMESTAMP: "TIMESTAMP", _DATE | _TIMESTAMP: "TIMESTAMP",
        _TIMESTAMPTZ: "TIMESTAMP WITH TIME ZONE",
    }  # fmt: skip
    if classes in single:
        return single[classes]
    if classes & ~(_BIGINT | _HUGEINT | _DOUBLE | _DECIMAL):
        return "VARCHAR"
    fits_double = classes & ~(_BIGINT | _DOUBLE) == 0 and whole <= 15  # noqa: PLR2004 - digits of a DOUBLE
    if fits_double:
        return "DOUBLE"
    return "VARCHAR" if exponent or whole + scale > DECIMAL_DIGITS else f"DECIMAL({DECIMAL_DIGITS},{scale})"


def _dated(connection: duckdb.DuckDBPyConnection, contract: Contract, kind: str) -> str:
    """`kind`, except for a dated type with a date format: DATE if the format has no time of day, else TIMESTAMP.

    To find out, DuckDB writes a moment in that format and parses it again.
    """
    pattern = contract.options["date_format"]
    if pattern is None or not is_dated(kind):
        return kind
    moment = "TIMESTAMP '2001-02-03 04:05:06'"
    written = f"strptime(strftime({moment}, {literal(pattern)}), {literal(pattern)})"
    row = connection.execute(f"SELECT {written} = date_trunc('day', {moment}), typeof({written})").fetchone()
    return "DATE" if row and row[0] else "TIMESTAMP"
