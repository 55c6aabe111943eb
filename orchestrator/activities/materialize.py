"""The steps of a run: begin, write, and publish, skip or close.

`write_snapshot` decides whether the query has to run, and runs it; only it sends heartbeats and can be cancelled. The
others execute a few SQL statements each and run as local activities.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from temporalio import activity
from temporalio.exceptions import ApplicationError

from orchestrator.activities.heartbeat import workflow_ids
from orchestrator.activities.progress import ProgressReporter, report_progress, report_trouble
from orchestrator.catalog import (
    failure_streaks,
    projects,
    retention,
    run_inputs,
    runs,
    saved_queries,
    snapshots,
)
from orchestrator.catalog.database import Database
from orchestrator.catalog.snapshots import CurrentVersion
from orchestrator.engines.base import LeftOutRows, QueryAnalyzer, QueryResult, QueryRunner
from orchestrator.model.base import now
from orchestrator.model.errors import (
    EngineCrashed,
    InputReplaced,
    NotFound,
    NotMaterialized,
    OrchestratorError,
    PlanTooLarge,
    QueryFailed,
    RunSuperseded,
    StoreUnavailable,
    Terminal,
    Transient,
    WorkerBusy,
)
from orchestrator.model.limits import Limits
from orchestrator.model.run import CloseRequest, Run, RunPlan, RunRequest, RunStatus, SkipRequest, WriteResult
from orchestrator.model.snapshot import (
    Manifest,
    ResolvedInput,
    Snapshot,
    SnapshotFile,
    location_of,
    pinned,
    shortened,
    snapshot_id,
)
from orchestrator.model.urls import ApiUrls
from orchestrator.model.webhook_event import CloseResult, PublishResult
from orchestrator.reconciliation.current import CurrentLinks
from orchestrator.reconciliation.failure_policy import FailurePolicy
from orchestrator.services.change_detection import ChangeDetector, recipe_of
from orchestrator.services.view_columns import ColumnPropagation
from orchestrator.stores.base import SnapshotStore
from orchestrator.temporal import contract

logger = logging.getLogger(__name__)

# Temporal refuses payloads over 2 MB; a plan holds the SQL of every view that is evaluated inside the run.
_LARGEST_PLAN_BYTES = 1_500_000
# A query whose process crashes is tried once more, in case the query was not the cause, and then given up.
_CRASHES_ALLOWED = 2
# How often a query is tried when it fails for any other reason that is not its own fault.
_MOST_ATTEMPTS = 8
_LOST = f"The run was given up: its query was begun {_MOST_ATTEMPTS} times without a result."
_UNCHANGED = "Nothing that it reads has changed since its current version was made."
# A query that the worker had no memory for is tried again after a second, then after pauses that grow up to this.
_LONGEST_PAUSE = timedelta(seconds=15)


@dataclass(frozen=True)
class MaterializeActivities:
    """The activities of a run, and their dependencies. `on_run_finished` is called after a run's end, maybe twice."""

    database: Database
    analyzer: QueryAnalyzer
    runner: QueryRunner
    store: SnapshotStore
    limits: Limits
    query_timeout: timedelta
    detector: ChangeDetector
    policy: FailurePolicy
    current: CurrentLinks
    urls: ApiUrls
    on_run_finished: Callable[[Run], None]

    @activity.defn(name=contract.BEGIN_RUN)
    async def begin_run(self, request: RunRequest) -> RunPlan:
        """Record the run as Running, resolve its inputs and return its plan.

        Raises NotFound if the view is gone, NotMaterialized if it is no longer materialized, InputMissing if an input
        was deleted, InputReplaced if an input's snapshot was just removed, RunSuperseded if the run was ended before it
        began, PlanTooLarge if the plan does not fit into a message.
        """
        async with self.database.begin() as tx:
            view = await saved_queries.lock_for_run(tx, request.saved_query_id)
            if view is None:
                raise NotFound("The view was deleted.")
            if not view.is_materialized:
                raise NotMaterialized
            run = await runs.ensure_run(tx, request, *workflow_ids(), view.revision.id)
            if run.status is not RunStatus.RUNNING:
                raise RunSuperseded
            await runs.cancel_stale_runs(tx, view.id, run.id)
            relations = await run_inputs.relations(tx, view.id)
            if not await retention.lease(tx, run.id, [r.snapshot_id for r in relations if r.kind == "snapshot"]):
                raise InputReplaced
            limits = await projects.get_limits(tx, view.project_id)
            plan = RunPlan(
                run_id=run.id,
                project_id=view.project_id,
                saved_query_id=view.id,
                revision_id=view.revision.id,
                name=view.name,
                sql=view.revision.sql,
                relations=relations,
                timeout_seconds=limits.timeout_seconds or self.query_timeout.total_seconds(),
                limits=limits.over(self.limits),
                trigger=run.trigger,
                queued_at=run.started_at,
                may_skip=True,
                full_refresh=request.full_refresh,
                api_url=self.urls.view(view.project_id, view.id),
            )
        if len(plan.model_dump_json().encode()) > _LARGEST_PLAN_BYTES:
            raise PlanTooLarge
        return plan

    @activity.defn(name=contract.WRITE_SNAPSHOT)
    async def write_snapshot(self, plan: RunPlan) -> WriteResult:
        """Run the query into sealed Parquet files that are not visible yet, unless nothing has changed.

        Each attempt has a folder of its own: an attempt that still runs after it was given up as lost cannot write into
        its successor's.
        """
        async with self.database.single() as tx:
            attempt = await runs.claim_attempt(tx, plan.run_id)
        if attempt > _MOST_ATTEMPTS:
            raise ApplicationError(_LOST, type=contract.UNEXPECTED_ERROR, non_retryable=True)
        if attempt > 1:
            plan = plan.model_copy(update={"queued_at": None})
        for earlier in range(1, attempt):
            await self._discard(_location(plan, earlier))
        location = _location(plan, attempt)
        try:
            async with report_progress() as progress:
                async with self.database.single() as tx:
                    current = await snapshots.current(tx, plan.saved_query_id)
                change = await self.detector.find_change(plan, current)
                if current is not None and change is None:
                    return WriteResult(skip=_skip(plan, current))
                logger.info("%s runs: %s", plan.name, change)
                if current is not None and current.has_readers:
                    plan = plan.model_copy(update={"previous": current.snapshot})
                snapshot = await self._write(plan, attempt, location, progress)
        except BaseException as error:
            # No snapshot has a failed attempt's files, so every error removes them. Shielded: a cancel may come twice.
            await asyncio.shield(self._discard(location))
            if isinstance(error, WorkerBusy):
                await self._give_back(plan.run_id, attempt)
            reported = _error_to_report(error, attempt)
            if reported is not error:
                raise reported from error
            if isinstance(error, Transient):
                await report_trouble(error)
            raise
        return WriteResult(snapshot=snapshot.model_copy(update={"inputs": shortened(snapshot.inputs)}))

    async def _write(self, plan: RunPlan, attempt: int, location: str, progress: ProgressReporter) -> Snapshot:
        target = await self.store.stage(location)
        async with self.store.background_fsync(location):
            written = await self.runner.write(plan, self.store.file_url, target, progress.report)
        files = await self.store.measure(location, (*written.files, *written.quarantine))
        snapshot = _snapshot(plan, attempt, location, written, files)
        await self.store.seal(location, files, _manifest(plan, snapshot))
        if plan.previous is not None and written.previous_content is not None:
            with suppress(Transient):  # it saves a later run the work, and no more
                async with self.database.single() as tx:
                    await snapshots.set_content(tx, plan.previous.id, written.previous_content)
        return snapshot

    async def _give_back(self, run_id: UUID, attempt: int) -> None:
        """Release the number of an attempt for which there was no memory, so that it does not count as a try."""
        async with self.database.single() as tx:
            await runs.release_attempt(tx, run_id, attempt)

    @activity.defn(name=contract.PUBLISH)
    async def publish(self, snapshot: Snapshot) -> PublishResult:
        """Make the snapshot the view's current one and complete the run, in one transaction.

        Raises RunSuperseded if the run may no longer publish.
        """
        async with self.database.begin() as tx:
            changed = await runs.publish(tx, snapshot)
            context = await failure_streaks.load_run_context(tx, snapshot.run_id)
        if changed:
            await self._propagate_columns(snapshot.saved_query_id)
        await self.current.sync(context.project_id, context.view_name)
        self.on_run_finished(context.run)
        return PublishResult(notices=await self.policy.on_run_finished(context))

    @activity.defn(name=contract.SKIP_RUN)
    async def skip_run(self, skipping: SkipRequest) -> None:
        """End a run whose query need not run. Raises RunSuperseded if it has ended otherwise."""
        async with self.database.begin() as tx:
            if not await runs.skip(tx, skipping):
                raise RunSuperseded
            context = await failure_streaks.load_run_context(tx, skipping.run_id)
        self.on_run_finished(context.run)

    @activity.defn(name=contract.CLOSE_RUN)
    async def close_run(self, closing: CloseRequest) -> CloseResult:
        """End a run that published nothing, remove its files, and return its status.

        The status may be Completed or Skipped: a cancel at the same moment can lose the answer of `publish` or
        `skip_run`, but the transaction stays committed.
        """
        async with self.database.begin() as tx:
            project_id = await saved_queries.get_project_id(tx, closing.request.saved_query_id)
            if project_id is None:
                return CloseResult(status=closing.status)  # no such view ever existed, so the run cannot be recorded
            run_id = (await runs.ensure_run(tx, closing.request, *workflow_ids())).id
            await runs.close(tx, run_id, closing.status, closing.error, closing.error_code)
            context = await failure_streaks.load_run_context(tx, run_id)
        run = context.run
        self.on_run_finished(run)
        if run.status is not RunStatus.COMPLETED:
            for attempt in range(1, run.attempt + 1):
                await self._discard(location_of(project_id, run.saved_query_id, run.id, attempt))
        notices = await self.policy.on_run_finished(context)
        if run.status not in {RunStatus.COMPLETED, RunStatus.SKIPPED}:
            return CloseResult(status=closing.status, notices=notices)
        return CloseResult(
            status=run.status, rows=run.rows, bytes=run.bytes, snapshot_id=run.snapshot_id, notices=notices
        )

    async def _propagate_columns(self, saved_query_id: UUID) -> None:
        """Update the columns of views without a snapshot that read the published one.

        Not in the transaction of `publish`, which has locked the view's row: edits lock the project before the
        view's row, so the two could deadlock. If this worker dies in between, Temporal repeats `publish`, and so this.
        The result is published in any case.
        """
        propagation = ColumnPropagation(self.analyzer, [saved_query_id])
        try:
            async with self.database.single() as tx:
                project_id = await saved_queries.get_project_id(tx, saved_query_id)
            if project_id is not None:
                await propagation.finish(self.database, project_id)
        except Transient as error:
            logger.warning("readers of view %s still show their old columns: %s", saved_query_id, error.message)

    async def _discard(self, location: str) -> None:
        """Remove an attempt's files. They are not visible, so a failing store is only logged."""
        try:
            await self.store.discard(location)
        except StoreUnavailable as error:
            logger.warning("left behind in the store: %s (%s)", location, error.message)


def _error_to_report(error: BaseException, attempt: int) -> BaseException:
    """The error that Temporal gets for an attempt that ended with `error`: the same, or one that says how to retry."""
    if isinstance(error, EngineCrashed) and attempt >= _CRASHES_ALLOWED:
        return QueryFailed(f"{error.message} It was tried {attempt} times.")
    if isinstance(error, asyncio.CancelledError) and activity.is_worker_shutdown():
        return ApplicationError(
            "The worker was shut down; the run goes on elsewhere.",
            type="worker_shutdown",
            next_retry_delay=timedelta(milliseconds=1),
        )
    if isinstance(error, WorkerBusy):
        pause = min(_LONGEST_PAUSE, timedelta(seconds=activity.info().attempt))
        return ApplicationError(error.message, type=error.code, next_retry_delay=pause)
    if isinstance(error, Exception) and not isinstance(error, Terminal) and attempt >= _MOST_ATTEMPTS:
        if isinstance(error, OrchestratorError):
            return ApplicationError(error.message, type=error.code, non_retryable=True)
        return ApplicationError(str(error), type=type(error).__name__, non_retryable=True)
    return error


def _location(plan: RunPlan, attempt: int) -> str:
    return location_of(plan.project_id, plan.saved_query_id, plan.run_id, attempt)


def _snapshot(
    plan: RunPlan, attempt: int, location: str, written: QueryResult, measured: tuple[SnapshotFile, ...]
) -> Snapshot:
    """The snapshot of an attempt. `measured` holds the files of the result, then those of rows that were left out."""
    result = len(written.files)
    return Snapshot(
        id=snapshot_id(plan.run_id, attempt),
        run_id=plan.run_id,
        saved_query_id=plan.saved_query_id,
        revision_id=plan.revision_id,
        attempt=attempt,
        location=location,
        files=measured[:result],
        quarantine=measured[result:],
        rows=written.rows,
        bytes=written.bytes,
        columns=written.columns,
        inputs=_pins(plan, written),
        engine_version=written.engine_version,
        created_at=now(),
        recipe=recipe_of(plan, written.engine_version),
        deterministic=written.deterministic,
        content=written.content,
    )


def _skip(plan: RunPlan, current: CurrentVersion) -> SkipRequest:
    return SkipRequest(run_id=plan.run_id, snapshot_id=current.snapshot.id, reason=_UNCHANGED)


def _pins(plan: RunPlan, written: QueryResult) -> tuple[ResolvedInput, ...]:
    """The resolved inputs, each with the files that were read and the number of its rows that were left out."""
    rejected = {one.table: one for one in written.rejected}
    return tuple(_with_rejected(pin, rejected.get(pin.name)) for pin in pinned(plan.resolved_inputs(), written.sources))


def _with_rejected(pin: ResolvedInput, rejected: LeftOutRows | None) -> ResolvedInput:
    if rejected is None:
        return pin
    file = rejected.file.name if rejected.file else None
    return pin.model_copy(update={"skipped_rows": rejected.rows, "quarantine": file})


def _manifest(plan: RunPlan, snapshot: Snapshot) -> bytes:
    manifest = Manifest(project_id=plan.project_id, name=plan.name, sql=plan.sql, snapshot=snapshot)
    return manifest.model_dump_json(indent=2).encode() + b"\n"
