"""The metrics of a worker beside those of its runs."""

from datetime import datetime, timedelta
from uuid import uuid4

from prometheus_client import CollectorRegistry

from orchestrator.model.base import now
from orchestrator.model.limits import Limits
from orchestrator.model.run import Progress, RunPlan, Trigger
from orchestrator.telemetry.engine import QueryMetrics
from orchestrator.telemetry.instruments import WorkerMetrics

LIMITS = Limits(memory_mb=512, threads=1, temp_disk_mb=1, output_mb=1)


def plan(queued_at: datetime | None) -> RunPlan:
    ids = {"run_id": uuid4(), "generation_id": uuid4(), "saved_query_id": uuid4(), "revision_id": uuid4()}
    fields = {"project_id": 1, "name": "v", "sql": "SELECT 1", "relations": (), "timeout_seconds": 60}
    return RunPlan(**ids, **fields, trigger=Trigger.SCHEDULE, queued_at=queued_at)


def queued(registry: CollectorRegistry, what: str) -> float | None:
    return registry.get_sample_value(f"matview_run_queue_seconds_{what}", {"trigger": "schedule"})


def test_a_query_is_queued_from_the_beginning_of_its_run_until_it_is_admitted() -> None:
    registry = CollectorRegistry()
    with QueryMetrics(WorkerMetrics(registry), LIMITS).track(plan(now() - timedelta(minutes=10))) as tell:
        tell(Progress(percent=None, elapsed_seconds=0, waiting=True))
        tell(Progress(percent=None, elapsed_seconds=0))
    assert queued(registry, "count") == 1
    waited = queued(registry, "sum")
    assert waited is not None
    assert 600 <= waited < 900


def test_a_query_that_is_never_admitted_or_is_tried_again_has_not_been_queued() -> None:
    registry = CollectorRegistry()
    meter = QueryMetrics(WorkerMetrics(registry), LIMITS)
    with meter.track(plan(now())) as tell:
        tell(Progress(percent=None, elapsed_seconds=0, waiting=True))
    with meter.track(plan(None)):
        pass
    assert queued(registry, "count") in {None, 0}
