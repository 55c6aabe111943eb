"""Finds the files of source tables: those on the disk in processes that run no SQL, remote ones by a request.

A pattern of paths may lead to millions of names, or to a file system that does not answer. In a process of its own,
such a search delays no other work, and can be ended.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.engines.base import SourceFileState, SourceListing
from orchestrator.engines.duckdb.child_process import ProcessLimits
from orchestrator.engines.duckdb.process_pool import ProcessPool
from orchestrator.engines.duckdb.protocol import parse_result
from orchestrator.engines.duckdb.sources.discovery import (
    ListedFile,
    SourceFile,
    is_settled_remotely,
    listing_digest,
    remote_file,
    remote_identity,
    remote_object,
    shown_path,
)
from orchestrator.model.errors import InputMissing, Invalid, InvalidSource
from orchestrator.model.file_patterns import is_remote_pattern
from orchestrator.model.reading import ReadRelation
from orchestrator.model.remote_files import RemoteFile, RemoteObject
from orchestrator.model.remote_tables import RemoteTable, RemoteTables
from orchestrator.model.run import SourceRelation
from orchestrator.model.source_table import Credential

_SEARCHES = 3
_SECONDS = 60.0
_ADDRESS_SPACE = 1 << 30


class SourceFileLister:
    """Finds files below `source_roots`, except those in the files and folders `private`, and remote ones.

    `remote_tables` opens the latter; without it none are read.
    """

    def __init__(
        self, source_roots: Sequence[Path], private: Sequence[Path], remote_tables: RemoteTables | None = None
    ) -> None:
        self.allowed = {
            "source_roots": [str(root) for root in source_roots],
            "private": [str(path) for path in private],
        }
        """The part of each request that says where files on the disk may lie."""
        self._remote_tables = remote_tables
        limits = ProcessLimits(address_space=_ADDRESS_SPACE, file_size=0)
        self._searches = ProcessPool(size=_SEARCHES, process_limits=limits, seconds=_SECONDS)
        # Apart: to read files takes long, and must not keep other runs from finding theirs.
        self._digests = ProcessPool(size=_SEARCHES, process_limits=limits, seconds=_SECONDS)

    @property
    def has_remote_tables(self) -> bool:
        """Whether source tables may have remote files."""
        return self._remote_tables is not None

    async def close(self) -> None:
        """End every process."""
        await self._searches.close()
        await self._digests.close()

    async def find(self, project_id: int, relations: Iterable[ReadRelation]) -> Mapping[str, Sequence[SourceFile]]:
        """The files of each source table among the relations, by its name: those that were pinned, if any were.

        Raises InputMissing, naming the table, if it has no file or none that may be read. Raises SourceUnavailable.
        """
        tables = [one for one in relations if one.kind == "source"]
        return {table.name: await self._files_of(project_id, table) for table in tables}

    async def grant(
        self, relations: Iterable[ReadRelation], files: Mapping[str, Sequence[SourceFile]]
    ) -> dict[str, RemoteFile]:
        """The remote ones among the files that `find` has found for these relations, by the names that queries use."""
        granted: dict[str, RemoteFile] = {}
        for table in relations:
            if table.kind == "source" and is_remote_pattern(table.url_pattern):
                opened = await self._stored(table)
                granted |= granted_files(opened, files[table.name])
        return granted

    async def find_remote(
        self, url_pattern: str, credential: Credential | None
    ) -> tuple[Sequence[SourceFile], dict[str, RemoteFile]]:
        """The remote files that match now, and as a query is granted them. Raises InvalidSource, SourceUnavailable."""
        opened = await self._remote().open(url_pattern, credential)
        files = [remote_file(one) for one in await opened.list_files()]
        return files, granted_files(opened, files)

    async def list(self, project_id: int, table: SourceRelation) -> SourceListing:
        """The files of a source table, and their state now. Raises as `find` does."""
        if is_remote_pattern(table.url_pattern):
            return _remote_listing(await self._listed_remotely(table))
        listed = await self._listed(project_id, table)
        files = {
            shown_path(one.file): SourceFileState(bytes=one.size, identity=one.identity, opened_as=tuple(one.file))
            for one in listed
        }
        return _listing(files, is_settled=all(one.is_settled for one in listed))

    def listing_of(self, files: Sequence[RemoteObject]) -> SourceListing:
        """See SourceLister."""
        return _remote_listing([remote_file(one) for one in files])

    async def digests(self, project_id: int, table: SourceRelation, paths: Collection[str]) -> Mapping[str, str]:
        """The digests of the bytes of these files of a source table, by path. Files that are gone are missing.

        So are remote ones, whose version says it already. Raises InputMissing if that takes too long.
        """
        if is_remote_pattern(table.url_pattern):
            return {}
        found = await self._ask(self._digests, project_id, table, {"job": "digest_files", "paths": [*paths]})
        return {str(path): str(digest) for path, digest in found.items()}

    async def _files_of(self, project_id: int, table: SourceRelation) -> Sequence[SourceFile]:
        if table.files is not None:
            return [SourceFile(*file) for file in table.files]
        if is_remote_pattern(table.url_pattern):
            return await self._listed_remotely(table)
        return [found.file for found in await self._listed(project_id, table)]

    async def _listed_remotely(self, table: SourceRelation) -> Sequence[SourceFile]:
        opened = await self._stored(table)
        try:
            found = [remote_file(one) for one in await opened.list_files()]
        except InvalidSource as error:
            raise _of_table(table, error) from None
        if not found:
            raise InputMissing(f'Source table "{table.name}" has no files that match {table.url_pattern}.')
        return found

    async def _stored(self, table: SourceRelation) -> RemoteTable:
        try:
            return await self._remote().open_stored(table.id, table.url_pattern)
        except Invalid as error:
            raise _of_table(table, error) from None

    def _remote(self) -> RemoteTables:
        if self._remote_tables is None:
            raise InvalidSource(
                "This installation reads no remote files: its operator has to install matview[objects].",
                attr="url_pattern",
            )
        return self._remote_tables

    async def _listed(self, project_id: int, table: SourceRelation) -> Sequence[ListedFile]:
        found = await self._ask(self._searches, project_id, table, {"job": "find_files"})
        return [ListedFile(SourceFile(*file), *status) for file, *status in found]

    async def _ask(self, pool: ProcessPool, project_id: int, table: SourceRelation, request: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        request |= {"name": table.name, "url_pattern": table.url_pattern, **self.allowed}
        too_slow = InputMissing(f'The files of "{table.name}" could not be looked at within {_SECONDS:g} seconds.')
        return parse_result(*await pool.ask(project_id, request, too_slow))


def granted_files(table: RemoteTable, files: Iterable[SourceFile]) -> dict[str, RemoteFile]:
    """The files of a table, by the names that queries use."""
    return {file.real: RemoteFile(file.size, partial(table.read, remote_object(file))) for file in files}


def _remote_listing(found: Sequence[SourceFile]) -> SourceListing:
    files = {
        file.shown: SourceFileState(bytes=file.size, identity=remote_identity(file), opened_as=tuple(file))
        for file in found
    }
    return _listing(files, is_settled=all(map(is_settled_remotely, found)))


def _listing(files: Mapping[str, SourceFileState], *, is_settled: bool) -> SourceListing:
    digest = listing_digest((path, file.identity) for path, file in files.items())
    return SourceListing(digest=digest, files=files, is_settled=is_settled)


def _of_table(table: SourceRelation, error: Invalid) -> InputMissing:
    return InputMissing(f'Source table "{table.name}": {error.message}')
