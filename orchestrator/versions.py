"""Versions: the snapshots of a view that can still be read, and the choice of the one that readers see."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import islice
from uuid import UUID

from orchestrator.catalog import keys, runs, saved_queries, snapshots
from orchestrator.catalog.database import Database, Transaction
from orchestrator.catalog.journal import note
from orchestrator.engines.base import Engine
from orchestrator.following import Following
from orchestrator.model.errors import Invalid, NotFound, NotMaterialized
from orchestrator.model.journal import Change, Verb
from orchestrator.model.names import name_key
from orchestrator.model.principal import User
from orchestrator.model.run import Run
from orchestrator.model.saved_query import SavedQuery
from orchestrator.model.snapshot import InputFile, InputPin, Manifest, QuarantinedRow, Version, seen
from orchestrator.stores.base import SnapshotStore
from orchestrator.stores.quarantine import read_quarantine

# Files are read in threads, of which everything else needs some too.
_READERS = 2


class Versions:
    """The versions of every view."""

    def __init__(self, database: Database, store: SnapshotStore, engine: Engine) -> None:
        self._database = database
        self._store = store
        self._engine = engine
        self._readers = asyncio.Semaphore(_READERS)

    async def page(
        self, project_id: int, saved_query_id: UUID, *, limit: int, offset: int
    ) -> tuple[int, list[Version]]:
        """The number of a view's versions and one page of them, newest first. Raises NotFound."""
        async with self._database.begin() as tx:
            await _view(tx, project_id, saved_query_id)
            return await snapshots.page(tx, saved_query_id, limit=limit, offset=offset)

    async def get(self, project_id: int, saved_query_id: UUID, snapshot_id: UUID) -> Version:
        """A version that can still be read. Raises NotFound."""
        async with self._database.begin() as tx:
            await _view(tx, project_id, saved_query_id)
            return await _version(tx, saved_query_id, snapshot_id)

    async def pin(self, project_id: int, saved_query_id: UUID, snapshot_id: UUID, *, pinned: bool) -> Version:
        """Keep a version whatever its age, or no longer. Raises NotFound."""
        async with self._database.begin() as tx:
            await _view(tx, project_id, saved_query_id)
            version = await _version(tx, saved_query_id, snapshot_id)
            await snapshots.set_pinned(tx, snapshot_id, pinned=pinned)
            return version.model_copy(update={"pinned": pinned})

    async def quarantine(
        self, project_id: int, saved_query_id: UUID, snapshot_id: UUID, table: str | None, *, limit: int, offset: int
    ) -> tuple[int, list[QuarantinedRow]]:
        """How many rows of a source table a version's run kept apart, and some of them.

        Raises NotFound if there are none or the version is no longer kept, and Invalid if `table` is None and several
        tables have such rows.
        """
        version = await self.get(project_id, saved_query_id, snapshot_id)
        name = _quarantine_of(version.snapshot.inputs, table)
        path = self._store.locate(version.snapshot.location, name)
        async with self._readers:
            return await asyncio.to_thread(read_quarantine, path, limit=limit, offset=offset)

    async def source_files(
        self, project_id: int, saved_query_id: UUID, snapshot_id: UUID, *, limit: int, offset: int
    ) -> tuple[int, list[tuple[str, InputFile]]]:
        """How many source files a version was made from, and some of them, each with the name of its table.

        Raises NotFound, or StoreUnavailable if there are too many for the catalog and the manifest cannot be read.
        """
        snapshot = (await self.get(project_id, saved_query_id, snapshot_id)).snapshot
        inputs = snapshot.inputs
        if any(len(pin.files) < (pin.file_count or 0) for pin in inputs):
            async with self._readers:
                manifest = await self._store.manifest(snapshot.location)
                inputs = (await asyncio.to_thread(Manifest.model_validate_json, manifest)).snapshot.inputs
        return sum(pin.file_count or 0 for pin in inputs), _some_files(inputs, limit, offset)

    async def roll_back(
        self, project_id: int, saved_query_id: UUID, snapshot_id: UUID, user: User, *, end_runs: bool
    ) -> tuple[SavedQuery, list[Run]]:
        """Make a version the current one, in one transaction; returns the view as it was, and the runs that it ended.

        `end_runs` ends what is in progress in the same transaction, so that it cannot publish any more. Raises
        NotFound, also for a version that has been removed, or NotMaterialized.
        """
        following = Following(self._engine, [])
        async with self._database.begin() as tx:
            await keys.lock_definitions(tx, project_id)
            view = await _view(tx, project_id, saved_query_id, lock=True)
            if not view.is_materialized:
                raise NotMaterialized
            version = await _version(tx, saved_query_id, snapshot_id)
            told = "The view was rolled back to an earlier result while this run was in progress."
            ended = await runs.end_running(tx, view.id, told, "rolled_back") if end_runs else []
            before = view.current_snapshot.id if view.current_snapshot else None
            if before != snapshot_id:
                shown = await snapshots.point_back_to(tx, version.snapshot) or view.columns
                change = Change(
                    field="current_snapshot_id",
                    action="changed",
                    before=None if before is None else str(before),
                    after=str(snapshot_id),
                )
                await note(tx, view, Verb.ROLLED_BACK, user, [change])
                if seen(shown) != seen(version.snapshot.columns):
                    following = Following(self._engine, [view.id])
                    await following.step(tx)
        await following.finish(self._database, project_id)
        return view, ended


def _quarantine_of(inputs: Sequence[InputPin], table: str | None) -> str:
    """The file that holds the rows that were kept apart."""
    found = {pin.name: pin.quarantine for pin in inputs if pin.quarantine is not None}
    if table is not None:
        found = {name: file for name, file in found.items() if name_key(name) == name_key(table)}
    if len(found) > 1:
        raise Invalid(f"Rows of several tables were quarantined; say of which: {', '.join(found)}.", attr="table")
    for file in found.values():
        return file
    left_out = sum(pin.skipped_rows for pin in inputs if table is None or name_key(pin.name) == name_key(table))
    more = f" {left_out:,} were skipped, and not kept." if left_out else ""
    raise NotFound(f"No rows were quarantined{'' if table is None else ' of such a table'} in this version.{more}")


def _some_files(pins: Iterable[InputPin], limit: int, offset: int) -> list[tuple[str, InputFile]]:
    files = ((pin.name, file) for pin in pins for file in pin.files)
    return list(islice(files, offset, offset + limit))


async def _view(tx: Transaction, project_id: int, saved_query_id: UUID, *, lock: bool = False) -> SavedQuery:
    view = await saved_queries.find(tx, project_id, saved_query_id, lock=lock)
    if view is None:
        raise NotFound
    return view


async def _version(tx: Transaction, saved_query_id: UUID, snapshot_id: UUID) -> Version:
    version = await snapshots.find(tx, saved_query_id, snapshot_id)
    if version is None:
        raise NotFound("There is no such version, or it is no longer kept.")
    return version
