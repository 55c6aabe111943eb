"""Copies the tables of databases that a generation reads into the store, and pins the copies.

All tables of one database that have one credential are copied in one transaction, so that they are of one moment. A
table whose rows are those of its newest copy keeps that: its readers find that nothing has changed.

A worker that dies leaves rows and files of copies that were not completed. The next attempt makes others, and the
reconciler removes these once the generation has ended.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from orchestrator.aio import uninterruptible
from orchestrator.catalog import run_plans, source_copies
from orchestrator.catalog.database import Database
from orchestrator.catalog.source_copies import NewCopy
from orchestrator.engines.base import RowDigester
from orchestrator.model.database_tables import (
    COPY_FILE,
    CopiedRows,
    CopyOrder,
    DatabaseServers,
    DatabaseTable,
    SourceCopy,
)
from orchestrator.model.errors import (
    InputReplaced,
    InvalidSource,
    OrchestratorError,
    OutputTooLarge,
    QueryTimedOut,
    RunSuperseded,
    SourceRefused,
    Terminal,
    Transient,
)
from orchestrator.model.file_patterns import database_of
from orchestrator.model.generation import CopyFailure, CopyOutcome, CopyTask
from orchestrator.model.names import fold
from orchestrator.model.run import SourceRelation
from orchestrator.model.snapshot import SnapshotFile, location_of
from orchestrator.model.source_table import Credential
from orchestrator.services.member_plans import database_tables
from orchestrator.services.pinned_sources import PinnedSources
from orchestrator.services.table_credentials import TableCredentials
from orchestrator.stores.base import SnapshotStore

_NOT_INSTALLED = "This worker reads no databases: its operator has to install matview[databases]."


@dataclass(frozen=True)
class TableCopies:
    """Copies tables. Without `servers` it copies none."""

    database: Database
    store: SnapshotStore
    digester: RowDigester
    servers: DatabaseServers | None
    credentials: TableCredentials
    sources: PinnedSources

    async def copy(self, task: CopyTask) -> CopyOutcome:
        """Copy and pin the tables of one database that the open members of a generation read. It may be repeated.

        Raises Transient if trying again may help, and QueryTimedOut.
        """
        failures: list[CopyFailure] = []
        try:
            async with asyncio.timeout(task.timeout_seconds):
                for credential, tables in (await self._tables(task, failures)).items():
                    failures += await self._copy_all(task, credential, tables)
        except TimeoutError:
            raise QueryTimedOut(f"The tables were not copied within {task.timeout_seconds:g} seconds.") from None
        return CopyOutcome(failures=tuple(failures))

    async def _tables(
        self, task: CopyTask, failures: list[CopyFailure]
    ) -> Mapping[Credential | None, Sequence[SourceRelation]]:
        """The tables that are not copied yet, by the credential with which they are read.

        Adds those to `failures` that were given the URL of another database since they were planned.
        """
        async with self.database.single() as tx:
            plans = [one.plan for one in await run_plans.load_all(tx, task.generation_id)]
        found = {
            table.id: table
            for plan in plans
            for table in database_tables((*plan.relations, *plan.check_relations))
            if database_of(table.url_pattern) == task.database
        }
        copied = await self.sources.copied(task.generation_id, found)
        tables: dict[Credential | None, list[SourceRelation]] = {}
        for table_id in sorted(found.keys() - copied):
            table = found[table_id]
            try:
                credential = await self.credentials.of_table(table_id, table.url_pattern)
            except InvalidSource as error:
                failures.append(_failure(table, error))
            else:
                tables.setdefault(credential, []).append(table)
        return tables

    async def _copy_all(
        self, task: CopyTask, credential: Credential | None, tables: Sequence[SourceRelation]
    ) -> list[CopyFailure]:
        new = [_new_copy(task, table) for table in tables]
        async with self.database.begin() as tx:
            await source_copies.begin(tx, new)
        try:
            paths = {one.id: (await self.store.stage(one.location)).folder / COPY_FILE for one in new}
            found = await self._read(task, credential, new, paths)
            copies = [await self._completed(one, paths[one.id], found[one.id]) for one in new]
            async with self.database.begin() as tx:
                for one in copies:
                    if isinstance(one, SourceCopy):
                        if not await source_copies.hold(tx, one.id):
                            raise InputReplaced("A copy was removed before it was pinned.")
                        await self.sources.pin_copy(tx, task.generation_id, one)
        finally:
            await uninterruptible(self._discard_incomplete(new))
        return [
            _failure(table, one)
            for table, one in zip(tables, copies, strict=True)
            if isinstance(one, OrchestratorError)
        ]

    async def _read(
        self,
        task: CopyTask,
        credential: Credential | None,
        new: Sequence[NewCopy],
        paths: Mapping[UUID, Path],
    ) -> Mapping[UUID, CopiedRows | OrchestratorError]:
        """The tables copied into staged files. A failure that concerns all of them is that of each."""
        if self.servers is None:
            return dict.fromkeys(paths, SourceRefused(_NOT_INSTALLED))
        orders = {one.id: _order(one.table, credential, paths[one.id]) for one in new}
        try:
            return await self.servers.copy(orders, task.timeout_seconds)
        except QueryTimedOut:
            raise
        except Terminal as error:
            return dict.fromkeys(orders, error)

    async def _completed(
        self, new: NewCopy, path: Path, found: CopiedRows | OrchestratorError
    ) -> SourceCopy | OrchestratorError:
        """The copy that is to be read: the new one, sealed, or the newest of before if that has the same rows."""
        if isinstance(found, OrchestratorError):
            return found
        names = [one.name for one in new.table.columns]
        try:
            content = await self.digester.digest_rows(path, names, project_id=new.project_id)
        except Terminal as error:
            return error
        async with self.database.single() as tx:
            before = await source_copies.newest(tx, new.table.id)
        # Its file may be gone, as after a restore of the catalog.
        if before and _is_same(before, new, content) and await self.store.is_whole(before.location, [before.file]):
            return before
        file = SnapshotFile(name=COPY_FILE, rows=found.rows, bytes=found.bytes)
        (measured,) = await self.store.measure(new.location, [file])
        copy = SourceCopy(
            id=new.id,
            project_id=new.project_id,
            source_table_id=new.table.id,
            url=new.table.url_pattern,
            columns=new.table.columns,
            location=new.location,
            file=measured,
            content=content,
            read_at=found.read_at,
        )
        await self.store.seal(new.location, [measured], copy.model_dump_json(indent=2).encode() + b"\n")
        async with self.database.begin() as tx:
            if not await source_copies.complete(tx, copy):
                raise RunSuperseded
        return copy

    async def _discard_incomplete(self, new: Sequence[NewCopy]) -> None:
        """Remove what no copy was made of in the end. If that fails, the reconciler does it later."""
        with suppress(Transient):
            async with self.database.begin() as tx:
                given_up = await source_copies.abandon(tx, [one.id for one in new])
            for one in new:
                if one.id in given_up:
                    await self.store.discard(one.location)
            async with self.database.begin() as tx:
                await source_copies.forget(tx, given_up)


def _order(table: SourceRelation, credential: Credential | None, path: Path) -> CopyOrder:
    return CopyOrder(
        table=DatabaseTable(table.url_pattern, table.format, credential),
        columns=table.columns,
        stated=frozenset(map(fold, table.stated)),
        path=path,
    )


def _new_copy(task: CopyTask, table: SourceRelation) -> NewCopy:
    copy_id = uuid4()
    return NewCopy(
        copy_id, task.project_id, table, task.generation_id, location_of(task.project_id, table.id, copy_id, 1)
    )


def _is_same(before: SourceCopy, new: NewCopy, content: str) -> bool:
    return (before.content, before.columns, before.url) == (content, new.table.columns, new.table.url_pattern)


def _failure(table: SourceRelation, error: OrchestratorError) -> CopyFailure:
    code = error.code if isinstance(error, OutputTooLarge) else SourceRefused.code
    return CopyFailure(table_id=table.id, error=f'Source table "{table.name}": {error.message}', error_code=code)
