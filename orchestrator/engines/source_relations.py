"""How each format of text files is read: by fixed rules, so that a file's meaning never depends on a look at it."""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

from collections.abc import Sequence

from orchestrator.engines.parquet_types import literal, quoted
from orchestrator.engines.session import empty_select
from orchestrator.engines.source_files import SourceFile
from orchestrator.engines.source_parquet import PLAIN, Columns, listed
from orchestrator.engines.source_text import Unreadable, compression, header, with_data

# RFC 4180. An empty field is NULL, with quotes or without.
_CSV = f"auto_detect = false, delim = ',', quote = '\"', escape = '\"', nullstr = '', {PLAIN}"
JSON = f"format = 'newline_delimited', {PLAIN}"


def source_select(source_format: str, files: Sequence[SourceFile], columns: Columns) -> str:
    """A SELECT over the files that gives `columns` (name and DuckDB type), so that types do not drift with the data.

    The columns of a CSV file with a header line are found by name, wherever
    they stand in each file; without one, by position. Empty CSV and JSON files hold no rows. Raises Unreadable.
    """
    # One look at all files does for those alike.
    alike: dict[tuple[str, tuple[str, ...]], list[SourceFile]] = {}
    for file in with_data(files):
        names = header(file) if source_format == "CSVWithNames" else ()
        alike.setdefault((compression(file), names), []).append(file)
    selects = [_select(source_format, names, group, columns) for (_, names), group in alike.items()]
    return " UNION ALL ".join(selects) or empty_select(columns)


def unpacked(files: Sequence[SourceFile]) -> str:
    """The first arguments of a function that reads text files, all compressed in the same way."""
    return f"{listed(file.real for file in files)}, compression = {literal(compression(files[0]))}"


def _select(source_format: str, names: Sequence[str], files: Sequence[SourceFile], columns: Columns) -> str:
    if source_format == "JSONEachRow":
        return f"SELECT * FROM read_json({unpacked(files)}, {JSON}, columns = {_struct(columns)})"
    if source_format == "CSV":
        return f"SELECT * FROM read_csv({unpacked(files)}, {_CSV}, header = false, columns = {_struct(columns)})"
    wanted = {name.lower(): kind for name, kind in columns}
    there = {name.lower(): name for name in names}
    missing = next((name for name, _ in columns if name.lower() not in there), None)
    if missing is not None:
        raise Unreadable(f'{files[0].real} has no column "{missing}" in its header line.')
    # Columns that came later are there to be skipped.
    types = _struct([(name, wanted.get(name.lower(), "VARCHAR")) for name in names])
    chosen = ", ".join(f"{quoted(there[name.lower()])} AS {quoted(name)}" for name, _ in columns)
    return f"SELECT {chosen} FROM read_csv({unpacked(files)}, {_CSV}, header = true, columns = {types})"


def _struct(columns: Columns) -> str:
    return "{" + ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns) + "}"
