"""The levers: everything that a person can do to a view's schedule and runs.

What is wanted is committed first and acted upon second, never inside one transaction: a call to Temporal may take
seconds, and a schedule without a wish behind it is worse than a wish that is not yet met.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from orchestrator.alignment import Alignment
from orchestrator.catalog import failures, pauses, runs, saved_queries
from orchestrator.catalog.database import Database
from orchestrator.catalog.journal import note
from orchestrator.execution import Execution
from orchestrator.library import Edit, Library
from orchestrator.links import Links
from orchestrator.model.base import Value, now
from orchestrator.model.errors import (
    Invalid,
    NotFound,
    NotMaterialized,
    NotRunning,
    StillStopping,
    TemporalUnavailable,
)
from orchestrator.model.journal import Verb
from orchestrator.model.principal import User
from orchestrator.model.printable import one_line
from orchestrator.model.run import Progress, Run, RunStatus, Trigger
from orchestrator.model.saved_query import SavedQuery, SyncFrequency
from orchestrator.model.snapshot import Version
from orchestrator.temporal.executions import Executions
from orchestrator.temporal.schedules import ScheduleInfo, Schedules
from orchestrator.versions import Versions

# How long somebody who has just wanted a view may need to start its first run.
_STARTING = timedelta(seconds=30)
_RESUMED_AT_ONCE = 8


class ViewState(Value):
    """A view and how its schedule stands.

    `schedule` is None if it has none, or if Temporal could not be asked: reading a definition must not depend on it.
    """

    view: SavedQuery
    schedule: ScheduleInfo | None = None
    deleted: bool = False


class RunState(Value):
    """A run, and while it runs, what its query last said of itself and why it had to be tried again, if it had."""

    run: Run
    progress: Progress | None = None
    trouble: str | None = None


class Control:
    """The schedules and runs of every project."""

    def __init__(
        self,
        database: Database,
        library: Library,
        versions: Versions,
        schedules: Schedules,
        executions: Executions,
        *,
        links: Links,
    ) -> None:
        self._database = database
        self._library = library
        self._versions = versions
        self._schedules = schedules
        self._executions = executions
        self._alignment = Alignment(database, schedules, executions)
        self._execution = Execution(database, executions, links)

    async def show(self, project_id: int, saved_query_id: UUID) -> ViewState:
        """A view as it stands, a run that an operator ended behind our back included. Raises NotFound."""
        view = await self._library.get(project_id, saved_query_id)
        try:
            if view.newest_run is not None and await self._alignment.settle(view.newest_run) != view.newest_run:
                view = await self._library.get(project_id, saved_query_id)
        except TemporalUnavailable:
            return ViewState(view=view)
        return await self._with_schedule(view)

    async def _with_schedule(self, view: SavedQuery) -> ViewState:
        try:
            schedule = await self._schedules.find(view.id) if view.is_materialized else None
        except TemporalUnavailable:
            schedule = None
        return ViewState(view=view, schedule=schedule)

    async def save(self, project_id: int, draft: Edit, user: User) -> tuple[ViewState, bool]:
        """Create a view, or update the live one of that name. The second value says whether it is new."""
        before, view = await self._library.save(project_id, draft, user)
        if before is not None:
            await self._forgive_by_edit(before, view, user)
        return await self.show(project_id, view.id), before is None

    async def update(self, project_id: int, saved_query_id: UUID, edit: Edit, user: User) -> ViewState:
        """Change a view, and its schedule if the edit sets a frequency: any but `never` also resumes it.

        All or nothing. Raises what Library.edit does; TemporalUnavailable, with nothing changed, if the schedule is
        concerned and the server cannot be reached.
        """
        sets_frequency = edit.sets("sync_frequency") and edit.sync_frequency is not None
        if sets_frequency:
            await self._reach(project_id, saved_query_id)
        before, view = await self._library.edit(project_id, saved_query_id, edit, user)
        if sets_frequency and view.is_materialized:
            await self._follow(before, view, user)
            if edit.sync_frequency is not SyncFrequency.NEVER:
                await self._resume(view, user)
        elif view.is_materialized and view.name != before.name:
            with suppress(TemporalUnavailable):  # a label only
                await self._alignment.align(view.id)
        await self._forgive_by_edit(before, view, user)
        return await self.show(project_id, saved_query_id)

    async def delete(self, project_id: int, saved_query_id: UUID, user: User) -> ViewState:
        """Delete a view, its schedule with it; a run in progress is cancelled and publishes nothing."""
        running: set[UUID] = set()
        if (await self._library.get(project_id, saved_query_id)).is_materialized:
            running = await self._execution.in_progress(saved_query_id)  # also finds out whether Temporal is there
        view, ended = await self._library.delete(project_id, saved_query_id, user)
        if view.is_materialized:
            await self._alignment.align(view.id)
            await self._execution.stop(view.id, running | {run.workflow_run_id for run in ended})
        return ViewState(view=view.model_copy(update=_NOT_MATERIALIZED), deleted=True)

    async def materialize(
        self, project_id: int, saved_query_id: UUID, frequency: SyncFrequency | None, user: User
    ) -> ViewState:
        """Give a view its schedule and start a first run. Doing it again keeps the schedule, and starts nothing.

        `frequency` None keeps what the view has, or is 24 hours. Raises Invalid for `never`, TemporalUnavailable, with
        nothing changed, if the server cannot be reached.
        """
        if frequency is SyncFrequency.NEVER:
            raise Invalid("A view cannot be materialized with the frequency 'never'.", attr="sync_frequency")
        await self._reach(project_id, saved_query_id)
        before, view = await self._library.want(project_id, saved_query_id, frequency, user)
        await self._follow(before, view, user)
        return await self.show(project_id, saved_query_id)

    async def revert(self, project_id: int, saved_query_id: UUID, user: User) -> ViewState:
        """Undo materialization: no schedule, no result, no run in progress. The view still answers as a plain one."""
        await self._reach(project_id, saved_query_id)
        running = await self._execution.in_progress(saved_query_id)
        ended = await self._library.revert(project_id, saved_query_id, user)
        await self._alignment.align(saved_query_id)
        await self._execution.stop(saved_query_id, running | {run.workflow_run_id for run in ended})
        return await self.show(project_id, saved_query_id)

    async def run(self, project_id: int, saved_query_id: UUID, user: User, *, full_refresh: bool = False) -> ViewState:
        """Start a run, paused schedule or not; a run in progress is joined. Raises NotMaterialized."""
        view = await self._library.get(project_id, saved_query_id)
        if not view.is_materialized:
            raise NotMaterialized
        await self._execution.start(view, Trigger.API, user, full_refresh=full_refresh)
        return await self._with_schedule(await self._library.get(project_id, saved_query_id))

    async def cancel(self, project_id: int, saved_query_id: UUID, user: User) -> ViewState:
        """Stop the run in progress; returns when its query has in truth stopped and nothing of it will be published.

        Raises NotRunning if there is none, or if it was quicker; StillStopping if it takes too long.
        """
        view = await self._library.get(project_id, saved_query_id)
        ending = await self._execution.stop(view.id, await self._execution.in_progress(view.id))
        if ending is None or ending.status is not RunStatus.CANCELLED:
            raise NotRunning("Cannot cancel a query that is not running")
        await self._note(view, Verb.SYNC_CANCELLED, user)
        return await self.show(project_id, saved_query_id)

    async def roll_back(
        self, project_id: int, saved_query_id: UUID, snapshot_id: UUID, user: User, *, pause: bool
    ) -> ViewState:
        """Make an earlier version the one that readers see, at once and without running anything.

        `pause` stops refreshing: it pauses the schedule and ends a run in progress, which would otherwise put its
        result in the place of the chosen one a moment later. Raises NotFound, NotMaterialized, or TemporalUnavailable
        with nothing changed if the schedule is to be paused and the server cannot be reached.
        """
        version = await self._versions.get(project_id, saved_query_id, snapshot_id)
        if not pause:
            await self._versions.roll_back(project_id, saved_query_id, snapshot_id, user, end_runs=False)
            return await self.show(project_id, saved_query_id)
        before = await self._schedules.find(saved_query_id)
        # Paused first, or a tick between the two could start a run that nobody ends.
        why = _rolled_back(version, user)
        paused = await self._schedules.pause(saved_query_id, why)
        ticks = await self._schedules.ticks(saved_query_id)
        running = await self._execution.in_progress(saved_query_id)
        try:
            view, ended = await self._versions.roll_back(project_id, saved_query_id, snapshot_id, user, end_runs=True)
        except Exception:
            if paused and before is not None and not before.paused:
                with suppress(TemporalUnavailable):
                    await self._schedules.unpause(saved_query_id, "The rollback did not take place.")
            raise
        if paused:
            await self._note(view, Verb.SYNC_PAUSED, user, paused_note=why)
        # A tick that has fired may not have begun its run yet.
        await self._executions.cancel_ticks(ticks)
        with suppress(StillStopping):  # what has a row cannot publish any more, and the others have been told
            await self._execution.stop(view.id, running | {run.workflow_run_id for run in ended})
        return await self.show(project_id, saved_query_id)

    async def resume(self, project_id: int, ids: Collection[UUID], user: User) -> list[UUID]:
        """Let the paused schedules among those of the views run again; returns whose were paused.

        What is not such a view of the project, is not paused, or is set to `never`, is passed over. Raises Invalid
        without an id.
        """
        if not ids:
            raise Invalid("view_ids is required", attr="view_ids")
        views = await self._library.materialized(project_id, ids)
        paced = asyncio.Semaphore(_RESUMED_AT_ONCE)

        async def resume(view: SavedQuery) -> bool:
            async with paced:
                return view.sync_frequency is not SyncFrequency.NEVER and await self._resume(view, user)

        resumed = await asyncio.gather(*(resume(view) for view in views))
        return [view.id for view, was_paused in zip(views, resumed, strict=True) if was_paused]

    async def run_history(self, project_id: int, saved_query_id: UUID, limit: int) -> list[RunState]:
        """The last runs, newest first. One that the catalog calls Running is asked after first."""
        async with self._database.begin() as tx:
            if not await saved_queries.is_live(tx, project_id, saved_query_id):
                raise NotFound
            found = await runs.recent(tx, saved_query_id, limit)
        try:
            return [await self._state(run) for run in found]
        except TemporalUnavailable:
            return [RunState(run=run) for run in found]

    async def _reach(self, project_id: int, saved_query_id: UUID) -> None:
        """Raise NotFound, or TemporalUnavailable before anything is promised to a server that is away."""
        await self._library.get(project_id, saved_query_id)
        await self._schedules.find(saved_query_id)

    async def _follow(self, before: SavedQuery, view: SavedQuery, user: User) -> None:
        """Do what is wanted of a materialized view's schedule now; take the wish back if that cannot be done."""
        try:
            await self._alignment.align(view.id)
            if _first_run_is_due(before):
                await self._execution.start(view, Trigger.FIRST, user)
        except Exception:
            if before.sync_frequency_set_at != view.sync_frequency_set_at:
                await self._library.unwant(view, before)
                with suppress(TemporalUnavailable):
                    await self._alignment.align(view.id)
            raise

    async def _forgive_by_edit(self, before: SavedQuery, view: SavedQuery, user: User) -> None:
        """Lift a pause that the failure policy made if the query has changed: it may not fail any more.

        The edit is saved whether or not the server can be told; a run that succeeds lifts the pause later.
        """
        if not view.is_materialized or view.revision.id == before.revision.id:
            return
        why = f"Resumed, because {one_line(user.email)} changed the query (revision {view.revision.number})."
        with suppress(TemporalUnavailable):
            if await self._schedules.lift_failing(view.id, why):
                await self._note(view, Verb.SYNC_RESUMED, user)

    async def _resume(self, view: SavedQuery, user: User) -> bool:
        async with self._database.begin() as tx:  # first, or the next failure could pause it again
            await failures.forgive(tx, view.id)
            await pauses.forget(tx, [view.id])
        was_paused = await self._schedules.unpause(view.id, f"Resumed by {one_line(user.email)} over the API.")
        if was_paused:
            await self._note(view, Verb.SYNC_RESUMED, user)
        return was_paused

    async def _state(self, run: Run) -> RunState:
        settled = await self._alignment.settle(run)
        if settled.status is not RunStatus.RUNNING:
            return RunState(run=settled)
        progress, trouble = await self._executions.standing(run.saved_query_id, run.workflow_run_id)
        return RunState(run=settled, progress=progress, trouble=trouble)

    async def _note(self, view: SavedQuery, verb: Verb, user: User, *, paused_note: str | None = None) -> None:
        async with self._database.begin() as tx:
            await note(tx, view, verb, user)
            if paused_note is not None:
                await pauses.keep(tx, view.id, paused_note)
            elif verb is Verb.SYNC_RESUMED:
                await pauses.forget(tx, [view.id])


def _rolled_back(version: Version, user: User) -> str:
    """The note of a schedule that is paused by a rollback."""
    made = f"{version.snapshot.created_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"Paused by {one_line(user.email)}, who rolled back to the result of {made}. Resume it to refresh again."


_NOT_MATERIALIZED = {"sync_frequency": None, "current_snapshot": None, "newest_run": None, "newest_finished_run": None}


def _first_run_is_due(before: SavedQuery) -> bool:
    """Whether materializing a view that was like this has to start its first run.

    Also if it was wanted a while ago and has never run: then whoever wanted it did not get as far as starting it.
    """
    if not before.is_materialized:
        return True
    return before.newest_run is None and now() - before.sync_frequency_set_at > _STARTING
