"""The operations of clients on views: create, change, delete, materialize, revert, resume.

Each operation commits the desired state to PostgreSQL first and calls Temporal afterwards, never inside the
transaction: the call may take seconds. If the process dies in between, the schedule is missing until the reconciler
creates it; in the other order a schedule could exist that nothing in the catalog accounts for.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from orchestrator.model.base import now
from orchestrator.model.errors import Invalid, TemporalUnavailable
from orchestrator.model.principal import User
from orchestrator.model.run import RunRef, Trigger
from orchestrator.model.saved_query import SavedQuery, SyncFrequency
from orchestrator.reconciliation.current import CurrentLinks
from orchestrator.reconciliation.schedules import ScheduleSync
from orchestrator.services.definitions import DefinitionService, ViewUpdate
from orchestrator.services.materialization import Materialization
from orchestrator.services.resuming import ScheduleResumption
from orchestrator.services.runs import RunService
from orchestrator.services.timings import TimingUpdate, timing_after
from orchestrator.services.view_states import ViewState, ViewStates
from orchestrator.temporal.schedules import Schedules

# How long a process that has just materialized a view may need to start its first run.
_FIRST_RUN_START_TIMEOUT = timedelta(seconds=30)
_RESUME_CONCURRENCY = 8
_NOT_MATERIALIZED = dict.fromkeys(("sync_frequency", "cron", "current_snapshot", "newest_run", "newest_finished_run"))


class ViewService:
    """The views of every project, with their schedules."""

    def __init__(
        self,
        *,
        definitions: DefinitionService,
        materialization: Materialization,
        states: ViewStates,
        runs: RunService,
        schedules: Schedules,
        sync: ScheduleSync,
        resumption: ScheduleResumption,
        current: CurrentLinks,
    ) -> None:
        self._definitions = definitions
        self._materialization = materialization
        self._states = states
        self._runs = runs
        self._schedules = schedules
        self._schedule_sync = sync
        self._resumption = resumption
        self._current = current

    async def show(self, project_id: int, saved_query_id: UUID) -> ViewState:
        """A view's state. Raises NotFound."""
        return await self._states.show(project_id, saved_query_id)

    async def create_or_update(self, project_id: int, draft: ViewUpdate, user: User) -> tuple[ViewState, bool]:
        """Create a view, or update the live one of that name. The second value says whether it is new."""
        before, view = await self._definitions.create_or_update(project_id, draft, user)
        if before is not None:
            await self.unpause_after_edit(before, view, user)
        return await self.show(project_id, view.id), before is None

    async def update(self, project_id: int, saved_query_id: UUID, update: ViewUpdate, user: User) -> ViewState:
        """Change a view, and its schedule if the update sets a timing: any but `never` also resumes it.

        All or nothing. Raises what DefinitionService.update does; TemporalUnavailable, with nothing changed, if the
        schedule would change and the server cannot be reached.
        """
        if update.sets_timing:
            await self._require_temporal(project_id, saved_query_id)
        before, view = await self._definitions.update(project_id, saved_query_id, update, user)
        if view.name != before.name and view.current_snapshot is not None:
            for name in (view.name, before.name):
                await self._current.sync(project_id, name)
        if update.sets_timing and view.is_materialized:
            await self._apply_schedule(before, view, user)
            if update.resumes:
                await self._resumption.resume(view, user)
        elif view.is_materialized and view.name != before.name:
            with suppress(TemporalUnavailable):  # a label only
                await self._schedule_sync.sync(view.id)
        await self.unpause_after_edit(before, view, user)
        return await self.show(project_id, saved_query_id)

    async def delete(self, project_id: int, saved_query_id: UUID, user: User) -> ViewState:
        """Delete a view with its schedule; a run in progress is cancelled and publishes nothing."""
        running: dict[UUID, RunRef] = {}
        if (await self._definitions.get(project_id, saved_query_id)).is_materialized:
            # Also fails here, with nothing changed, if Temporal cannot be reached.
            running = await self._runs.running(saved_query_id)
        view, ended = await self._definitions.delete(project_id, saved_query_id, user)
        if view.is_materialized:
            await self._current.sync(project_id, view.name)
            await self._schedule_sync.sync(view.id)
            await self._runs.stop(running | {run.id: run for run in ended})
        return ViewState(view=view.model_copy(update=_NOT_MATERIALIZED), deleted=True)

    async def materialize(
        self,
        project_id: int,
        saved_query_id: UUID,
        frequency: SyncFrequency | None,
        user: User,
        *,
        cron: str | None = None,
        time_zone: str | None = None,
        fresh: ViewUpdate | None = None,
        run: bool = True,
    ) -> ViewState:
        """Give a view its schedule and start a first run. Repeating it keeps the schedule and starts nothing.

        `fresh` changes its freshness. `run` False starts no run: a refresh of several views is to follow, in which each
        reads the others' results.

        Without `frequency` and `cron` it keeps the present timing, or sets 24 hours. Raises Invalid for `never` and for
        a timing that cannot be set, TemporalUnavailable, with nothing changed, if the server cannot be reached.
        """
        if frequency is SyncFrequency.NEVER:
            raise Invalid("A view cannot be materialized with the frequency 'never'.", attr="sync_frequency")
        asked = {"sync_frequency": frequency, "cron": cron, "time_zone": time_zone}
        timing = TimingUpdate(**{name: value for name, value in asked.items() if value is not None})
        timing_after(await self._definitions.get(project_id, saved_query_id), timing)
        await self._require_temporal(project_id, saved_query_id)
        if fresh is not None:
            await self._definitions.update(project_id, saved_query_id, fresh, user)
        before, view = await self._materialization.set_timing(project_id, saved_query_id, timing, user)
        await self._apply_schedule(before, view, user, run=run)
        return await self.show(project_id, saved_query_id)

    async def revert(self, project_id: int, saved_query_id: UUID, user: User) -> ViewState:
        """Undo materialization: no schedule, no result, no run in progress. Readers then evaluate the view's text."""
        await self._require_temporal(project_id, saved_query_id)
        running = await self._runs.running(saved_query_id)
        view, ended = await self._materialization.revert(project_id, saved_query_id, user)
        await self._current.sync(project_id, view.name)
        await self._schedule_sync.sync(saved_query_id)
        await self._runs.stop(running | {run.id: run for run in ended})
        return await self.show(project_id, saved_query_id)

    async def resume(self, project_id: int, ids: Collection[UUID], user: User) -> list[UUID]:
        """Resume the paused schedules among those of the views; returns the views whose schedule was paused.

        Ids that are not a materialized view of the project, are not paused, or are set to `never`, are skipped. Raises
        Invalid without an id.
        """
        if not ids:
            raise Invalid("view_ids is required", attr="view_ids")
        views = await self._definitions.list_materialized(project_id, ids)
        slots = asyncio.Semaphore(_RESUME_CONCURRENCY)

        async def resume(view: SavedQuery) -> bool:
            async with slots:
                return view.sync_frequency is not SyncFrequency.NEVER and await self._resumption.resume(view, user)

        resumed = await asyncio.gather(*(resume(view) for view in views))
        return [view.id for view, was_paused in zip(views, resumed, strict=True) if was_paused]

    async def _require_temporal(self, project_id: int, saved_query_id: UUID) -> None:
        """Raise NotFound or TemporalUnavailable. Called before a commit that Temporal then has to carry out."""
        await self._definitions.get(project_id, saved_query_id)
        await self._schedules.find(saved_query_id)

    async def _apply_schedule(self, before: SavedQuery, view: SavedQuery, user: User, *, run: bool = True) -> None:
        """Make the schedule match the view and start a first run; restore the timing if that fails."""
        try:
            await self._schedule_sync.sync(view.id)
            if run and _needs_first_run(before):
                await self._runs.start(view, Trigger.FIRST, user)
        except Exception:
            if before.sync_frequency_set_at != view.sync_frequency_set_at:
                await self._materialization.restore_timing(view, before)
                with suppress(TemporalUnavailable):
                    await self._schedule_sync.sync(view.id)
            raise

    async def unpause_after_edit(self, before: SavedQuery, view: SavedQuery, user: User) -> None:
        """Lift a pause that the failure policy made if the query has changed: it may not fail any more.

        The edit stays saved if Temporal does not answer; the next run that succeeds lifts the pause then.
        """
        if not view.is_materialized or view.revision.id == before.revision.id:
            return
        with suppress(TemporalUnavailable):
            await self._resumption.resume_after_edit(view, user)


def _needs_first_run(before: SavedQuery) -> bool:
    """Whether materializing a view in this state has to start its first run.

    Also for a view that was materialized a while ago and has never run: the process that materialized it died before
    it started the run.
    """
    if not before.is_materialized:
        return True
    return before.newest_run is None and now() - before.sync_frequency_set_at > _FIRST_RUN_START_TIMEOUT
