"""Folders named `key=value`, as Hive and Spark write them: their keys are columns of the files in them."""

from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from orchestrator.engines.duckdb.sources.contract import Contract
from orchestrator.engines.duckdb.sources.discovery import SourceFile

_NULL = "__HIVE_DEFAULT_PARTITION__"


def folder_keys(contract: Contract, files: Sequence[SourceFile]) -> tuple[str, ...]:
    """The keys in the names of the folders that files lie in, in alphabetical order; none unless it was asked for."""
    if not contract.options["hive_partitioning"]:
        return ()
    return tuple(sorted({key for file in files for key, _ in _pairs(file)}))


def folder_values(files: Sequence[SourceFile], keys: Sequence[str]) -> set[tuple[str | None, ...]]:
    """The values of the keys in the names of the folders, each combination once."""
    found = (dict(_pairs(file)) for file in files)
    return {tuple(None if pairs.get(key) == _NULL else pairs.get(key) for key in keys) for pairs in found}


def folder_options(contract: Contract) -> str:
    """The arguments of DuckDB's reading functions. DuckDB never guesses: a value of a folder is text."""
    hive = str(contract.options["hive_partitioning"]).lower()
    return f"hive_partitioning = {hive}, hive_types_autocast = false, union_by_name = false"


def _pairs(file: SourceFile) -> Iterator[tuple[str, str]]:
    for folder in file.real.split("/")[:-1]:
        key, equals, value = folder.partition("=")
        if equals:
            yield unquote(key), unquote(value)
