"""Tables of databases as queries read them: the newest copy, or the one that a generation has pinned."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from orchestrator.catalog import source_copies
from orchestrator.catalog.database import Database
from orchestrator.model.database_tables import COPY_FILE, SourceCopy, moment_of
from orchestrator.model.errors import InputMissing, InvalidSource
from orchestrator.model.remote_files import COPY_VERSION, RemoteFiles, RemoteObject
from orchestrator.stores.base import SnapshotStore


@dataclass(frozen=True)
class CopiedTables:
    """Opens copies. `remote_files` reads them where the store is on no disk."""

    database: Database
    store: SnapshotStore
    remote_files: RemoteFiles | None

    def open(self, table_id: UUID, url: str) -> "CopiedTable":
        """The copies of a table, whose URL is `url` now."""
        return CopiedTable(self, table_id, url)

    async def read(self, copy: SourceCopy, start: int, end: int) -> bytes:
        """The bytes of a copy from `start` to before `end`."""
        if self.remote_files is not None:
            return await self.remote_files.read(self.store.file_url(copy.location, COPY_FILE), start, end)
        async with self.store.open_file(copy.location, COPY_FILE) as file:
            return b"".join([chunk async for chunk in file.chunks(start, end)])


@dataclass(frozen=True)
class CopiedTable:
    """See RemoteTable."""

    copies: CopiedTables
    table_id: UUID
    url: str
    _known: dict[RemoteObject, SourceCopy] = field(default_factory=dict, init=False)

    async def list_files(self) -> Sequence[RemoteObject]:
        """See RemoteTable. The newest copy, unless it is of another table: the URL may have been changed since."""
        async with self.copies.database.single() as tx:
            found = await source_copies.newest(tx, self.table_id)
        if found is None or found.url != self.url:
            raise InvalidSource(
                "it has not been copied yet. It is copied when a materialized view that reads it is refreshed."
            )
        return [found.as_object()]

    async def read(self, file: RemoteObject, start: int, end: int) -> bytes:
        """See RemoteTable."""
        if file not in self._known:
            content = file.version.removeprefix(COPY_VERSION)
            async with self.copies.database.begin() as tx:
                found = await source_copies.of_content(tx, self.table_id, content, file.size, moment_of(file))
            if found is None:
                raise InputMissing(f"The copy of {self.url} no longer exists.")
            self._known[file] = found
        return await self.copies.read(self._known[file], start, end)
