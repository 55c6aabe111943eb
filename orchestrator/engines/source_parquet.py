"""Parquet source files: each says itself what its columns are, and all have to say the same.

DuckDB takes the types of the first file and casts those of the others to them, in silence: 1.5 in a later file became 2
in a BIGINT. So the footers are compared before anything is read.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

from collections.abc import Iterable, Mapping, Sequence

import duckdb

from orchestrator.engines.parquet_types import literal, quoted
from orchestrator.engines.paths import exactly
from orchestrator.engines.session import described
from orchestrator.engines.source_files import SourceFile
from orchestrator.engines.source_text import Unreadable

Columns = Sequence[tuple[str, str]]

# Folder names never become columns, and files are never matched up by guessing.
PLAIN = "hive_partitioning = false, union_by_name = false"
# Everything in a footer that a type depends on. What the root is called and whether a value may be NULL is not.
_SHAPE = (
    "column_id, if(column_id = 0, '', name), type, type_length, repetition_type = 'REPEATED', num_children,"
    " converted_type, scale, precision, logical_type, duckdb_type"
)
# Types that also depend on what else stands in a footer.
_UNSURE = ("BLOB", "GEOMETRY")


def listed(paths: Iterable[str]) -> str:
    """The files as an SQL list that means exactly them."""
    return f"[{', '.join(literal(exactly(path)) for path in paths)}]"


def read_parquet(paths: Iterable[str]) -> str:
    """A SELECT of all that the files hold. They must have the same columns: see `check_recorded`."""
    return f"SELECT * FROM read_parquet({listed(paths)}, {PLAIN})"


def parquet_select(connection: duckdb.DuckDBPyConnection, files: Sequence[SourceFile], columns: Columns) -> str:
    """A SELECT of exactly the recorded `columns` (name and DuckDB type) from the files. Others are skipped.

    Raises Unreadable, which names the file and the column, if one of the files lacks a column or has it in another
    type; duckdb.Error if a footer cannot be read. One look at each footer, none at the data.
    """
    for file, found in _shapes(connection, files):
        kinds = _by_name(found)
        for name, recorded in columns:
            kind = kinds.get(name.lower())
            if kind != recorded:
                there = f"is {kind} in {file.real}" if kind else f"is missing in {file.real}"
                advice = "If that is meant to be so, refresh the schema of the source table."
                raise Unreadable(f'the column "{name}" {there}, but was recorded as {recorded}. {advice}')
    names = ", ".join(quoted(name) for name, _ in columns) or "*"
    return f"SELECT {names} FROM ({read_parquet(file.real for file in files)})"


def parquet_columns(connection: duckdb.DuckDBPyConnection, files: Sequence[SourceFile]) -> Columns:
    """The columns of the first file, which all others must have too; what they have beyond is not read.

    Raises Unreadable, which names both files and the column, if one does not; duckdb.Error if it cannot be read.
    """
    shapes = _shapes(connection, files)
    first, columns = files[0], _described(connection, files[0])
    for file, found in shapes:
        kinds = _by_name(found)
        for name, wanted in columns:
            kind = kinds.get(name.lower())
            if kind != wanted:
                there = f"is {kind} in {file.real}" if kind else f"is missing in {file.real}"
                raise Unreadable(f'the column "{name}" {there}, but {wanted} in {first.real}.')
    return columns


def _shapes(connection: duckdb.DuckDBPyConnection, files: Sequence[SourceFile]) -> list[tuple[SourceFile, Columns]]:
    """The columns of one file for each way in which the footers differ, in the order of the files."""
    shapes = f"SELECT file_name, list(({_SHAPE}) ORDER BY column_id) AS shape FROM parquet_schema({{}}) GROUP BY ALL"
    alike = f"SELECT min(file_name) FROM ({shapes.format(listed(file.real for file in files))}) GROUP BY shape"
    samples = {row[0] for row in connection.execute(alike).fetchall()}
    found = [(file, _described(connection, file)) for file in files if file.real in samples]
    if any(word in kind for _, columns in found for _, kind in columns for word in _UNSURE):
        found = [(file, _described(connection, file)) for file in files]
    return found


def _described(connection: duckdb.DuckDBPyConnection, file: SourceFile) -> Columns:
    return described(connection, read_parquet([file.real]))


def _by_name(columns: Columns) -> Mapping[str, str]:
    """DuckDB finds columns in whatever case they are written."""
    return {name.lower(): kind for name, kind in columns}
