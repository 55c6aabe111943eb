"""Finds large CSV files that are plain, which means that DuckDB's own reader reads every value correctly.

Reading a column as text and checking each value against its type costs 60 to 120 ns a value. For a table of numbers
that is three quarters of the time in which DuckDB reads the file. One regular expression over all bytes of the file,
with a form for each column, costs 2.7 ns a byte. A file that it matches is read in the types of its columns, any other
as text. The expression allows less than `types/rules.py` and never more, so it changes only how long a query takes.
"""

import json
import os
import re
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import duckdb

from orchestrator.engines.duckdb.sources.contract import Contract
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.engines.duckdb.sources.text import compression, header
from orchestrator.model.names import fold
from orchestrator.model.remote_files import is_remote

Table = tuple[Contract, Sequence[SourceFile]]

# Loading pyarrow takes a third of a second, in which DuckDB reads some forty megabytes.
WORTH_BYTES = 128 << 20
_CHUNK_BYTES = 4 << 20
_LONGEST_LINE = 1 << 20
# The longest expression for the library's automaton, and its longest time for a chunk, usually a hundredth of a second.
# Beyond these limits it falls back to a method that takes fifty times as long.
_LONGEST_PATTERN = 20_000
_LONGEST_SECONDS = 0.25
# Nanoseconds for a byte that the expression matches, and for a value that the rules check.
_BYTE_COST = 2.7
_VALUE_COST = {"BOOLEAN": 20, "DATE": 65, "DOUBLE": 120, "TIME": 120, "TIMESTAMP": 120}
_INTEGER_COST, _DECIMAL_COST = 60, 120

# No number or date contains one of them.
_DELIMITERS = (",", ";", "\t", "|")
_AS_USUAL = {
    "quote": '"',
    "null_text": "",
    "decimal_separator": ".",
    "date_format": None,
    "encoding": "utf-8",
    "on_bad_row": "fail",
}
# The most digits with which every number fits into the type.
_SIGNED = {"TINYINT": 2, "SMALLINT": 4, "INTEGER": 9, "BIGINT": 18, "HUGEINT": 38}
_UNSIGNED = {"UTINYINT": 2, "USMALLINT": 4, "UINTEGER": 9, "UBIGINT": 19, "UHUGEINT": 38}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_DAYS = r"(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8])"
_LEAP_YEARS = r"[1-9]\d(?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00"
_DATE = rf"(?:[1-9]\d\d\d-(?:{_DAYS})|(?:{_LEAP_YEARS})-02-29)"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?"
_FORMS = {
    "BOOLEAN": "true|false",
    "DATE": _DATE,
    # At most fifteen digits, which a DOUBLE always gives back.
    "DOUBLE": r"-?(?:0|[1-9]\d{0,8})(?:\.\d{1,6})?",
    "TIME": _TIME,
    "TIMESTAMP": rf"{_DATE}(?:[ T]{_TIME})?",
}


def is_formed(kind: str) -> bool:
    """Whether a column of this type is read in it from a plain file. Columns of other types are read as text."""
    return _form(kind) is not None


def plain_files(
    connection: duckdb.DuckDBPyConnection, query: str, tables: Iterable[Table], threads: int
) -> frozenset[str]:
    """The real paths of the plain files among those for which the check takes less time than it saves.

    That depends on the columns that the query reads, so the tables must exist on the connection.
    """
    worth = [(contract, [*filter(_is_large, files)]) for contract, files in tables if _may_be_plain(contract)]
    if not any(files for _, files in worth):
        return frozenset()
    used = _columns_read(connection, query)
    found = set()
    for contract, files in worth:
        cost = sum(_cost(kind) for name, kind in contract.columns if fold(name) in used)
        for file in files:
            pattern = _pattern(contract, file, cost)
            if pattern and _matches(file, pattern, threads):
                found.add(file.real)
    return frozenset(found)


def _may_be_plain(contract: Contract) -> bool:
    """Whether the read options are the usual ones, and a row that does not fit fails the run."""
    options = contract.options
    return (
        contract.format in {"CSV", "CSVWithNames"}
        and all(options[name] == value for name, value in _AS_USUAL.items())
        and options["delimiter"] in _DELIMITERS
    )


def _is_large(file: SourceFile) -> bool:
    # To read a remote file once more takes longer than the faster scan saves.
    local = not is_remote(file.real) and compression(file) == "uncompressed"
    return local and os.stat(file.real).st_size >= WORTH_BYTES  # noqa: PTH116 - a string


def _columns_read(connection: duckdb.DuckDBPyConnection, query: str) -> set[str]:
    """The folded names of all columns that the query reads from CSV files; none if DuckDB's plan is too deep."""
    ((_, plan),) = connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
    try:
        nodes = json.loads(plan)
    except RecursionError:
        return set()
    return {fold(name) for node in _all(nodes) for name in _projected(node)}


def _all(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    while nodes:
        node = nodes.pop()
        yield node
        nodes.extend(node.get("children", []))


def _projected(node: dict[str, Any]) -> Sequence[str]:
    about = node.get("extra_info", {})
    if about.get("Function") != "READ_CSV":
        return []
    names: str | list[str] = about.get("Projections", "")
    return [names] if isinstance(names, str) else names


def _cost(kind: str) -> float:
    if _DECIMAL.fullmatch(kind):
        return _DECIMAL_COST
    return _INTEGER_COST if kind in _SIGNED | _UNSIGNED else _VALUE_COST.get(kind, 0)


class _Pattern(NamedTuple):
    """The regular expressions over bytes for a file's header line and for each of its records."""

    header: str
    record: str
    line_end: bytes


def _pattern(contract: Contract, file: SourceFile, cost: float) -> _Pattern | None:
    """The pattern of a plain file; None if it would be too long, or cost more than it saves."""
    with open(file.real, "rb") as stream:  # noqa: PTH123 - a string
        sample = stream.read(_LONGEST_LINE)
    lines = sample.count(b"\n")
    if not lines or cost * lines < _BYTE_COST * len(sample):
        return None
    kinds = {fold(name): kind for name, kind in contract.columns}
    has_header = contract.format == "CSVWithNames"
    names = header(file, contract.options) if has_header else [name for name, _ in contract.columns]
    line_end = b"\r\n" if sample[: sample.index(b"\n")].endswith(b"\r") else b"\n"
    apart = rf"\x{ord(contract.options['delimiter']):02x}"
    end = r"\r\n" if len(line_end) > 1 else r"\n"
    text = rf'(?:[^"{apart}\r\n]*|"(?:[^"]|"")*")'
    forms = [_form(kinds.get(fold(name), "VARCHAR")) for name in names]
    record = apart.join(text if form is None else f"(?:{form})?" for form in forms) + end
    if len(record) > _LONGEST_PATTERN:
        return None
    return _Pattern(apart.join([text] * len(names)) + end if has_header else "", record, line_end)


def _form(kind: str) -> str | None:
    """The regular expression for a type's values; None for a type that is always read as text."""
    decimal = _DECIMAL.fullmatch(kind)
    if decimal:
        width, scale = map(int, decimal.groups())
        return rf"-?(?:0|[1-9]\d{{0,{width - scale - 1}}})(?:\.\d{{1,{scale}}})?" if 0 < scale < width else None
    if kind in _SIGNED:
        return rf"0|-?[1-9]\d{{0,{_SIGNED[kind] - 1}}}"
    if kind in _UNSIGNED:
        return rf"0|[1-9]\d{{0,{_UNSIGNED[kind] - 1}}}"
    return _FORMS.get(kind)


def _matches(file: SourceFile, pattern: _Pattern, threads: int) -> bool:
    """Whether the whole file matches, piece by piece. A piece begins with a record if all pieces before it match."""
    try:
        search = _searcher()
    except (ImportError, MemoryError):  # the memory limit of the process may be too low
        return False
    failed = threading.Event()

    def matches(offset: int) -> bool:
        if failed.is_set():
            return False
        piece = _piece(file, offset, pattern.line_end)
        began = time.thread_time()
        first = "" if offset else pattern.header
        good = piece is not None and search(piece, rf"\A{first}(?:{pattern.record})*\z")
        if not good or time.thread_time() - began > _LONGEST_SECONDS:
            failed.set()
        return not failed.is_set()

    # Without memory, or with an expression that is too large for the library, the file is read as text.
    pieces = range(0, os.stat(file.real).st_size, _CHUNK_BYTES)  # noqa: PTH116 - a string
    with (
        ThreadPoolExecutor(threads) as pool,
        # ValueError: pyarrow refuses the expression. RuntimeError: Python cannot start a thread.
        suppress(MemoryError, ValueError, RuntimeError),
    ):
        return all(pool.map(matches, pieces))
    return False


def _piece(file: SourceFile, offset: int, line_end: bytes) -> bytes | None:
    """The lines that begin in the chunk at this offset; None if a line is too long."""
    before = min(offset, 1)
    with open(file.real, "rb", buffering=0) as stream:  # noqa: PTH123 - a string
        stream.seek(offset - before)
        data = stream.read(before + _CHUNK_BYTES + _LONGEST_LINE)
    ended = len(data) < before + _CHUNK_BYTES + _LONGEST_LINE
    begin = data.find(b"\n") + 1 if before else 0
    end = data.find(b"\n", before + _CHUNK_BYTES - 1) + 1
    if (before and not begin) or (not end and not ended):
        return b"" if ended else None
    piece = data[begin:end] if end else data[begin:]
    return piece if not piece or piece.endswith(b"\n") else piece + line_end


def _searcher() -> Callable[[bytes, str], bool]:
    """A function that searches bytes for a regular expression. It releases the GIL while it searches."""
    # Its default allocator reserves a gigabyte of address space, of which a child process has little.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    import pyarrow as pa  # noqa: PLC0415 - takes long to import, and only large files need it
    from pyarrow import compute  # noqa: PLC0415

    def search(data: bytes, pattern: str) -> bool:
        offsets = pa.py_buffer(struct.pack("<qq", 0, len(data)))
        texts = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(data)])
        return bool(compute.match_substring_regex(texts, pattern)[0].as_py())

    return search
