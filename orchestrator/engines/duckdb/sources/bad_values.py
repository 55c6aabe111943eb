"""Locates values that do not fit: their file, line, column and text, for a message or for the quarantine.

The error of a query names no file and no line. So the child process reads the files again, one by one and in order, up
to the first row that does not fit. The rules are the same SQL; this module only adds the line number.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import duckdb

from orchestrator.engines.duckdb.sources.contract import Contract, UnreadableFile
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.engines.duckdb.sources.scan import (
    MISFIT,
    NUMBER,
    SEPARATOR,
    cells,
    groups,
    raw_select,
)
from orchestrator.engines.duckdb.sources.text import is_array, lines, mixed_line_ends, records

_LONGEST_TEXT = 200
_NOT_PARSED = "state machine reached an invalid state"


class Source(NamedTuple):
    """A source table of a query: its contract, and its files."""

    contract: Contract
    files: Sequence[SourceFile]


def explained(
    connection: duckdb.DuckDBPyConnection, message: str, sources: Mapping[str, Source]
) -> UnreadableFile | None:
    """The error that locates the bad value or the mixed line ends behind `message`; None for any other cause."""
    if _NOT_PARSED in message:
        return _line_ends(message, sources)
    _, found, said = message.partition(MISFIT)
    name, kind, text = [*said.split(SEPARATOR, 2), "", ""][:3]
    if not found:
        return None
    for source in sources.values():
        where = _first_misfit(connection, source, name)
        if where:
            return where
    return UnreadableFile(f'the column "{name}" is {kind}, which {_shown(text)} does not fit.')


def _first_misfit(connection: duckdb.DuckDBPyConnection, source: Source, name: str) -> UnreadableFile | None:
    contract = source.contract
    position = next((n for n, (own, _) in enumerate(contract.columns) if own == name), None)
    if position is None:
        return None
    for file in source.files:
        for group in groups(connection, contract, [file]):
            parts = cells(connection, contract, group)
            rows = raw_select(contract, group, parts, NUMBER)
            first = f"SELECT row_number, left(CAST(r{position} AS VARCHAR), {_LONGEST_TEXT}) FROM ({rows})"
            found = connection.execute(f"{first} WHERE {parts[position].misfits} LIMIT 1").fetchone()
            if found:
                kind = contract.columns[position][1]
                place = _place(contract, file, found[0])
                return UnreadableFile(
                    f'{file.real}, {place}: the column "{name}" is {kind}, which {_shown(found[1])} does not fit.'
                )
    return None


def _shown(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _place(contract: Contract, file: SourceFile, row: int) -> str:
    line = next(line_numbers(contract, file, iter([row])), None)
    return f"row {row}" if line is None else f"line {line}"


def line_numbers(
    contract: Contract, file: SourceFile, rows: Iterator[int], unread: Collection[int] = ()
) -> Iterator[int | None]:
    """The lines, from 1, in which these rows of a file begin; None where a row has no line.

    Rows of Parquet and of a JSON array have none. `rows` are numbers that ascend from 1. A record that begins in one of
    the lines `unread` is not counted as a row.
    """
    if contract.format == "Parquet" or (contract.format == "JSONEachRow" and is_array(file)):
        yield from (None for _ in rows)
        return
    begin = _json_lines(file) if contract.format == "JSONEachRow" else _csv_lines(contract, file)
    begin = (line for line in begin if line not in unread)
    reached = 0
    for row in rows:
        line = None
        while reached < row:
            line = next(begin, None)
            reached += 1
        yield line


def _json_lines(file: SourceFile) -> Iterator[int]:
    for number, _ in lines(file):
        yield number


def _csv_lines(contract: Contract, file: SourceFile) -> Iterator[int]:
    """The line in which each row begins.

    An empty line is no row, except in a file of one column, where DuckDB reads it as an empty field.
    """
    with records(file, contract.options) as found:
        ended, is_header, width = 0, contract.format == "CSVWithNames", 0
        for record in found:
            begins, ended, width = ended + 1, found.line_num, width or len(record)
            if is_header:
                is_header = False
            elif record or width == 1:
                yield begins


def _line_ends(message: str, sources: Mapping[str, Source]) -> UnreadableFile | None:
    files = [file for source in sources.values() if "CSV" in source.contract.format for file in source.files]
    named = [file for file in files if file.real in message] or files
    mixed = next((file for file in named if mixed_line_ends(file)), None)
    if mixed is None:
        return None
    return UnreadableFile(
        f"{mixed.real} ends its lines in more than one way. Write all of them with the same line end."
    )
