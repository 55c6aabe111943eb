"""Finds the files of source tables, in processes that run no SQL.

A pattern may lead to millions of names, or to a file system that does not answer. In a process of its own, such a
search delays no other work, and can be ended.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.engines.base import SourceFileState, SourceListing
from orchestrator.engines.duckdb.child_process import ProcessLimits
from orchestrator.engines.duckdb.process_pool import ProcessPool
from orchestrator.engines.duckdb.protocol import parse_result
from orchestrator.engines.duckdb.sources.discovery import (
    ListedFile,
    SourceFile,
    listing_digest,
    shown_path,
)
from orchestrator.model.errors import InputMissing
from orchestrator.model.reading import ReadRelation
from orchestrator.model.run import SourceRelation

_SEARCHES = 3
_SECONDS = 60.0
_ADDRESS_SPACE = 1 << 30


class LocalSourceLister:
    """Finds files below `source_roots`, except those in the files and folders `private`."""

    def __init__(self, source_roots: Sequence[Path], private: Sequence[Path]) -> None:
        self.allowed = {
            "source_roots": [str(root) for root in source_roots],
            "private": [str(path) for path in private],
        }
        """The part of each request that says where files may lie."""
        limits = ProcessLimits(address_space=_ADDRESS_SPACE, file_size=0)
        self._searches = ProcessPool(size=_SEARCHES, process_limits=limits, seconds=_SECONDS)
        # Apart: to read files takes long, and must not keep other runs from finding theirs.
        self._digests = ProcessPool(size=_SEARCHES, process_limits=limits, seconds=_SECONDS)

    async def close(self) -> None:
        """End every process."""
        await self._searches.close()
        await self._digests.close()

    async def find(self, project_id: int, relations: Iterable[ReadRelation]) -> Mapping[str, Sequence[SourceFile]]:
        """The files of each source table among the relations, by its name: those that were pinned, if any were.

        Raises InputMissing, naming the table, if it has no file or none that may be read.
        """
        tables = [one for one in relations if one.kind == "source"]
        return {table.name: await self._files_of(project_id, table) for table in tables}

    async def _files_of(self, project_id: int, table: SourceRelation) -> Sequence[SourceFile]:
        if table.files is not None:
            return [SourceFile(*file) for file in table.files]
        return [found.file for found in await self._listed(project_id, table)]

    async def list(self, project_id: int, table: SourceRelation) -> SourceListing:
        """The files of a source table, and their state now. Raises InputMissing as `find` does."""
        found = await self._listed(project_id, table)
        files = {
            shown_path(one.file): SourceFileState(bytes=one.size, identity=one.identity, opened_as=tuple(one.file))
            for one in found
        }
        digest = listing_digest((path, file.identity) for path, file in files.items())
        return SourceListing(digest=digest, files=files, is_settled=all(one.is_settled for one in found))

    async def digests(self, project_id: int, table: SourceRelation, paths: Collection[str]) -> Mapping[str, str]:
        """The digests of the bytes of these files of a source table, by path. Files that are gone are missing.

        Raises InputMissing if that takes too long.
        """
        found = await self._ask(self._digests, project_id, table, {"job": "digest_files", "paths": [*paths]})
        return {str(path): str(digest) for path, digest in found.items()}

    async def _listed(self, project_id: int, table: SourceRelation) -> Sequence[ListedFile]:
        found = await self._ask(self._searches, project_id, table, {"job": "find_files"})
        return [ListedFile(SourceFile(*file), *status) for file, *status in found]

    async def _ask(self, pool: ProcessPool, project_id: int, table: SourceRelation, request: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        request |= {"name": table.name, "url_pattern": table.url_pattern, **self.allowed}
        too_slow = InputMissing(f'The files of "{table.name}" could not be looked at within {_SECONDS:g} seconds.')
        return parse_result(*await pool.ask(project_id, request, too_slow))
