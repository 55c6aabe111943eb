"""The Prometheus metrics of a worker. Dashboards and alerts use these names, so they must not change."""

import itertools

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from orchestrator.model.check import CheckStatus, CheckType, Severity
from orchestrator.model.findings import FindingKind
from orchestrator.model.run import RunStatus, Trigger

# Histogram buckets in seconds, for queries that end at once and for those that take a night.
SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600)


class WorkerMetrics:
    """The instruments of a worker, registered in `registry`.

    A run is counted by the worker that ends it. A run that no worker could end, as after an operator's terminate, is
    closed by the reconciler and counted among its findings instead.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.runs = Counter(
            "matview_runs_total",
            "Runs that ended, by how they did and by who started them",
            ["status", "trigger", "error_code"],
            registry=registry,
        )
        self.failed = Counter(
            "matview_runs_failed_total",
            "Runs that failed; unlike those by the code of their error, it begins at 0",
            registry=registry,
        )
        self.run_seconds = Histogram(
            "matview_run_duration_seconds",
            "From the start of a run to its end",
            ["status"],
            buckets=SECONDS,
            registry=registry,
        )
        self.queue_seconds = Histogram(
            "matview_run_queue_seconds",
            "From the start of a run until its query was let in",
            ["trigger"],
            buckets=SECONDS,
            registry=registry,
        )
        self.rows = Counter("matview_written_rows_total", "Rows of results that were published", registry=registry)
        self.bytes = Counter("matview_written_bytes_total", "Size of results that were published", registry=registry)
        self.queries = Counter(
            "matview_queries_total",
            "Attempts to run a query, by how they ended: completed, cancelled, or the code of the error",
            ["outcome"],
            registry=registry,
        )
        self.query_seconds = Histogram(
            "matview_query_duration_seconds",
            "From when a query was let in to its end, however it ended",
            buckets=SECONDS,
            registry=registry,
        )
        self.checks = Counter(
            "matview_checks_total",
            "Checks that runs made, by how they ended: passed, failed, or error if one could not be run",
            ["check_type", "severity", "outcome"],
            registry=registry,
        )
        self.running = Gauge("matview_queries_running", "Queries that run now", registry=registry)
        self.waiting = Gauge("matview_queries_waiting", "Queries that wait for memory", registry=registry)
        self.admitted = Gauge(
            "matview_query_memory_admitted_bytes", "Memory limits of the queries that run now", registry=registry
        )
        self.memory = Gauge(
            "matview_query_memory_limit_bytes", "What those limits may add up to in this worker", registry=registry
        )
        self.findings = Counter(
            "matview_reconciler_findings_total",
            "Findings of the reconciler, repaired unless the kind says otherwise",
            ["kind"],
            registry=registry,
        )
        self.reconciled = Gauge(
            "matview_reconciler_last_success_timestamp_seconds",
            "When this worker last ended a look of the reconciler; 0: not yet",
            registry=registry,
        )
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Start the series of each label at 0: Prometheus sees no increase in a series that appears with 1."""
        for trigger in Trigger:
            self.queue_seconds.labels(trigger.value)
            for status in (RunStatus.COMPLETED, RunStatus.SKIPPED, RunStatus.CANCELLED):
                self.runs.labels(status.value, trigger.value, "")
        for status in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED):
            self.run_seconds.labels(status.value)
        for kind in FindingKind:
            self.findings.labels(kind.value)
        for check_type, severity, outcome in itertools.product(CheckType, Severity, CheckStatus):
            self.checks.labels(check_type.value, severity.value, outcome.value)
        for ended in ("completed", "cancelled"):
            self.queries.labels(ended)
