"""Lists how the files of a source table differ from its columns: which of them lack some, and which have others."""

from collections.abc import Iterator, Sequence

import duckdb

from orchestrator.engines.duckdb.sources.contract import Contract
from orchestrator.engines.duckdb.sources.discovery import SourceFile, shown_path
from orchestrator.engines.duckdb.sources.hive import partition_keys
from orchestrator.engines.duckdb.sources.parquet import shapes
from orchestrator.engines.duckdb.sources.text import header, with_data
from orchestrator.model.names import fold

# As many groups of files, and of names in each list, are given.
_MOST_GROUPS = 20
_MOST_NAMES = 20
_LONGEST_NAME = 128

Difference = tuple[str, int, list[str], int, list[str], int]


def differences(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    columns: Sequence[tuple[str, str]],
    files: Sequence[SourceFile],
) -> list[Difference]:
    """The groups of files that have the same columns, other than these.

    Of each: its first file and the number of its files, the columns that it lacks and their number, the columns that
    the table does not have and their number.

    Only Parquet and CSV with a header line have such groups: JSON is read by its keys, and CSV without one by position.
    """
    table = {fold(name): name for name, _ in columns}
    folders = {fold(key) for key in partition_keys(contract, files)}
    found: list[Difference] = []
    for first, count, names in _groups(connection, contract, files):
        own = {fold(name): name for name in names}
        missing = [name for key, name in table.items() if key not in own and key not in folders]
        additional = [name for key, name in own.items() if key not in table]
        if missing or additional:
            found.append((first, count, _some(missing), len(missing), _some(additional), len(additional)))
    return found[:_MOST_GROUPS]


def _groups(
    connection: duckdb.DuckDBPyConnection, contract: Contract, files: Sequence[SourceFile]
) -> Iterator[tuple[str, int, list[str]]]:
    alike: dict[tuple[str, ...], list[SourceFile]] = {}
    if contract.format == "Parquet":
        for group, columns in shapes(connection, files):
            alike.setdefault(tuple(sorted(name for name, _ in columns)), []).extend(group)
    elif contract.format == "CSVWithNames":
        for file in with_data(files):
            alike.setdefault(tuple(sorted(header(file, contract.options))), []).append(file)
    for names, group in sorted(alike.items(), key=lambda item: min(item[1])):
        yield shown_path(min(group)), len(group), [*names]


def _some(names: Sequence[str]) -> list[str]:
    return [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…" for name in names[:_MOST_NAMES]]
