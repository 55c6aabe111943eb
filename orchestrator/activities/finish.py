"""The steps after a generation's queries: publish what they wrote, close the runs that publish nothing, and sum up."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from temporalio import activity

from orchestrator.activities.heartbeat import workflow_ids
from orchestrator.catalog import failure_streaks, generations, projects, publication, runs, saved_queries
from orchestrator.catalog.database import Database, Transaction
from orchestrator.catalog.failure_streaks import RunContext
from orchestrator.engines.base import QueryAnalyzer
from orchestrator.model.errors import ChecksFailed, StoreUnavailable
from orchestrator.model.generation import (
    CloseRequest,
    GenerationRequest,
    GenerationStatus,
    PublishRequest,
    RefreshOutcome,
)
from orchestrator.model.run import Run, RunRequest, RunStatus
from orchestrator.model.snapshot import location_of
from orchestrator.model.webhook_event import ClosedRun, ClosedRuns, WebhookEvent
from orchestrator.reconciliation.current import CurrentLinks
from orchestrator.reconciliation.failure_policy import FailurePolicy
from orchestrator.services.view_columns import ColumnPropagation
from orchestrator.stores.base import SnapshotStore
from orchestrator.temporal import contract

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishActivities:
    """The last steps of generations. `on_run_finished` is called after a run's end, maybe twice."""

    database: Database
    analyzer: QueryAnalyzer
    store: SnapshotStore
    policy: FailurePolicy
    current: CurrentLinks
    on_run_finished: Callable[[Run], None]

    @activity.defn(name=contract.PUBLISH)
    async def publish(self, request: PublishRequest) -> ClosedRuns:
        """Make what these runs wrote visible, and complete them, in one transaction. It may be repeated.

        Returns how each run has ended: those that may not publish any more, too.
        """
        async with self.database.begin() as tx:
            if len(request.run_ids) > 1:
                # Before the rows of several views, which an edit changes too, after it has locked the project.
                await projects.lock_project(tx, request.project_id)
            published = await publication.publish(tx, request.run_ids, all_or_nothing=request.all_or_nothing)
            contexts = await failure_streaks.load_run_contexts(tx, request.run_ids)
        if published.with_other_columns and contexts:
            # Not in the transaction, where it would take too long. If this worker dies in between, Temporal repeats all
            # of this step. The results are published in any case.
            propagation = ColumnPropagation(self.analyzer, list(published.with_other_columns))
            await propagation.finish(self.database, contexts[0].project_id)
        names = [one.view_name for one in contexts if one.run.status is RunStatus.COMPLETED]
        if names:
            await self.current.sync_all(contexts[0].project_id, names)
        return await self._ended(contexts)

    @activity.defn(name=contract.CLOSE)
    async def close(self, request: CloseRequest) -> ClosedRuns:
        """End runs that publish nothing, and remove what they wrote; returns how each run has ended.

        A run may be Completed or Skipped: a cancel at the same moment can lose the answer of `publish`, but the
        transaction stays committed.
        """
        async with self.database.begin() as tx:
            ended = [*request.runs]
            blocked = [one.run_id for one in ended if one.error_code == ChecksFailed.code]
            if isinstance(request.request, GenerationRequest) and len(blocked) > 1:
                await projects.lock_project(tx, request.request.project_id)  # before the rows of views, as in `publish`
            if isinstance(request.request, RunRequest):
                await self._ensure(tx, request.request)
            elif request.rest is not None:
                left = await runs.open_of_generation(tx, request.request.generation_id)
                ended += [request.rest.model_copy(update={"run_id": run_id}) for run_id in left]
            if blocked:
                await publication.keep_blocked(tx, blocked)
            await runs.close(tx, ended)
            contexts = await failure_streaks.load_run_contexts(tx, [one.run_id for one in ended])
        for context in contexts:
            if context.run.snapshot_id is None:  # neither published nor blocked
                await self._discard(context)
        return await self._ended(contexts)

    @activity.defn(name=contract.SUMMARIZE)
    async def summarize(self, request: GenerationRequest) -> RefreshOutcome:
        """End a generation that has no open run, and return how it ended."""
        async with self.database.begin() as tx:
            # Two others may have ended its last runs at the same moment, and neither saw that none was left.
            await generations.settle(tx, [request.generation_id])
            await generations.close(tx, request.generation_id, GenerationStatus.CANCELLED)
            generation = await generations.find(tx, request.project_id, request.generation_id)
            counts = (await generations.count_runs(tx, [request.generation_id])).get(request.generation_id, {})
        status = GenerationStatus.CANCELLED if generation is None else generation.status
        detail = ", ".join(f"{number} {run_status}" for run_status, number in sorted(counts.items()))
        return RefreshOutcome(status=status, detail=detail or "no view was refreshed")

    async def _ensure(self, tx: Transaction, request: RunRequest) -> None:
        """Record the run of a generation of one that was ended before it began, if its view exists and is not held."""
        if await saved_queries.get_project_id(tx, request.saved_query_id) is not None:
            await runs.record_started(tx, request, *workflow_ids())

    async def _ended(self, contexts: Sequence[RunContext]) -> ClosedRuns:
        notices: list[WebhookEvent] = []
        for context in contexts:
            self.on_run_finished(context.run)
            notices.extend(await self.policy.on_run_finished(context))
        notices.extend(await self.policy.on_checks_made(contexts))
        return ClosedRuns(runs=tuple(ClosedRun.of(one.run) for one in contexts), notices=tuple(notices))

    async def _discard(self, context: RunContext) -> None:
        """Remove the files of a run's attempts. They are not visible, so a failing store is only logged."""
        run = context.run
        for attempt in range(1, run.attempt + 1):
            location = location_of(context.project_id, run.saved_query_id, run.id, attempt)
            try:
                await self.store.discard(location)
            except StoreUnavailable as error:
                logger.warning("left behind in the store: %s (%s)", location, error.message)
