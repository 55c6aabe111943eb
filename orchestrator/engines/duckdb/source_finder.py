"""Finds the files of source tables, in processes that run no SQL.

A pattern may lead to millions of names, or to a file system that does not answer. In a process of its own, such a
search delays no other work, and can be ended.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from orchestrator.engines.duckdb.child_process import ProcessLimits
from orchestrator.engines.duckdb.process_pool import ProcessPool
from orchestrator.engines.duckdb.protocol import parse_result
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.model.errors import InputMissing
from orchestrator.model.reading import ReadRelation
from orchestrator.model.run import SourceRelation

_SEARCHES = 3
_SECONDS = 60.0
_ADDRESS_SPACE = 1 << 30


class SourceFinder:
    """Finds files below `source_roots`, except those in the files and folders `private`."""

    def __init__(self, source_roots: Sequence[Path], private: Sequence[Path]) -> None:
        self.allowed = {
            "source_roots": [str(root) for root in source_roots],
            "private": [str(path) for path in private],
        }
        """The part of each request that says where files may lie."""
        limits = ProcessLimits(address_space=_ADDRESS_SPACE, file_size=0)
        self._pool = ProcessPool(size=_SEARCHES, process_limits=limits, seconds=_SECONDS)

    async def close(self) -> None:
        """End every process."""
        await self._pool.close()

    async def find(self, project_id: int, relations: Iterable[ReadRelation]) -> Mapping[str, list[SourceFile]]:
        """The files of each source table among the relations, by its name.

        Raises InputMissing, naming the table, if it has no file or none that may be read.
        """
        return {one.name: await self._of_table(project_id, one) for one in relations if one.kind == "source"}

    async def _of_table(self, project_id: int, table: SourceRelation) -> list[SourceFile]:
        request = {"job": "find_files", "name": table.name, "url_pattern": table.url_pattern, **self.allowed}
        too_slow = InputMissing(f'The files of "{table.name}" could not be listed within {_SECONDS:g} seconds.')
        found = parse_result(*await self._pool.ask(project_id, request, too_slow))
        return [SourceFile(*file) for file in found]
