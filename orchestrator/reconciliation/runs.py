"""Closes runs in the catalog that have ended in Temporal, and cancels runs of views that are not materialized."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from orchestrator.catalog import failure_streaks, generations, runs, saved_queries
from orchestrator.catalog.database import Database
from orchestrator.model.findings import Finding, FindingKind
from orchestrator.model.generation import EndedRun, GenerationStatus
from orchestrator.model.run import Run, RunStatus
from orchestrator.reconciliation.existing import existing_ids
from orchestrator.reconciliation.failure_policy import FailurePolicy
from orchestrator.temporal.run_workflows import RunWorkflows, WorkflowOutcome

# The API stores a generation before it starts its workflow.
_STARTING = timedelta(minutes=1)


class RunSync:
    """Closes runs whose workflow ended without recording its outcome, as after an operator's terminate."""

    def __init__(self, database: Database, workflows: RunWorkflows) -> None:
        self._database = database
        self._workflows = workflows

    async def find_outcome(self, run: Run) -> WorkflowOutcome | None:
        """The outcome of a run that the catalog calls Running but whose workflow has ended; otherwise None.

        A workflow that completed although the catalog has no result counts as failed: the result is lost.
        """
        if run.status is not RunStatus.RUNNING:
            return None
        outcome = await self._workflows.find_outcome(run)
        if outcome is not None and outcome.status is RunStatus.COMPLETED:
            return WorkflowOutcome(status=RunStatus.FAILED, error="The run's result is missing.", error_code="run_lost")
        return outcome

    async def close_if_ended(self, run: Run) -> Run:
        """The run, closed first if its workflow has ended without recording its outcome.

        All other open runs of that workflow are closed with it.
        """
        outcome = await self.find_outcome(run)
        if outcome is None:
            return run
        async with self._database.begin() as tx:
            # A run that completed after the workflow was described is closed already, and this leaves it so.
            ended = EndedRun(run_id=run.id, status=outcome.status, error=outcome.error, error_code=outcome.error_code)
            others = await runs.list_of_workflow(tx, run.workflow_run_id)
            ids = {run.id, *others}
            await runs.close(tx, [ended.model_copy(update={"run_id": one}) for one in ids], policy_due=True)
            return await runs.get(tx, run.id)


@dataclass(frozen=True)
class RunReconciler:
    """Compares all running runs with Temporal."""

    database: Database
    workflows: RunWorkflows
    sync: RunSync
    policy: FailurePolicy

    async def close_ended(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Close runs whose workflow ended without recording its outcome."""
        async with self.database.begin() as tx:
            open_runs = await runs.list_running(tx)
        closed: set[UUID] = set()
        for run in open_runs:
            if run.workflow_run_id in closed:
                continue
            if dry_run:
                outcome = await self.sync.find_outcome(run)
                status = RunStatus.RUNNING if outcome is None else outcome.status
            else:
                status = (await self.sync.close_if_ended(run)).status
            if status is not RunStatus.RUNNING:
                closed.add(run.workflow_run_id)
            # A run that completed or was skipped in between has recorded its outcome itself.
            if status not in {RunStatus.RUNNING, RunStatus.COMPLETED, RunStatus.SKIPPED}:
                message = f"it is over in Temporal and is recorded as {status}"
                yield Finding(kind=FindingKind.RUN_ENDED, subject=str(run.id), message=message)
        async for finding in self._close_generations(dry_run):
            yield finding

    async def _close_generations(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Close generations that have no open run and whose workflow is over.

        It ended before they took hold of their members, or two of their runs were closed at the same moment, neither as
        the last.
        """
        async with self.database.begin() as tx:
            idle = await generations.list_idle(tx, _STARTING)
        for generation in idle:
            if await self.workflows.is_open(generation.workflow_id):
                continue
            if not dry_run:
                async with self.database.begin() as tx:
                    await generations.settle(tx, [generation.id])
                    await generations.close(tx, generation.id, GenerationStatus.CANCELLED)
            message = "it has no run in progress, and its workflow is over"
            yield Finding(kind=FindingKind.RUN_ENDED, subject=str(generation.id), message=message)

    async def apply_policy(self) -> None:
        """Apply the failure policy to the runs that were closed here: webhook events, and a pause.

        The mark that this is due is removed last, so that a step which is interrupted is repeated; each can be.
        """
        async with self.database.begin() as tx:
            due = await runs.list_policy_due(tx)
        for run_id in due:
            async with self.database.begin() as tx:
                context = await failure_streaks.load_run_context(tx, run_id)
            await self.workflows.start_webhook_deliveries(await self.policy.on_run_finished(context))
            async with self.database.begin() as tx:
                await runs.clear_policy_due(tx, run_id)

    async def cancel_orphaned(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Cancel running runs of views that are not materialized: they could not publish their result."""
        running = await self.workflows.list_running()
        for view_id in await existing_ids(self.database, running.keys()):
            async with self.database.begin() as tx:  # just before the cancel, not once for all runs
                if await saved_queries.find_desired_schedule(tx, view_id) is not None:
                    continue
            if not dry_run:
                await self.workflows.cancel_single(view_id, running[view_id])
            message = "the view is not materialized; its run is cancelled"
            yield Finding(kind=FindingKind.RUN_ORPHANED, subject=str(view_id), message=message)
