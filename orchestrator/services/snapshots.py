"""The published snapshots of a view: listing, pinning and rolling back. Clients call a published snapshot a version."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from uuid import UUID

from orchestrator.catalog import projects, runs, saved_pauses, saved_queries, snapshots
from orchestrator.catalog.audit_log import record
from orchestrator.catalog.database import Database, Transaction
from orchestrator.engines.base import QueryAnalyzer
from orchestrator.model.audit import FieldChange, Verb
from orchestrator.model.errors import (
    Invalid,
    NotFound,
    NotMaterialized,
    StillStopping,
    TemporalUnavailable,
    VersionBlocked,
)
from orchestrator.model.names import name_key
from orchestrator.model.principal import User
from orchestrator.model.printable import one_line
from orchestrator.model.run import Run
from orchestrator.model.saved_query import SavedQuery
from orchestrator.model.snapshot import InputFile, Manifest, PublishedSnapshot, QuarantinedRow, ResolvedInput, seen
from orchestrator.reconciliation.current import CurrentLinks
from orchestrator.services.runs import RunService
from orchestrator.services.view_columns import ColumnPropagation
from orchestrator.services.view_states import ViewState, ViewStates
from orchestrator.stores.base import SnapshotStore
from orchestrator.stores.quarantine import read_quarantine
from orchestrator.temporal.run_workflows import RunWorkflows
from orchestrator.temporal.schedules import Schedules

# How many threads read files. More would leave too few for other work.
_READERS = 2
_NOT_BLOCKED = "The checks of this version do not keep it from readers. Roll back to it instead."


class SnapshotService:
    """The published snapshots of every view."""

    def __init__(
        self,
        *,
        database: Database,
        store: SnapshotStore,
        engine: QueryAnalyzer,
        states: ViewStates,
        runs: RunService,
        schedules: Schedules,
        workflows: RunWorkflows,
        current: CurrentLinks,
    ) -> None:
        self._database = database
        self._store = store
        self._engine = engine
        self._states = states
        self._runs = runs
        self._schedules = schedules
        self._workflows = workflows
        self._current = current
        self._readers = asyncio.Semaphore(_READERS)

    async def page(
        self, project_id: int, saved_query_id: UUID, *, limit: int, offset: int
    ) -> tuple[int, list[PublishedSnapshot]]:
        """The number of a view's versions and one page of them, newest first. Raises NotFound."""
        async with self._database.begin() as tx:
            await _view(tx, project_id, saved_query_id)
            return await snapshots.page(tx, saved_query_id, limit=limit, offset=offset)

    async def get(self, project_id: int, saved_query_id: UUID, snapshot_id: UUID) -> PublishedSnapshot:
        """A version that can still be read. Raises NotFound."""
        async with self._database.begin() as tx:
            await _view(tx, project_id, saved_query_id)
            return await _version(tx, saved_query_id, snapshot_id)

    async def pin(self, project_id: int, saved_query_id: UUID, snapshot_id: UUID, *, pinned: bool) -> PublishedSnapshot:
        """Pin a version, which keeps it regardless of its age, or unpin it. Raises NotFound."""
        async with self._database.begin() as tx:
            await _view(tx, project_id, saved_query_id)
            version = await _version(tx, saved_query_id, snapshot_id)
            await snapshots.set_pinned(tx, snapshot_id, pinned=pinned)
            return version.model_copy(update={"pinned": pinned})

    async def quarantine(
        self, project_id: int, saved_query_id: UUID, snapshot_id: UUID, table: str | None, *, limit: int, offset: int
    ) -> tuple[int, list[QuarantinedRow]]:
        """The number of rows of a source table that a version's run quarantined, and one page of them.

        Raises NotFound if there are none or the version is no longer kept, and Invalid if `table` is None and several
        tables have such rows.
        """
        version = await self.get(project_id, saved_query_id, snapshot_id)
        name = _quarantine_of(version.snapshot.inputs, table)
        async with self._readers, self._store.on_disk(version.snapshot.location, name) as path:
            return await asyncio.to_thread(read_quarantine, path, limit=limit, offset=offset)

    async def source_files(
        self, project_id: int, saved_query_id: UUID, snapshot_id: UUID, *, limit: int, offset: int
    ) -> tuple[int, list[tuple[str, InputFile]]]:
        """The number of source files that a version was made from, and one page of them, each with its table's name.

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
        self, project_id: int, saved_query_id: UUID, snapshot_id: UUID, user: User, *, pause: bool
    ) -> ViewState:
        """Make an earlier snapshot the current one, at once and without running anything.

        `pause` stops refreshing: it pauses the schedule and ends a run in progress, which would otherwise replace the
        chosen snapshot a moment later. Raises NotFound, NotMaterialized, or TemporalUnavailable with nothing changed if
        the schedule is to be paused and the server cannot be reached.
        """
        version = await self.get(project_id, saved_query_id, snapshot_id)
        if version.is_blocked:
            raise VersionBlocked
        if pause:
            await self._roll_back_paused(project_id, saved_query_id, version, user)
        else:
            await self._set_current(project_id, saved_query_id, snapshot_id, user, end_runs=False)
        return await self._states.show(project_id, saved_query_id)

    async def promote(
        self, project_id: int, saved_query_id: UUID, snapshot_id: UUID, user: User, *, reason: str
    ) -> ViewState:
        """Publish a version that its checks keep from readers, on a person's word.

        Raises NotFound, NotMaterialized, or Invalid if its checks do not keep it from readers.
        """
        await self._set_current(project_id, saved_query_id, snapshot_id, user, end_runs=False, promoted_for=reason)
        return await self._states.show(project_id, saved_query_id)

    async def _roll_back_paused(
        self, project_id: int, saved_query_id: UUID, version: PublishedSnapshot, user: User
    ) -> None:
        before = await self._schedules.find(saved_query_id)
        # Paused first, or a tick between the two could start a run that is never cancelled.
        why = _pause_note(version, user)
        paused = await self._schedules.pause(saved_query_id, why)
        ticks = await self._schedules.running_ticks(saved_query_id)
        running = await self._runs.running(saved_query_id)
        try:
            view, ended = await self._set_current(project_id, saved_query_id, version.snapshot.id, user, end_runs=True)
        except Exception:
            if paused and before is not None and not before.paused:
                with suppress(TemporalUnavailable):
                    await self._schedules.unpause(saved_query_id, "The rollback did not take place.")
            raise
        if paused:
            async with self._database.begin() as tx:
                await record(tx, view, Verb.SYNC_PAUSED, user)
                await saved_pauses.keep(tx, view.id, why)
        # A tick that has fired may not have begun its run yet.
        await self._workflows.cancel_ticks(ticks)
        with suppress(StillStopping):  # a run with a row cannot publish any more, and the others have been cancelled
            await self._runs.stop(running | {run.id: run for run in ended})

    async def _set_current(
        self,
        project_id: int,
        saved_query_id: UUID,
        snapshot_id: UUID,
        user: User,
        *,
        end_runs: bool,
        promoted_for: str | None = None,
    ) -> tuple[SavedQuery, list[Run]]:
        """Make a snapshot the current one, in one transaction; returns the view as it was, and the runs that it ended.

        `end_runs` ends runs in progress in the same transaction, so that they cannot publish any more. `promoted_for`
        is why a blocked snapshot is published all the same. Raises NotFound, also for a snapshot that has been removed,
        NotMaterialized, VersionBlocked, or Invalid if the snapshot to promote is not blocked.
        """
        propagation = ColumnPropagation(self._engine, [])
        async with self._database.begin() as tx:
            await projects.lock_project(tx, project_id)
            view = await _view(tx, project_id, saved_query_id, lock=True)
            if not view.is_materialized:
                raise NotMaterialized
            version = await _version(tx, saved_query_id, snapshot_id)
            if version.is_blocked is (promoted_for is None):
                raise VersionBlocked if version.is_blocked else Invalid(_NOT_BLOCKED)
            if promoted_for is not None:
                await snapshots.unblock(tx, snapshot_id)
            message = "The view was rolled back to an earlier result while this run was in progress."
            ended = await runs.cancel_running(tx, view.id, message, "rolled_back") if end_runs else []
            before = view.current_snapshot.id if view.current_snapshot else None
            if before != snapshot_id:
                columns = await snapshots.restore_current(tx, version.snapshot) or view.columns
                change = FieldChange(
                    field="current_snapshot_id",
                    action="changed",
                    before=None if before is None else str(before),
                    after=str(snapshot_id),
                )
                why = [] if not promoted_for else [FieldChange(field="reason", action="created", after=promoted_for)]
                await record(
                    tx, view, Verb.ROLLED_BACK if promoted_for is None else Verb.PROMOTED, user, [change, *why]
                )
                if seen(columns) != seen(version.snapshot.columns):
                    propagation = ColumnPropagation(self._engine, [view.id])
                    await propagation.step(tx)
        await self._current.sync(project_id, view.name)
        await propagation.finish(self._database, project_id)
        return view, ended


def _pause_note(version: PublishedSnapshot, user: User) -> str:
    """The note of a schedule that is paused by a rollback."""
    made = f"{version.snapshot.created_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"Paused by {one_line(user.email)}, who rolled back to the result of {made}. Resume it to refresh again."


def _quarantine_of(inputs: Sequence[ResolvedInput], table: str | None) -> str:
    """The name of the file that holds the quarantined rows."""
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


def _some_files(pins: Iterable[ResolvedInput], limit: int, offset: int) -> list[tuple[str, InputFile]]:
    files = ((pin.name, file) for pin in pins for file in pin.files)
    return list(islice(files, offset, offset + limit))


async def _view(tx: Transaction, project_id: int, saved_query_id: UUID, *, lock: bool = False) -> SavedQuery:
    view = await saved_queries.find(tx, project_id, saved_query_id, lock=lock)
    if view is None:
        raise NotFound
    return view


async def _version(tx: Transaction, saved_query_id: UUID, snapshot_id: UUID) -> PublishedSnapshot:
    version = await snapshots.find(tx, saved_query_id, snapshot_id)
    if version is None:
        raise NotFound("There is no such version, or it is no longer kept.")
    return version
