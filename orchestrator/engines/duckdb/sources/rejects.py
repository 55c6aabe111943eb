"""Counts the rows of text files that a run leaves out because they do not fit, and quarantines them on request.

The query itself skips such rows. Afterwards the child process reads the files of the table again, one by one and by the
same rules, to find the rows that the query skipped. Only tables whose rows may be left out cost this second reading.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import duckdb

from orchestrator.engines.duckdb.sources.bad_values import Source, line_numbers
from orchestrator.engines.duckdb.sources.contract import Contract
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.engines.duckdb.sources.scan import BROKEN, NUMBER, Cell, Group, cells, groups, raw_select
from orchestrator.engines.duckdb.sql.parquet_casts import literal

_TABLE = "rows_left_out"
_STORED = "reject_errors"
_BATCH = 5_000
# The API shows no more of a text, and the size of a page of rows must be bounded.
_LONGEST = 2_000
_COLUMNS = '"file" VARCHAR, line BIGINT, "column" VARCHAR, "text" VARCHAR, reason VARCHAR, "row" VARCHAR'
# Small row groups, so that the API can read a page of a long list without the rest of it.
_FORMAT = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 8192"


def rows_left_out(connection: duckdb.DuckDBPyConnection, source: Source, kept: Path | None) -> int:
    """The number of rows of a source table that do not fit. They are written to the file `kept`, if one is given."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {_TABLE}({_COLUMNS}, number BIGINT)")
    for file in source.files:
        for group in groups(connection, source.contract, [file]):
            _collect(connection, source.contract, group)
            if kept:
                _number_lines(connection, source.contract, file)
    (count,) = connection.execute(f"SELECT count(*) FROM {_TABLE}").fetchone() or (0,)
    if kept and count:
        kept.parent.mkdir(exist_ok=True)
        rows = f'SELECT * EXCLUDE (number) FROM {_TABLE} ORDER BY "file", line, number'
        connection.execute(f"COPY ({rows}) TO {literal(str(kept))} ({_FORMAT})")
    # The next query of the session may read a view of this name, which a temporary table would hide.
    connection.execute(f"DROP TABLE {_TABLE}")
    return int(count)


def _collect(connection: duckdb.DuckDBPyConnection, contract: Contract, group: Group) -> None:
    """Insert the rows of one file that do not fit into the temporary table."""
    is_csv = contract.format != "JSONEachRow"
    (file,) = group.files
    parts = cells(connection, contract, group)
    storing = "store_rejects = true, rejects_limit = 0"
    relation = group.relation.removesuffix(")") + f", {storing})" if is_csv else group.relation
    # A field without a value is NULL, which concat_ws would leave out together with a delimiter.
    texts = ", ".join(f"coalesce(r{number}, '')" for number in range(len(parts)))
    whole = f"concat_ws({literal(contract.options['delimiter'])}, {texts})" if is_csv else "CAST(line AS VARCHAR)"
    rows = raw_select(contract, group._replace(relation=relation), parts, NUMBER, *([] if is_csv else ["line"]))
    connection.execute(
        f"INSERT INTO {_TABLE} SELECT {literal(file.shown)}, NULL, {_first(contract, parts)},"
        f" left({whole}, {_LONGEST}), row_number FROM ({rows})"
        f" WHERE {' OR '.join([BROKEN, *(part.misfits for part in parts)])}"
    )
    if is_csv:
        connection.execute(
            f"INSERT INTO {_TABLE} SELECT {literal(file.shown)}, line, any_value(column_name), NULL,"
            f" any_value(error_message), left(any_value(csv_line), {_LONGEST}), NULL FROM {_STORED} GROUP BY line"
        )
        connection.execute(f"DROP TABLE {_STORED}; DROP TABLE reject_scans")


def _first(contract: Contract, parts: Sequence[Cell]) -> str:
    """SQL: the first column that does not fit, its text, and the reason."""
    pairs = [*zip(contract.columns, parts, strict=True)]
    names = " ".join(f"WHEN {part.misfits} THEN {literal(name)}" for (name, _), part in pairs)
    texts = " ".join(f"WHEN {part.misfits} THEN left(CAST({part.text} AS VARCHAR), {_LONGEST})" for _, part in pairs)
    kinds = " ".join(f"WHEN {part.misfits} THEN {literal(f'The text is no {kind}.')}" for (_, kind), part in pairs)
    broken = f"WHEN {BROKEN} THEN"
    return (
        f"CASE {broken} NULL {names} END, CASE {broken} NULL {texts} END,"
        f" CASE {broken} 'The line is no JSON object, or has a key twice.' {kinds} END"
    )


def _number_lines(connection: duckdb.DuckDBPyConnection, contract: Contract, file: SourceFile) -> None:
    """Set the line of those rows of a file that have only a row number so far."""
    of_file = f'"file" = {literal(file.shown)}'
    lines = connection.execute(f"SELECT line FROM {_TABLE} WHERE {of_file} AND line IS NOT NULL").fetchall()
    unread = frozenset(line for (line,) in lines)
    wanted = f"SELECT number FROM {_TABLE} WHERE {of_file} AND number IS NOT NULL ORDER BY number"
    numbers = [number for (number,) in connection.execute(wanted).fetchall()]
    found = zip(numbers, line_numbers(contract, file, iter(numbers), unread), strict=True)
    for batch in _batches((number, line) for number, line in found if line is not None):
        numbered, there = zip(*batch, strict=True)
        pairs = f"SELECT unnest({[*numbered]}) AS number, unnest({[*there]}) AS line"
        connection.execute(
            f"UPDATE {_TABLE} SET line = pairs.line FROM ({pairs}) AS pairs"
            f" WHERE {_TABLE}.number = pairs.number AND {of_file}"
        )


def _batches(items: Iterator[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    while batch := [*islice(items, _BATCH)]:
        yield batch
