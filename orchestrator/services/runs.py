"""Starting, cancelling and listing the runs of a view, in Temporal and in the catalog."""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from orchestrator.catalog import audit_log, runs, saved_queries
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
from orchestrator.model.principal import User
from orchestrator.model.printable import code
from orchestrator.model.run import Progress, Run, RunRequest, RunStatus, Trigger, run_id_of
from orchestrator.model.saved_query import SavedQuery
from orchestrator.model.urls import ApiUrls
from orchestrator.reconciliation.runs import RunSync
from orchestrator.services.definitions import DefinitionService
from orchestrator.services.view_states import ViewState, ViewStates
from orchestrator.temporal.run_workflows import RunWorkflows, WorkflowOutcome
from orchestrator.temporal.search_attributes import ViewRef

# How long a call waits for a run's workflow to close before it raises StillStopping or StillEnding.
CANCEL_WAIT = timedelta(seconds=8)
_START_TRIES = 5


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
        urls: ApiUrls,
    ) -> None:
        self._database = database
        self._definitions = definitions
        self._states = states
        self._workflows = workflows
        self._run_sync = run_sync
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

        Raises NotRunning if there is none, or if it ended before the cancel; StillStopping if it takes too long.
        """
        view = await self._definitions.get(project_id, saved_query_id)
        outcome = await self.stop(view.id, await self.running_workflow_run_ids(view.id))
        if outcome is None or outcome.status is not RunStatus.CANCELLED:
            raise NotRunning("Cannot cancel a query that is not running")
        async with self._database.begin() as tx:
            await audit_log.record(tx, view, Verb.SYNC_CANCELLED, user)
        return await self._states.show(project_id, saved_query_id)

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
        ref = ViewRef(project_id=view.project_id, name=view.name)
        request = RunRequest(saved_query_id=view.id, label=str(ref), trigger=trigger, full_refresh=full_refresh)
        why = "to materialize it for the first time" if trigger is Trigger.FIRST else "to refresh it now"
        details = f"Started by {code(user.email)} over the API, {why}.\n\n{self._urls.view(view.project_id, view.id)}"
        for _ in range(_START_TRIES):
            started = await self._workflows.start(request, ref, details)
            async with self._database.begin() as tx:
                if not started.already_running:
                    await runs.ensure_run(tx, request, started.workflow_id, started.workflow_run_id)
                    if trigger is not Trigger.FIRST:
                        await audit_log.record(tx, view, Verb.SYNC_TRIGGERED, user)
                    return True
                status = await runs.status_of(tx, run_id_of(started.workflow_run_id, view.id))
            if status in {None, RunStatus.RUNNING}:
                return False
            if await self._workflows.wait_until_closed(view.id, started.workflow_run_id, CANCEL_WAIT) is None:
                break
        raise StillEnding

    async def running_workflow_run_ids(self, saved_query_id: UUID) -> set[UUID]:
        """The workflow run id of the view's run in progress, if there is one, also before the catalog has its row."""
        workflow_run_id = await self._workflows.find_running(saved_query_id)
        return set() if workflow_run_id is None else {workflow_run_id}

    async def stop(self, saved_query_id: UUID, workflow_run_ids: Collection[UUID]) -> WorkflowOutcome | None:
        """Cancel these runs and wait until they are closed; returns the outcome of the last one.

        None if there are no ids. The runs are named, so that a run that another client has started since is left alone.
        Raises StillStopping.
        """
        await asyncio.gather(*(self._workflows.cancel(saved_query_id, run) for run in workflow_run_ids))
        outcome: WorkflowOutcome | None = None
        for run in workflow_run_ids:
            outcome = await self._workflows.wait_until_closed(saved_query_id, run, CANCEL_WAIT)
            if outcome is None:
                raise StillStopping
        return outcome

    async def _state(self, run: Run) -> RunState:
        current = await self._run_sync.close_if_ended(run)
        if current.status is not RunStatus.RUNNING:
            return RunState(run=current)
        progress, trouble = await self._workflows.query_progress(run.saved_query_id, run.workflow_run_id)
        return RunState(run=current, progress=progress, trouble=trouble)
