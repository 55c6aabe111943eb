"""Counts runs, as the catalog records them, and the reconciler's findings."""

import time
from collections import OrderedDict
from uuid import UUID

from orchestrator.model.findings import ReconcileReport
from orchestrator.model.run import Run, RunStatus
from orchestrator.telemetry.instruments import WorkerMetrics

# An activity that is repeated after a lost answer ends its run again. So many runs are remembered to count each once.
_REMEMBERED = 10_000


class RunCounter:
    """Counts each run once, when it ends, and the findings of the reconciler."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._counted: OrderedDict[UUID, None] = OrderedDict()

    def ended(self, run: Run) -> None:
        """Count a run that has ended, unless it was counted before."""
        if run.id in self._counted:
            return
        self._counted[run.id] = None
        if len(self._counted) > _REMEMBERED:
            self._counted.popitem(last=False)
        self._count(run)

    def reconciled(self, report: ReconcileReport) -> None:
        """Count the findings of a reconciliation, unless it was a dry run."""
        if report.dry_run:
            return
        for finding in report.findings:
            self._metrics.findings.labels(finding.kind.value).inc()
        self._metrics.reconciled.set(time.time())

    def _count(self, run: Run) -> None:
        self._metrics.runs.labels(run.status.value, run.trigger.value, run.error_code or "").inc()
        if run.status is RunStatus.FAILED:
            self._metrics.failed.inc()
        # A skipped run did nothing that its time could be compared with.
        if run.finished_at is not None and run.status is not RunStatus.SKIPPED:
            seconds = (run.finished_at - run.started_at).total_seconds()
            self._metrics.run_seconds.labels(run.status.value).observe(seconds)
        if run.status is RunStatus.COMPLETED:
            self._metrics.rows.inc(run.rows or 0)
            self._metrics.bytes.inc(run.bytes or 0)
