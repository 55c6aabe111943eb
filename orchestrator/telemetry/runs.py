"""Counting runs: what is counted is what the catalog says of them."""

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from uuid import UUID

from orchestrator.catalog import runs
from orchestrator.catalog.database import Database
from orchestrator.model.reconciliation import Report
from orchestrator.model.run import Run, RunStatus
from orchestrator.telemetry.instruments import WorkerMetrics

logger = logging.getLogger(__name__)

FindRun = Callable[[UUID], Awaitable[Run]]

# A step that is repeated after a lost answer ends the same run again: so many runs back that is noticed.
_REMEMBERED = 10_000


def finder(database: Database) -> FindRun:
    """What looks a run up in the catalog."""

    async def find(run_id: UUID) -> Run:
        async with database.begin() as tx:
            return await runs.get(tx, run_id)

    return find


class RunCounter:
    """Counts runs as they end, each once, and what the reconciler finds."""

    def __init__(self, metrics: WorkerMetrics, find_run: FindRun) -> None:
        self._metrics = metrics
        self._find_run = find_run
        self._counted: OrderedDict[UUID, None] = OrderedDict()

    async def ended(self, run_id: UUID) -> None:
        """Count a run, if it is over and was not counted yet. Never fails."""
        if run_id in self._counted:
            return
        try:
            run = await self._find_run(run_id)
        except Exception as error:  # whatever it is, a run is not to fail because it cannot be counted
            logger.warning("a run could not be counted: %s: %r", run_id, error)
            return
        if run.status is RunStatus.RUNNING or run_id in self._counted:
            return
        self._counted[run_id] = None
        if len(self._counted) > _REMEMBERED:
            self._counted.popitem(last=False)
        self._count(run)

    def reconciled(self, report: Report) -> None:
        """Count what a look of the reconciler found; one that changes nothing is none."""
        if report.dry_run:
            return
        for finding in report.findings:
            self._metrics.findings.labels(finding.kind.value).inc()
        self._metrics.reconciled.set(time.time())

    def _count(self, run: Run) -> None:
        self._metrics.runs.labels(run.status.value, run.trigger.value, run.error_code or "").inc()
        if run.status is RunStatus.FAILED:
            self._metrics.failed.inc()
        if run.finished_at is not None:
            seconds = (run.finished_at - run.started_at).total_seconds()
            self._metrics.run_seconds.labels(run.status.value).observe(seconds)
        if run.status is RunStatus.COMPLETED:
            self._metrics.rows.inc(run.rows or 0)
            self._metrics.bytes.inc(run.bytes or 0)
