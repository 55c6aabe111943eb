"""Parquet source files: the columns come from their footers, which must agree.

DuckDB takes the types of the first file and silently casts the values of the others to them: 1.5 in a later file became
2 in a BIGINT. So the footers are compared before any data is read.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence

import duckdb

from orchestrator.engines.duckdb.child.session import described
from orchestrator.engines.duckdb.sources.contract import BY_NAME, Columns, Contract, UnreadableFile, check_names
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.engines.duckdb.sources.hive import folder_options, partition_keys
from orchestrator.engines.duckdb.sql.parquet_casts import literal, quoted
from orchestrator.model.names import fold

# Folder names do not become columns, and files with different columns are not combined.
PLAIN = "hive_partitioning = false, union_by_name = false"
# All fields of a footer on which columns and types depend. The root's name does not matter, and no element's
# nullability does.
_SHAPE = (
    "column_id, if(column_id = 0, '', name), type, type_length, repetition_type = 'REPEATED', num_children,"
    " converted_type, scale, precision, logical_type, duckdb_type"
)
# Types that also depend on other parts of a footer. Files with them are described one by one.
_UNSURE = ("BLOB", "GEOMETRY")


def listed(paths: Iterable[str]) -> str:
    """The files as an SQL list of patterns, escaped so that they match exactly these files."""
    return f"[{', '.join(literal(glob.escape(path)) for path in paths)}]"


def read_parquet(paths: Iterable[str]) -> str:
    """A SELECT of all columns and rows of the files, which must have the same columns."""
    return f"SELECT * FROM read_parquet({listed(paths)}, {PLAIN})"


def parquet_groups(
    connection: duckdb.DuckDBPyConnection, contract: Contract, files: Sequence[SourceFile]
) -> Iterator[tuple[list[SourceFile], str, list[str], list[str | None]]]:
    """The files in groups that have the same types for the columns of the contract.

    Each group comes with a relation over its files, and the operand and type of each column in it. The type is None for
    a column that the files lack. Each footer is read once, and no data.

    Raises UnreadableFile, which names the file and the column, if a file lacks a column or has it in another type, and
    the contract does not allow that. Raises duckdb.Error if a footer cannot be read.
    """
    alike: dict[tuple[str | None, ...], list[SourceFile]] = {}
    folders = {fold(key): key for key in partition_keys(contract, files)}
    for group, found in shapes(connection, files):
        there = _by_name(found)
        kinds = [
            "VARCHAR" if fold(name) in folders else _held(contract, group[0], there, name, kind)
            for name, kind in contract.columns
        ]
        alike.setdefault(tuple(kinds), []).extend(group)
    for kinds_of_all, group in alike.items():
        operands = [
            "NULL" if kind is None else quoted(folders.get(fold(name), name))
            for (name, _), kind in zip(contract.columns, kinds_of_all, strict=True)
        ]
        paths = listed(file.real for file in group)
        yield group, f"read_parquet({paths}, {folder_options(contract)})", operands, [*kinds_of_all]


def _held(contract: Contract, file: SourceFile, kinds: Mapping[str, str], name: str, recorded: str) -> str | None:
    """The type that a file has for a column; None if it lacks the column and may do so. Raises UnreadableFile."""
    kind = kinds.get(fold(name))
    if kind is None and contract.options["union_by_name"]:
        return None
    if kind is None or (kind != recorded and not contract.is_stated(name)):
        there = f"is {kind} in {file.real}" if kind else f"is missing in {file.real}"
        advice = "If that is meant to be so, refresh the schema of the source table."
        raise UnreadableFile(f'the column "{name}" {there}, but was recorded as {recorded}. {advice}')
    return kind


def parquet_columns(
    connection: duckdb.DuckDBPyConnection, contract: Contract, files: Sequence[SourceFile]
) -> list[tuple[str, str]]:
    """The columns of the first file, which all others must have too; with `union_by_name` those of all files.

    A type that the contract states may differ from the type in a file. Raises UnreadableFile, which names both files
    and the column, if the types of two files differ. Raises duckdb.Error if a file cannot be read.
    """
    union, wanted = contract.options["union_by_name"], {fold(name): kind for name, kind in contract.columns}
    found_shapes = shapes(connection, files)
    columns = {fold(name): (name, kind, files[0]) for name, kind in _described(connection, files[0])}
    for group, found in found_shapes if union else ():
        for name, kind in found:
            columns.setdefault(fold(name), (name, kind, group[0]))
    for group, found in found_shapes:
        kinds = _by_name(found)
        for key, (name, kind, where) in columns.items():
            held = kinds.get(key)
            if held != kind and key not in wanted and not (union and held is None):
                there = f"is {held} in {group[0].real}" if held else f"is missing in {group[0].real}"
                advice = "" if held else f" {BY_NAME}"
                raise UnreadableFile(f'the column "{name}" {there}, but {kind} in {where.real}.{advice}')
    return [(name, wanted.get(key, kind)) for key, (name, kind, _) in columns.items()]


def shapes(
    connection: duckdb.DuckDBPyConnection, files: Sequence[SourceFile]
) -> list[tuple[list[SourceFile], Columns]]:
    """The files in groups with the same footer schema, with their columns, ordered by the first file of each group."""
    by_path = {file.real: file for file in files}
    footers = f"SELECT file_name, list(({_SHAPE}) ORDER BY column_id) AS shape FROM parquet_schema({{}}) GROUP BY ALL"
    alike = f"SELECT list(file_name) FROM ({footers.format(listed(by_path))}) GROUP BY shape"
    groups = [sorted(by_path[path] for path in row[0]) for row in connection.execute(alike).fetchall()]
    found = [(group, _described(connection, group[0])) for group in sorted(groups)]
    if any(word in kind for _, columns in found for _, kind in columns for word in _UNSURE):
        found = [([file], _described(connection, file)) for file in files]
    return found


def _described(connection: duckdb.DuckDBPyConnection, file: SourceFile) -> Columns:
    columns = described(connection, read_parquet([file.real]))
    check_names(file.real, columns)
    return columns


def _by_name(columns: Columns) -> Mapping[str, str]:
    """The types by folded name, since DuckDB ignores the case of A to Z in names of columns."""
    return {fold(name): kind for name, kind in columns}
