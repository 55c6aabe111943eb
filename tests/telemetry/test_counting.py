"""The metrics of a run, and that a run is counted once."""

from prometheus_client import CollectorRegistry

from orchestrator.model.run import Run, RunStatus
from orchestrator.telemetry.instruments import WorkerMetrics
from orchestrator.telemetry.runs import RunCounter
from tests.support.factories import a_run


def counted(*ended: Run) -> CollectorRegistry:
    """The metrics after these runs have been counted as ended, one after the other."""
    registry = CollectorRegistry()
    counter = RunCounter(WorkerMetrics(registry))
    for one in ended:
        counter.ended(one)
    return registry


def runs(registry: CollectorRegistry, status: str, code: str = "") -> float | None:
    labels = {"status": status, "trigger": "schedule", "error_code": code}
    return registry.get_sample_value("matview_runs_total", labels)


def test_a_step_that_is_repeated_counts_its_run_once() -> None:
    completed = a_run(RunStatus.COMPLETED, rows=3, bytes=40)
    registry = counted(completed, completed)
    assert runs(registry, "Completed") == 1
    assert registry.get_sample_value("matview_runs_failed_total") == 0, "there before the first failure"
    assert registry.get_sample_value("matview_written_rows_total") == 3
    assert registry.get_sample_value("matview_written_bytes_total") == 40
    assert registry.get_sample_value("matview_run_duration_seconds_sum", {"status": "Completed"}) == 20


def test_a_run_that_failed_is_counted_with_its_code() -> None:
    failed = a_run(RunStatus.FAILED, error_code="out_of_memory")
    registry = counted(failed, a_run(RunStatus.CANCELLED))
    assert runs(registry, "Failed", "out_of_memory") == 1
    assert runs(registry, "Cancelled") == 1
    assert registry.get_sample_value("matview_runs_failed_total") == 1
    assert registry.get_sample_value("matview_written_rows_total") == 0
