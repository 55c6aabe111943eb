"""How each format of source files is read: once to learn its columns, and from then on with exactly those."""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

import os
from collections.abc import Sequence

from orchestrator.engines.parquet_types import literal, quoted
from orchestrator.engines.session import empty_select

# Rows from which the types of CSV and JSON are told: ten times DuckDB's own number, so that a type rarely proves wrong
# later, and still read in a second or two. A later value that does not fit fails the run, it never changes the type.
SAMPLE_ROWS = 204_800


def sniffing_select(source_format: str, paths: Sequence[str]) -> str:
    """A SELECT over the files whose columns DuckDB finds out by itself."""
    files = _list(paths)
    if source_format == "Parquet":
        return _parquet(files)
    if source_format == "JSONEachRow":
        return f"SELECT * FROM read_json({files}, {_JSON}, sample_size = {SAMPLE_ROWS})"
    return f"SELECT * FROM read_csv({files}, {_csv(source_format)}, sample_size = {SAMPLE_ROWS})"


def source_select(source_format: str, paths: Sequence[str], columns: Sequence[tuple[str, str]]) -> str:
    """A SELECT over the files that gives `columns` (name and DuckDB type), so that types do not drift with the data.

    Parquet says itself what its columns are. The columns of a CSV file with a header line are found by name, wherever
    they stand in each file; without one, by position. Empty CSV and JSON files hold no rows.
    """
    if source_format == "Parquet":
        return _parquet(_list(paths))
    paths = [path for path in paths if os.path.getsize(path)]  # noqa: PTH202 - plain strings cross the pipe
    if not paths:
        return empty_select(columns)
    files = _list(paths)
    types = "{" + ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns) + "}"
    if source_format == "JSONEachRow":
        return f"SELECT * FROM read_json({files}, {_JSON}, columns = {types})"
    if source_format == "CSV":
        return f"SELECT * FROM read_csv({files}, {_csv(source_format)}, columns = {types})"
    # DuckDB reads text where the files' headers differ from each other, whatever types it was given: hence the casts.
    casts = ", ".join(f"CAST({quoted(name)} AS {kind}) AS {quoted(name)}" for name, kind in columns)
    return f"SELECT {casts} FROM read_csv({files}, {_csv(source_format)}, types = {types})"


# Folder names never become columns, and files are never matched up by guessing.
_PLAIN = "hive_partitioning = false, union_by_name = false"
_JSON = f"format = 'newline_delimited', {_PLAIN}"


def _csv(source_format: str) -> str:
    return f"header = {str(source_format == 'CSVWithNames').lower()}, {_PLAIN}"


def _parquet(files: str) -> str:
    return f"SELECT * FROM read_parquet({files}, {_PLAIN})"


def _list(paths: Sequence[str]) -> str:
    return "[" + ", ".join(map(literal, paths)) + "]"
