"""Starting, cancelling and listing the runs of a view, in Temporal and in the catalog."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from orchestrator.catalog import audit_log, generations, projects, runs, saved_queries
from orchestrator.catalog.database import Database
from orchestrator.model.audit import Verb
from orchestrator.model.base import Value
from orchestrator.model.errors import (
    NotFound,
    NotMaterialized,
    NotRunning,
    StillEnding,
    StillStopping,
    TemporalUnavailable,
)
from orchestrator.model.generation import Selection
from orchestrator.model.principal import User
from orchestrator.model.printable import code
from orchestrator.model.run import Progress, Run, RunRef, RunRequest, RunStatus, Trigger
from orchestrator.model.saved_query import SavedQuery
from orchestrator.model.urls import ApiUrls
from orchestrator.reconciliation.runs import RunSync
from orchestrator.services.definitions import DefinitionService
from orchestrator.services.early_cancels import cancel_in_waiting
from orchestrator.services.generation_start import GenerationStart, new_generation
from orchestrator.services.view_states import ViewState, ViewStates
from orchestrator.temporal import contract
from orchestrator.temporal.run_workflows import RunWorkflows, WorkflowOutcome, single_run
from orchestrator.temporal.search_attributes import ViewRef

# How long a call waits for a run's workflow to close before it raises StillStopping or StillEnding.
CANCEL_WAIT = timedelta(seconds=8)
_START_TRIES = 5
_NOTHING_RUNS = "Cannot cancel a query that is not running"
_LOOKS_FOR_BEGIN, _LOOK_SECONDS = 40, 0.05


class _HeldByGenerationError(Exception):
    """A generation of several views has an open run of the view."""


class RunState(Value):
    """A run. While it runs, also its query's last progress and why the query was tried again, if it was."""

    run: Run
    progress: Progress | None = None
    trouble: str | None = None


class RunService:
    """The runs of every view."""

    def __init__(
        self,
        *,
        database: Database,
        definitions: DefinitionService,
        states: ViewStates,
        workflows: RunWorkflows,
        run_sync: RunSync,
        generation_start: GenerationStart,
        urls: ApiUrls,
    ) -> None:
        self._database = database
        self._definitions = definitions
        self._states = states
        self._workflows = workflows
        self._run_sync = run_sync
        self._generation_start = generation_start
        self._urls = urls

    async def run(self, project_id: int, saved_query_id: UUID, user: User, *, full_refresh: bool = False) -> ViewState:
        """Start a run, also while the schedule is paused; a run in progress is joined. Raises NotMaterialized."""
        view = await self._definitions.get(project_id, saved_query_id)
        if not view.is_materialized:
            raise NotMaterialized
        await self.start(view, Trigger.API, user, full_refresh=full_refresh)
        return await self._states.with_schedule(await self._definitions.get(project_id, saved_query_id))

    async def cancel(self, project_id: int, saved_query_id: UUID, user: User) -> ViewState:
        """Stop the run in progress; returns when its query has actually stopped and nothing of it will be published.

        If there is none, but generations that would refresh the view wait for others, it is cancelled in them. Raises
        NotRunning if there are none either, or if the run ended before the cancel; StillStopping if it takes too long.
        """
        view = await self._definitions.get(project_id, saved_query_id)
        is_stopped = await self._stop_run(view) or await self._cancel_in_waiting(view)
        if not is_stopped and not await self._stop_run(view):  # a generation may have begun since
            raise NotRunning(_NOTHING_RUNS)
        async with self._database.begin() as tx:
            await audit_log.record(tx, view, Verb.SYNC_CANCELLED, user)
        return await self._states.show(project_id, saved_query_id)

    async def _stop_run(self, view: SavedQuery) -> bool:
        """Stop the run of a view in progress. False if there is none. Raises as `cancel` does."""
        outcome = await self.stop(await self.running(view.id))
        if outcome is not None and outcome.status is not RunStatus.CANCELLED:
            raise NotRunning(_NOTHING_RUNS)
        return outcome is not None

    async def _cancel_in_waiting(self, view: SavedQuery) -> bool:
        async with self._database.begin() as tx:
            await projects.lock_project(tx, view.project_id)
            return await cancel_in_waiting(tx, view.project_id, view.id)

    async def history(self, project_id: int, saved_query_id: UUID, limit: int) -> list[RunState]:
        """The last runs, newest first. Temporal is asked for the state of one that the catalog calls Running."""
        async with self._database.begin() as tx:
            if not await saved_queries.is_live(tx, project_id, saved_query_id):
                raise NotFound
            recent = await runs.recent(tx, saved_query_id, limit)
        try:
            return [await self._state(run) for run in recent]
        except TemporalUnavailable:
            return [RunState(run=run) for run in recent]

    async def start(self, view: SavedQuery, trigger: Trigger, user: User, *, full_refresh: bool = False) -> bool:
        """Start a run and record it, so that the next request sees it. False if a run was in progress already.

        The start has an entry in the audit log, except a first run: the entry about materializing suffices.

        A run that has published or failed, and whose workflow is only about to close, is not in progress: a client
        that saw it end and asks for a run means another one. Raises StillEnding if that workflow does not close.
        """
        return (await self._start(view, trigger, user, full_refresh=full_refresh))[1]

    async def start_generation(self, view: SavedQuery, user: User, *, full_refresh: bool) -> UUID:
        """Start a generation of this view alone, or find the one that refreshes it; returns its id."""
        return (await self._start(view, Trigger.API, user, full_refresh=full_refresh))[0]

    async def _start(self, view: SavedQuery, trigger: Trigger, user: User, *, full_refresh: bool) -> tuple[UUID, bool]:
        """The id of the generation that refreshes the view, and whether it was started now."""
        ref = ViewRef(project_id=view.project_id, name=view.name)
        request = RunRequest(saved_query_id=view.id, label=str(ref), trigger=trigger, full_refresh=full_refresh)
        why = "to materialize it for the first time" if trigger is Trigger.FIRST else "to refresh it now"
        details = f"Started by {code(user.email)} over the API, {why}.\n\n{self._urls.view(view.project_id, view.id)}"
        for _ in range(_START_TRIES):
            held_by = await self._held_by(view.id)
            if held_by is not None:
                return held_by, False
            with_followers = await self._start_with_followers(view, trigger, user, full_refresh=full_refresh)
            if with_followers is not None:
                return with_followers, True
            started = await self._workflows.start(request, ref, details)
            run = single_run(view.id, started.workflow_run_id)
            try:
                status = await self._record(view, request, run, user, is_new=not started.already_running)
            except _HeldByGenerationError:
                continue
            if not started.already_running or status in {None, RunStatus.RUNNING}:
                return run.workflow_run_id, not started.already_running
            if await self._workflows.wait_until_closed(run, CANCEL_WAIT) is None:
                break
        raise StillEnding

    async def _record(
        self, view: SavedQuery, request: RunRequest, run: RunRef, user: User, *, is_new: bool
    ) -> RunStatus | None:
        """Record a run whose workflow is open, unless that was done; returns how it stands, None if it has not begun.

        Raises _HeldByGenerationError, with nothing recorded, if a generation has taken hold of the view since.
        """
        generation_id = run.workflow_run_id
        async with self._database.begin() as tx:
            await generations.ensure_single(
                tx, generation_id, view.project_id, request, run.workflow_id, user_id=user.id
            )
            status = await runs.record_started(
                tx, request, run.workflow_id, run.workflow_run_id, generation_id=generation_id
            )
            if status is None:
                others = await runs.list_open(tx, [view.id])
                if any(contract.is_of_several(one.workflow_id) for one in others):
                    raise _HeldByGenerationError
            if is_new and request.trigger is not Trigger.FIRST:
                await audit_log.record(tx, view, Verb.SYNC_TRIGGERED, user)
        return status

    async def _start_with_followers(
        self, view: SavedQuery, trigger: Trigger, user: User, *, full_refresh: bool
    ) -> UUID | None:
        """Start a generation of the view and those that follow it; None if there are none of these."""
        async with self._database.single() as tx:
            if not await saved_queries.has_followers(tx, view.project_id):
                return None
        async with self._database.begin() as tx:
            graph = await generations.graph(tx, view.project_id)
            if await runs.list_open(tx, [view.id]):
                return None  # it is joined
        selection = Selection(views=(view.id,))
        members = graph.members(selection)
        if len(members) <= 1:
            return None
        generation = new_generation(view.project_id, selection, Trigger.API, force=full_refresh)
        generation_id = await self._generation_start.start(
            generation, {view.id: view.name}, len(members), user, audited=trigger is not Trigger.FIRST
        )
        for _ in range(_LOOKS_FOR_BEGIN):  # so that the next request sees its run
            async with self._database.begin() as tx:
                if await runs.find_in_generation(tx, generation_id, view.id) is not None:
                    break
            await asyncio.sleep(_LOOK_SECONDS)
        return generation_id

    async def running(self, saved_query_id: UUID) -> dict[UUID, RunRef]:
        """The view's run in progress, by id, if there is one, also before the catalog has its row."""
        workflow_run_id = await self._workflows.find_running(saved_query_id)
        async with self._database.single() as tx:
            found: list[RunRef] = list(await runs.list_open(tx, [saved_query_id]))
        if workflow_run_id is not None:
            found.append(single_run(saved_query_id, workflow_run_id))
        return {run.id: run for run in found}

    async def stop(self, some: Mapping[UUID, RunRef]) -> WorkflowOutcome | None:
        """Cancel these runs and wait until they are closed; returns the outcome of the last one.

        None if there are none. The runs are named, so that a run that another client has started since is left alone.
        Raises StillStopping.
        """
        await asyncio.gather(*(self._workflows.cancel(run) for run in some.values()))
        outcome: WorkflowOutcome | None = None
        for run in some.values():
            outcome = await self._outcome(run)
            if outcome is None:
                raise StillStopping
        return outcome

    async def _outcome(self, run: RunRef) -> WorkflowOutcome | None:
        """How a run that was cancelled has ended; None if it has not yet."""
        if not contract.is_of_several(run.workflow_id):
            return await self._workflows.wait_until_closed(run, CANCEL_WAIT)
        async with self._database.single() as tx:
            closed = await runs.get(tx, run.id)
        closed = await self._run_sync.close_if_ended(closed)
        return None if closed.status is RunStatus.RUNNING else WorkflowOutcome(status=closed.status)

    async def _held_by(self, saved_query_id: UUID) -> UUID | None:
        """The generation of several views that refreshes the view, if there is one."""
        async with self._database.single() as tx:
            found = await runs.list_open(tx, [saved_query_id])
        for run in found:
            if contract.is_of_several(run.workflow_id):
                current = await self._run_sync.close_if_ended(run)
                return current.generation_id if current.status is RunStatus.RUNNING else None
        return None

    async def _state(self, run: Run) -> RunState:
        current = await self._run_sync.close_if_ended(run)
        if current.status is not RunStatus.RUNNING:
            return RunState(run=current)
        progress, trouble = await self._workflows.query_progress(run)
        return RunState(run=current, progress=progress, trouble=trouble)
