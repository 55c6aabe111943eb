"""What is counted of a run, and how often."""

from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.model.errors import CatalogUnavailable
from orchestrator.model.run import Run, RunStatus
from orchestrator.telemetry.instruments import WorkerMetrics
from orchestrator.telemetry.runs import RunCounter
from tests.runs import START, a_run


async def counted(*told: Run | Exception) -> CollectorRegistry:
    """The metrics after runs have been told to end, one after the other."""
    registry, answers = CollectorRegistry(), iter(told)

    async def find(_: UUID) -> Run:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    counter = RunCounter(WorkerMetrics(registry), find)
    for one in told:
        await counter.ended(one.id if isinstance(one, Run) else uuid4())
    return registry


def runs(registry: CollectorRegistry, status: str, code: str = "") -> float | None:
    labels = {"status": status, "trigger": "schedule", "error_code": code}
    return registry.get_sample_value("matview_runs_total", labels)


async def test_a_step_that_is_repeated_counts_its_run_once() -> None:
    completed = a_run(RunStatus.COMPLETED, rows=3, bytes=40)
    registry = await counted(completed, completed)
    assert runs(registry, "Completed") == 1
    assert registry.get_sample_value("matview_runs_failed_total") == 0, "there before the first failure"
    assert registry.get_sample_value("matview_written_rows_total") == 3
    assert registry.get_sample_value("matview_written_bytes_total") == 40
    assert registry.get_sample_value("matview_run_duration_seconds_sum", {"status": "Completed"}) == 20


async def test_a_run_that_has_not_ended_is_counted_once_it_has() -> None:
    running = a_run(RunStatus.RUNNING)
    failed = running.model_copy(
        update={"status": RunStatus.FAILED, "finished_at": START, "error_code": "out_of_memory"}
    )
    registry = await counted(running, failed)
    assert runs(registry, "Failed", "out_of_memory") == 1
    assert registry.get_sample_value("matview_runs_failed_total") == 1
    assert registry.get_sample_value("matview_written_rows_total") == 0


@pytest.mark.parametrize("error", [CatalogUnavailable(), RuntimeError("whatever")])
async def test_a_run_that_cannot_be_counted_goes_on(error: Exception) -> None:
    registry = await counted(error, a_run(RunStatus.CANCELLED))
    assert runs(registry, "Cancelled") == 1
