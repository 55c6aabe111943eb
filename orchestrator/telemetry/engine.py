"""Counts and traces every query of a worker, and counts the checks that it makes."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from orchestrator.engines.base import QueryAndCheckRunner, QueryResult
from orchestrator.model.base import now
from orchestrator.model.check import CheckResult, PlannedCheck
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.limits import Limits
from orchestrator.model.run import Progress, RunPlan, TableCheckPlan
from orchestrator.model.write_target import WriteTarget
from orchestrator.telemetry import tracing
from orchestrator.telemetry.instruments import WorkerMetrics

_MIB = 1 << 20


class QueryMetrics:
    """Counts queries that wait, run and end. `limits` hold for those whose plan has none of its own."""

    def __init__(self, metrics: WorkerMetrics, limits: Limits) -> None:
        self._metrics = metrics
        self._limits = limits

    @contextmanager
    def track(self, plan: RunPlan) -> Iterator[Callable[[Progress], None]]:
        """Count one attempt, which lasts as long as the context; yields the callback for its progress."""
        query = _Query(self._metrics, (plan.limits or self._limits).memory_mb * _MIB)
        outcome = "completed"
        try:
            yield query.update
        except BaseException as error:
            outcome = _outcome(error)
            raise
        finally:
            query.end(outcome)
            if plan.queued_at is not None and plan.trigger is not None and query.admitted_at is not None:
                waited = (query.admitted_at - plan.queued_at).total_seconds()
                self._metrics.queue_seconds.labels(plan.trigger.value).observe(max(0.0, waited))

    def count(self, planned: Sequence[PlannedCheck], made: Sequence[CheckResult]) -> None:
        """Count checks that were made."""
        for check, result in zip(planned, made, strict=True):
            self._metrics.checks.labels(check.assertion.check_type, result.severity, result.status).inc()


class _Query:
    """One attempt. It counts as running from the beginning, until its progress says that it waits."""

    def __init__(self, metrics: WorkerMetrics, memory: int) -> None:
        self._metrics = metrics
        self._memory = memory
        self._waits = False
        self._began = time.monotonic()
        self.admitted_at: datetime | None = now()
        self._enter()

    def update(self, progress: Progress) -> None:
        """Record whether the attempt waits or runs."""
        if progress.waiting == self._waits:
            return
        self._leave()
        self._waits = progress.waiting
        self._enter()
        self._began = time.monotonic()
        self.admitted_at = None if self._waits else now()

    def end(self, outcome: str) -> None:
        """Record that the attempt has ended."""
        self._leave()
        self._metrics.queries.labels(outcome).inc()
        if not self._waits:
            self._metrics.query_seconds.observe(time.monotonic() - self._began)

    def _enter(self) -> None:
        if self._waits:
            self._metrics.waiting.inc()
        else:
            self._metrics.running.inc()
            self._metrics.admitted.inc(self._memory)

    def _leave(self) -> None:
        if self._waits:
            self._metrics.waiting.dec()
        else:
            self._metrics.running.dec()
            self._metrics.admitted.dec(self._memory)


def _outcome(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return error.code if isinstance(error, OrchestratorError) else "unforeseen"


class InstrumentedEngine:
    """An engine whose queries are traced, and counted with its checks if there is a `meter`."""

    def __init__(self, engine: QueryAndCheckRunner, meter: QueryMetrics | None = None) -> None:
        self._engine = engine
        self._meter = meter

    async def write(
        self,
        plan: RunPlan,
        file_url: Callable[[str, str], str],
        target: WriteTarget,
        on_progress: Callable[[Progress], None],
    ) -> QueryResult:
        """Run the query in a span. The span never contains the statement, which may quote data."""
        ids: tracing.Attributes = {
            "matview.project": plan.project_id,
            "matview.view": str(plan.saved_query_id),
            "matview.run": str(plan.run_id),
        }
        with tracing.span(f"{plan.engine} query", ids) as set_attributes, self._measured(plan, on_progress) as report:
            written = await self._engine.write(plan, file_url, target, report)
            set_attributes({"matview.rows": written.rows, "matview.bytes": written.bytes})
        if self._meter is not None:
            self._meter.count(plan.checks, written.checks)
        return written

    async def check(
        self, plan: TableCheckPlan, folder: str | None, file_url: Callable[[str, str], str]
    ) -> tuple[CheckResult, ...]:
        """Make the checks of a source table in a span."""
        with tracing.span("duckdb checks", {"matview.project": plan.project_id}):
            found = await self._engine.check(plan, folder, file_url)
        if self._meter is not None:
            self._meter.count(plan.checks, found)
        return found

    @contextmanager
    def _measured(self, plan: RunPlan, on_progress: Callable[[Progress], None]) -> Iterator[Callable[[Progress], None]]:
        if self._meter is None:
            yield on_progress
            return
        with self._meter.track(plan) as update:

            def report(progress: Progress) -> None:
                update(progress)
                on_progress(progress)

            yield report
