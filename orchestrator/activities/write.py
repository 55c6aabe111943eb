"""The step of a run that writes: it decides whether the query has to run, and runs it.

Only this step sends heartbeats and can be cancelled. It records its result before the workflow hears of it, so that no
result is written twice.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from temporalio import activity
from temporalio.exceptions import ApplicationError

from orchestrator.activities.progress import ProgressReporter, report_progress, report_trouble
from orchestrator.catalog import snapshots
from orchestrator.catalog.database import Database
from orchestrator.catalog.run_plans import Outcome, StoredPlan
from orchestrator.engines.base import LeftOutRows, QueryResult, QueryRunner
from orchestrator.model.base import now
from orchestrator.model.check import CheckResult, not_published
from orchestrator.model.errors import (
    ChecksFailed,
    EngineCrashed,
    InputMissing,
    InputReplaced,
    OrchestratorError,
    QueryFailed,
    RunSuperseded,
    StoreUnavailable,
    Terminal,
    Transient,
    WorkerBusy,
)
from orchestrator.model.generation import MemberResult, MemberTask
from orchestrator.model.run import Relation, RunPlan, Shape
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
from orchestrator.services.attempts import Attempt, Attempts
from orchestrator.services.change_detection import UNCHANGED, ChangeDetector, recipe_of
from orchestrator.services.check_plans import attached
from orchestrator.services.pinned_sources import GenerationPins, PinnedSources
from orchestrator.stores.base import SnapshotStore
from orchestrator.temporal import contract

logger = logging.getLogger(__name__)

Reporting = Callable[[UUID], AbstractAsyncContextManager[ProgressReporter]]
"""Reports the progress of a run's query while the context lasts."""

# A query whose process crashes is tried once more, in case the query was not the cause, and then given up.
_CRASHES_ALLOWED = 2
# How often a query is tried when it fails for any other reason that is not its own fault.
MOST_ATTEMPTS = 8
LOST = f"The run was given up: its query was begun {MOST_ATTEMPTS} times without a result."
# A query that the worker had no memory for is tried again after a second, then after pauses that grow up to this.
_LONGEST_PAUSE = timedelta(seconds=15)


@dataclass(frozen=True)
class WriteActivities:
    """The writing step, and its dependencies. `attempts` are those of runs."""

    database: Database
    attempts: Attempts
    runner: QueryRunner
    store: SnapshotStore
    detector: ChangeDetector
    sources: PinnedSources

    @activity.defn(name=contract.WRITE_SNAPSHOT)
    async def write_snapshot(self, task: MemberTask) -> MemberResult:
        """Run the query into sealed Parquet files that are not visible yet, unless nothing has changed.

        Each attempt has a folder of its own: an attempt that still runs after it was given up as lost cannot write into
        its successor's.
        """
        return await self.write(task.run_id, self.attempts)

    async def write(self, run_id: UUID, attempts: Attempts, reporting: Reporting = report_progress) -> MemberResult:
        """Write the result of a run, or of a member of a try, whose `attempts` these are."""
        attempt = await attempts.begin(run_id)
        plan = attempt.plan
        if isinstance(attempt, StoredPlan):
            if attempt.written is None:
                raise ApplicationError(plan.fault or "", type=plan.fault_code, non_retryable=True)
            return _result(attempt.written, attempt.checks)
        if attempt.tries > MOST_ATTEMPTS:
            raise ApplicationError(LOST, type=contract.UNEXPECTED_ERROR, non_retryable=True)
        # Those before have been discarded by attempts that had to wait for their turn, of which there may be many.
        for earlier in range(max(1, attempt.number - MOST_ATTEMPTS), attempt.number):
            await self.discard(location_of_attempt(plan, earlier))
        try:
            async with reporting(run_id) as progress:
                return await self._try(attempt, attempts, progress)
        except BaseException as error:
            reported = error_to_report(error, attempt.tries)
            if reported is not error:
                raise reported from error
            if isinstance(error, Transient):
                await report_trouble(run_id, error)
            raise

    async def _try(self, attempt: Attempt, attempts: Attempts, progress: ProgressReporter) -> MemberResult:
        plan, location = attempt.plan, location_of_attempt(attempt.plan, attempt.number)
        try:
            found = await self._find(attempt, progress)
        except BaseException as error:
            # No snapshot has a failed attempt's files, so every error removes them. Shielded: a cancel may come twice.
            await asyncio.shield(self.discard(location))
            if isinstance(error, WorkerBusy):  # there was no memory for it
                await attempts.release(plan.run_id, attempt.number)
            raise
        try:
            await attempts.record(found)
        except RunSuperseded:
            await asyncio.shield(self.discard(location))
            raise
        # After any other error it may be recorded all the same. If it is not, the next attempt removes its files.
        if found.written is not None:
            return _result(found.written, found.checks)
        return MemberResult(snapshot_id=found.unchanged_id, unchanged=found.unchanged_reason)

    async def _find(self, attempt: Attempt, progress: ProgressReporter) -> Outcome:
        """Run the query into sealed files, unless nothing has changed."""
        plan, current = attempt.plan, attempt.current
        if attempt.number > 1:
            plan = plan.model_copy(update={"queued_at": None})
        pins = self.sources.of(plan.generation_id, plan.project_id)
        pins.recall(attempt.pins)
        change = await self.detector.find_change(plan, current, pins, attempt.unpublished)
        if current is not None and change is None:
            kept = current.snapshot.id
            return Outcome(plan.run_id, attempt.number, unchanged_id=kept, unchanged_reason=UNCHANGED)
        logger.info("%s runs: %s", plan.name, change)
        if current is not None and current.has_readers:
            plan = plan.model_copy(update={"previous": current.snapshot})
        if current is not None and plan.checks:
            plan = plan.model_copy(update={"current": Shape.of(current.snapshot)})
        plan = await attached(plan, pins)
        try:
            snapshot, checks = await self._write_files(plan, attempt.number, progress)
        except (InputReplaced, InputMissing):
            await raise_if_moved((*plan.relations, *plan.check_relations), pins)
            raise
        if _may_have_moved(snapshot, plan, pins) or any(one.kind == "source" for one in plan.check_relations):
            await raise_if_moved((*plan.relations, *plan.check_relations), pins)
        snapshot = snapshot.model_copy(update={"inputs": shortened(snapshot.inputs)})
        return Outcome(plan.run_id, attempt.number, written=snapshot, checks=checks)

    async def _write_files(
        self, plan: RunPlan, attempt: int, progress: ProgressReporter
    ) -> tuple[Snapshot, tuple[CheckResult, ...]]:
        """Run the plan's query into sealed files, and its checks on them."""
        location = location_of_attempt(plan, attempt)
        target = await self.store.stage(location)
        async with self.store.background_fsync(location):
            written = await self.runner.write(plan, self.store.file_url, target, progress.report)
        files = await self.store.measure(location, (*written.files, *written.beside))
        snapshot = _snapshot(plan, attempt, location, written, files)
        await self.store.seal(location, files, _manifest(plan, snapshot))
        if plan.previous is not None and written.previous_content is not None:
            with suppress(Transient):  # it saves a later run the work, and no more
                async with self.database.single() as tx:
                    await snapshots.set_content(tx, plan.previous.id, written.previous_content)
        return snapshot, written.checks

    async def discard(self, location: str) -> None:
        """Remove an attempt's files. They are not visible, so a failing store is only logged."""
        try:
            await self.store.discard(location)
        except StoreUnavailable as error:
            logger.warning("left behind in the store: %s (%s)", location, error.message)


def _result(snapshot: Snapshot, checks: Iterable[CheckResult]) -> MemberResult:
    """The result for the workflow. Raises ChecksFailed if it may not be published: it is recorded all the same."""
    reason = not_published(checks)
    if reason is not None:
        raise ChecksFailed(reason)
    return MemberResult(snapshot_id=snapshot.id, rows=snapshot.rows, bytes=snapshot.bytes)


async def raise_if_moved(relations: Iterable[Relation], pins: GenerationPins) -> None:
    """Raise the error by which the workflow learns that a source file is not what its generation has pinned."""
    moved = await pins.find_moved(relations)
    if moved is not None:
        table, round_, path = moved
        message = f'The file {path} of the source table "{table.name}" changed while it was read.'
        raise ApplicationError(message, str(table.id), round_, type=contract.SOURCE_MOVED, non_retryable=True)


def _may_have_moved(snapshot: Snapshot, plan: RunPlan, pins: GenerationPins) -> bool:
    """Whether the query read other files than were pinned, or some whose identity is too new to be sure of."""
    read = {one.id: one.listing for one in snapshot.inputs}
    return any(read.get(one.id) != pins.digest(one.id) for one in plan.relations if one.kind == "source")


def error_to_report(error: BaseException, tries: int) -> BaseException:
    """The error that Temporal gets for an attempt that ended with `error`: the same, or one that says how to retry."""
    if isinstance(error, EngineCrashed) and tries >= _CRASHES_ALLOWED:
        return QueryFailed(f"{error.message} It was tried {tries} times.")
    if isinstance(error, asyncio.CancelledError) and activity.is_worker_shutdown():
        return ApplicationError(
            "The worker was shut down; the run goes on elsewhere.",
            type="worker_shutdown",
            next_retry_delay=timedelta(milliseconds=1),
        )
    if isinstance(error, WorkerBusy):
        pause = min(_LONGEST_PAUSE, timedelta(seconds=activity.info().attempt))
        return ApplicationError(error.message, type=error.code, next_retry_delay=pause)
    if isinstance(error, Exception) and not isinstance(error, Terminal | ApplicationError) and tries >= MOST_ATTEMPTS:
        if isinstance(error, OrchestratorError):
            return ApplicationError(error.message, type=error.code, non_retryable=True)
        return ApplicationError(str(error), type=type(error).__name__, non_retryable=True)
    return error


def location_of_attempt(plan: RunPlan, attempt: int) -> str:
    """The store's key for the files of an attempt."""
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
