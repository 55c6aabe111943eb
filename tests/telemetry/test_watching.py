"""What a worker measures beside its runs, and that it keeps none of them waiting."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from orchestrator.model.base import now
from orchestrator.model.limits import Limits
from orchestrator.model.run import Run, RunPlan, RunStatus
from orchestrator.model.snapshot import Snapshot
from orchestrator.telemetry.activities import TelemetryInterceptor
from orchestrator.telemetry.instruments import WorkerMetrics
from orchestrator.telemetry.queries import QueryMeter
from orchestrator.telemetry.runs import RunCounter
from tests.runs import a_run
from tests.support import until

LIMITS = Limits(memory_mb=512, threads=1, temp_disk_mb=1, output_mb=1)
SCHEDULED = {"trigger": "schedule"}


def run(status: RunStatus) -> Run:
    """A run of a schedule that began now, an hour after the moment that its schedule names: it has jitter."""
    began = now()
    ended = None if status is RunStatus.RUNNING else began
    return a_run(status, scheduled_for=began - timedelta(hours=1), started_at=began, finished_at=ended, attempt=1)


def plan(run_id: UUID) -> RunPlan:
    ids = {"run_id": run_id, "saved_query_id": uuid4(), "revision_id": uuid4()}
    return RunPlan(**ids, project_id=1, name="v", sql="SELECT 1", relations=(), timeout_seconds=60)


def snapshot(run_id: UUID) -> Snapshot:
    ids = {"id": uuid4(), "run_id": run_id, "saved_query_id": uuid4(), "revision_id": uuid4()}
    told = {"location": "x", "files": (), "rows": 0, "bytes": 0, "columns": (), "inputs": (), "engine_version": "x"}
    return Snapshot(**ids, **told, attempt=1, created_at=now())


async def test_the_jitter_of_a_schedule_is_no_wait_in_a_queue() -> None:
    registry, running = CollectorRegistry(), run(RunStatus.RUNNING)

    async def find(_: UUID) -> Run:
        return running

    meter = QueryMeter(WorkerMetrics(registry), LIMITS, find)
    with meter.measuring(plan(running.id)):
        pass

    async def counted() -> bool:
        return registry.get_sample_value("matview_run_queue_seconds_count", SCHEDULED) == 1

    await until(counted, "the wait to be known")
    waited = registry.get_sample_value("matview_run_queue_seconds_sum", SCHEDULED)
    assert waited is not None
    assert waited < timedelta(minutes=30).total_seconds()


class Publishing(ActivityInboundInterceptor):
    """The end of a chain of interceptors: an activity that has done its work."""

    def __init__(self) -> None:
        pass

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ARG002 - the SDK's signature
        return "published"


async def test_a_run_is_published_before_a_slow_catalog_tells_of_it_and_is_counted_after() -> None:
    registry, completed, answers = CollectorRegistry(), run(RunStatus.COMPLETED), asyncio.Event()

    async def find(_: UUID) -> Run:
        await answers.wait()
        return completed

    interceptor = TelemetryInterceptor(RunCounter(WorkerMetrics(registry), find))

    async def publish(published: Snapshot) -> object:
        step = ExecuteActivityInput(fn=publish, args=[published], executor=None, headers={})
        return await interceptor.intercept_activity(Publishing()).execute_activity(step)

    async def counted() -> bool:
        labels = SCHEDULED | {"status": "Completed", "error_code": ""}
        return registry.get_sample_value("matview_runs_total", labels) == 1

    async with asyncio.timeout(30):
        assert await ActivityEnvironment().run(publish, snapshot(completed.id)) == "published"
    assert not await counted()
    answers.set()
    await until(counted, "the run to be counted")
