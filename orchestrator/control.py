"""The levers: everything that a person can do to a view's schedule and runs.

What is wanted is committed first and acted upon second, never inside one transaction: a call to Temporal may take
seconds, and a schedule without a wish behind it is worse than a wish that is not yet met.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

from orchestrator.catalog import journal, runs, saved_queries
from orchestrator.catalog.database import Database
from orchestrator.model.base import Value, now
from orchestrator.model.errors import Invalid, NotFound, NotMaterialized, NotRunning, StillStopping, TemporalUnavailable
from orchestrator.model.journal import Change, Verb
from orchestrator.model.principal import User
from orchestrator.model.run import Progress, Run, RunRequest, RunStatus, Trigger
from orchestrator.model.saved_query import DEFAULT_FREQUENCY, SavedQuery, SyncFrequency
from orchestrator.temporal.executions import Ending, Executions
from orchestrator.temporal.schedules import ScheduleInfo, Schedules, WantedSchedule

# How long a cancel waits for the query to have stopped before it answers that it has not yet.
CANCEL_WAIT = timedelta(seconds=8)
# How long somebody who has just wanted a view may need to start its first run.
_STARTING = timedelta(seconds=30)
_ALIGN_TRIES = 10


class ViewState(Value):
    """A view and how its schedule stands.

    `schedule` is None if it has none, or if Temporal could not be asked: reading a definition must not depend on it.
    """

    view: SavedQuery
    schedule: ScheduleInfo | None


class RunState(Value):
    """A run, and while it runs, what its query last said of itself."""

    run: Run
    progress: Progress | None = None


class Control:
    """The schedules and runs of every project."""

    def __init__(self, database: Database, schedules: Schedules, executions: Executions) -> None:
        self._database = database
        self._schedules = schedules
        self._executions = executions

    async def show(self, project_id: int, saved_query_id: UUID) -> ViewState:
        """A view as it stands, a run that an operator ended behind our back included. Raises NotFound."""
        view = await self._get(project_id, saved_query_id)
        try:
            if view.newest_run is not None and await self._settled(view.newest_run) != view.newest_run:
                view = await self._get(project_id, saved_query_id)
            schedule = await self._schedules.find(view.id) if view.is_materialized else None
        except TemporalUnavailable:
            schedule = None
        return ViewState(view=view, schedule=schedule)

    async def materialize(
        self, project_id: int, saved_query_id: UUID, frequency: SyncFrequency | None, user: User
    ) -> ViewState:
        """Give a view its schedule and start a first run. Doing it again keeps the schedule, and starts nothing.

        `frequency` None keeps what the view has, or is 24 hours. Raises Invalid for `never`, TemporalUnavailable, with
        nothing changed, if the server cannot be reached.
        """
        if frequency is SyncFrequency.NEVER:
            raise Invalid("A view cannot be materialized with the frequency 'never'.", attr="sync_frequency")
        await self._get(project_id, saved_query_id)
        await self._schedules.find(saved_query_id)  # nothing is promised to a server that is away
        before, view = await self._want(project_id, saved_query_id, frequency, user)
        try:
            await self._align(project_id, saved_query_id)
            if _first_run_is_due(before):
                await self._start(view, Trigger.FIRST)
        except Exception:
            await self._take_back(before, view)
            raise
        return await self.show(project_id, saved_query_id)

    async def run(self, project_id: int, saved_query_id: UUID, user: User, *, full_refresh: bool = False) -> ViewState:
        """Start a run, paused schedule or not; a run in progress is joined. Raises NotMaterialized."""
        view = await self._get(project_id, saved_query_id)
        if not view.is_materialized:
            raise NotMaterialized
        if await self._start(view, Trigger.API, full_refresh=full_refresh):
            await self._note(view, Verb.SYNC_TRIGGERED, user)
        return await self.show(project_id, saved_query_id)

    async def cancel(self, project_id: int, saved_query_id: UUID, user: User) -> ViewState:
        """Stop the run in progress; returns when its query has in truth stopped and nothing of it will be published.

        Raises NotRunning if there is none, or if it was quicker; StillStopping if it takes too long.
        """
        view = await self._get(project_id, saved_query_id)
        workflow_run_id = await self._executions.open_run(view.id)
        if workflow_run_id is None:
            raise NotRunning("Cannot cancel a query that is not running")
        await self._executions.cancel(view.id, workflow_run_id)
        ending = await self._executions.wait_closed(view.id, workflow_run_id, CANCEL_WAIT)
        if ending is None:
            raise StillStopping
        if ending.status is not RunStatus.CANCELLED:
            raise NotRunning("Cannot cancel a query that is not running")
        await self._note(view, Verb.SYNC_CANCELLED, user)
        return await self.show(project_id, saved_query_id)

    async def run_history(self, project_id: int, saved_query_id: UUID, limit: int) -> list[RunState]:
        """The last runs, newest first. One that the catalog calls Running is asked after first."""
        await self._get(project_id, saved_query_id)
        async with self._database.begin() as tx:
            found = await runs.recent(tx, saved_query_id, limit)
        try:
            return [await self._state(run) for run in found]
        except TemporalUnavailable:
            return [RunState(run=run) for run in found]

    async def _find(self, project_id: int, saved_query_id: UUID) -> SavedQuery | None:
        async with self._database.begin() as tx:
            return await saved_queries.find(tx, project_id, saved_query_id)

    async def _get(self, project_id: int, saved_query_id: UUID) -> SavedQuery:
        view = await self._find(project_id, saved_query_id)
        if view is None:
            raise NotFound
        return view

    async def _want(
        self, project_id: int, saved_query_id: UUID, frequency: SyncFrequency | None, user: User
    ) -> tuple[SavedQuery, SavedQuery]:
        """Commit that the view is to be refreshed; returns it as it was and as it is."""
        async with self._database.begin() as tx:
            before = await saved_queries.find(tx, project_id, saved_query_id, lock=True)
            if before is None:
                raise NotFound
            wanted = frequency or before.sync_frequency or DEFAULT_FREQUENCY
            if wanted is not before.sync_frequency:
                await saved_queries.set_frequency(tx, before.id, wanted)
                await journal.append(
                    tx,
                    project_id=project_id,
                    item_id=before.id,
                    name=before.name,
                    verb=Verb.UPDATED if before.is_materialized else Verb.MATERIALIZATION_ENABLED,
                    user_id=user.id,
                    changes=[_frequency_change(before.sync_frequency, wanted)],
                )
            after = await saved_queries.find(tx, project_id, saved_query_id)
        return before, after or before

    async def _align(self, project_id: int, saved_query_id: UUID) -> None:
        """Make the schedule what the catalog wants now, whoever wanted it.

        What is wanted may change while the server is being told. Everybody reads it again after acting, so the last to
        act has acted on the last wish.
        """
        for _ in range(_ALIGN_TRIES):
            view = await self._find(project_id, saved_query_id)
            if view is not None and view.is_materialized:
                await self._schedules.ensure(_wanted(view))
            else:
                await self._schedules.delete(saved_query_id)
            if _wish(await self._find(project_id, saved_query_id)) == _wish(view):
                return
        raise TemporalUnavailable("The schedule is being changed by somebody else. Try again in a moment.")

    async def _take_back(self, before: SavedQuery, view: SavedQuery) -> None:
        """Undo `_want` after something went away in the middle, unless somebody has wanted something since."""
        async with self._database.begin() as tx:
            current = await saved_queries.find(tx, view.project_id, view.id, lock=True)
            if _wish(before) == _wish(view) or _wish(current) != _wish(view):
                return
            await saved_queries.set_frequency(tx, view.id, before.sync_frequency)
            await journal.append(
                tx,
                project_id=view.project_id,
                item_id=view.id,
                name=view.name,
                verb=Verb.UPDATED if before.is_materialized else Verb.MATERIALIZATION_DISABLED,
                user_id=None,
                changes=[_frequency_change(view.sync_frequency, before.sync_frequency)],
            )
        with suppress(TemporalUnavailable):
            await self._align(view.project_id, view.id)

    async def _start(self, view: SavedQuery, trigger: Trigger, *, full_refresh: bool = False) -> bool:
        """Start a run and record it, so that whoever asks next sees it. False if one was in progress already."""
        request = RunRequest(saved_query_id=view.id, trigger=trigger, full_refresh=full_refresh)
        started = await self._executions.start(request, f"{view.name} (project {view.project_id})")
        if not started.joined:
            async with self._database.begin() as tx:
                await runs.open_run(tx, request, started.workflow_id, started.workflow_run_id)
        return not started.joined

    async def _state(self, run: Run) -> RunState:
        settled = await self._settled(run)
        if settled.status is not RunStatus.RUNNING:
            return RunState(run=settled)
        return RunState(run=settled, progress=await self._executions.progress(run.saved_query_id, run.workflow_run_id))

    async def _settled(self, run: Run) -> Run:
        """The run, closed first if its workflow ended without a word, as after an operator's terminate."""
        if run.status is not RunStatus.RUNNING:
            return run
        ending = await self._executions.ending(run.saved_query_id, run.workflow_run_id)
        if ending is None:
            return run
        if ending.status is RunStatus.COMPLETED:
            ending = Ending(status=RunStatus.FAILED, error="The run's result is missing.", error_code="run_lost")
        async with self._database.begin() as tx:
            # A run that completed while we asked is over already, and this leaves it so.
            await runs.close(tx, run.id, ending.status, ending.error, ending.error_code)
            return await runs.get(tx, run.id)

    async def _note(self, view: SavedQuery, verb: Verb, user: User) -> None:
        async with self._database.begin() as tx:
            await journal.append(
                tx, project_id=view.project_id, item_id=view.id, name=view.name, verb=verb, user_id=user.id
            )


def _wish(view: SavedQuery | None) -> datetime | None:
    """Which wish a view stands under; None once it is gone."""
    return view.sync_frequency_set_at if view is not None else None


def _first_run_is_due(before: SavedQuery) -> bool:
    """Whether materializing a view that was like this has to start its first run.

    Also if it was wanted a while ago and has never run: then whoever wanted it did not get as far as starting it.
    """
    if not before.is_materialized:
        return True
    return before.newest_run is None and now() - before.sync_frequency_set_at > _STARTING


def _wanted(view: SavedQuery) -> WantedSchedule:
    frequency = view.sync_frequency or DEFAULT_FREQUENCY
    return WantedSchedule(
        saved_query_id=view.id, project_id=view.project_id, name=view.name, interval=frequency.interval
    )


def _frequency_change(before: SyncFrequency | None, after: SyncFrequency | None) -> Change:
    return Change(field="sync_frequency", action="changed", before=before, after=after)
