"""Hive partitions: folders named `key=value`, whose keys are columns of the files in them."""

from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from orchestrator.engines.duckdb.sources.contract import Contract
from orchestrator.engines.duckdb.sources.discovery import SourceFile

_NULL = "__HIVE_DEFAULT_PARTITION__"


def partition_keys(contract: Contract, files: Sequence[SourceFile]) -> tuple[str, ...]:
    """The partition keys of the folders of the files, in alphabetical order; none without `hive_partitioning`."""
    if not contract.options["hive_partitioning"]:
        return ()
    return tuple(sorted({key for file in files for key, _ in _pairs(file)}))


def partition_values(files: Sequence[SourceFile], keys: Sequence[str]) -> set[tuple[str | None, ...]]:
    """The partition values for these keys, each combination once. A value that is NULL or missing is None."""
    found = (dict(_pairs(file)) for file in files)
    return {tuple(None if pairs.get(key) == _NULL else pairs.get(key) for key in keys) for pairs in found}


def folder_options(contract: Contract) -> str:
    """The arguments of DuckDB's reading functions. With them, partition values are text: DuckDB detects no types."""
    hive = str(contract.options["hive_partitioning"]).lower()
    return f"hive_partitioning = {hive}, hive_types_autocast = false, union_by_name = false"


def _pairs(file: SourceFile) -> Iterator[tuple[str, str]]:
    for folder in file.real.split("/")[:-1]:
        key, equals, value = folder.partition("=")
        if equals:
            yield unquote(key), unquote(value)
