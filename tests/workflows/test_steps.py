"""A run's workflow over activities of the test's own, on a real server: every way in which a step can end.

Activities in the place of the program's are Temporal's way to test a workflow, and mock no module: the workflow, its
worker and the server are the real ones.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio import activity
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import Worker

from orchestrator.activities.progress import report_trouble
from orchestrator.model.errors import WorkerBusy
from orchestrator.model.run import CloseRequest, RunOutcome, RunPlan, RunRequest, RunStatus, Trigger
from orchestrator.model.snapshot import Snapshot
from orchestrator.model.webhook_event import CloseResult, PublishResult
from orchestrator.temporal import contract
from orchestrator.workflows.materialize import MaterializeSavedQuery
from tests.workflows.sandbox import workflow_runner

PATIENCE = 60
Step = Callable[[], Awaitable[None]]


async def nothing() -> None:
    """A step that ends at once."""


class Held:
    """A step that is in progress until the test lets it end, or until it is cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self) -> None:
        self.begun.set()
        while not self.released.is_set():
            if activity.info().heartbeat_timeout:
                activity.heartbeat()
            await asyncio.sleep(0.05)


class Steps:
    """The activities of a run. Each does what the test says, and then returns what a run needs."""

    def __init__(self, *, begin: Step = nothing, write: Step = nothing, publish: Step = nothing) -> None:
        self._steps = {"begin": begin, "write": write, "publish": publish}
        self.closed: list[CloseRequest] = []
        self.published = 0

    @activity.defn(name=contract.BEGIN_RUN)
    async def begin_run(self, request: RunRequest) -> RunPlan:
        await self._steps["begin"]()
        return RunPlan(
            run_id=uuid4(),
            project_id=1,
            saved_query_id=request.saved_query_id,
            revision_id=uuid4(),
            name="v",
            sql="SELECT 1",
            relations=(),
            timeout_seconds=60,
        )

    @activity.defn(name=contract.WRITE_SNAPSHOT)
    async def write_snapshot(self, plan: RunPlan) -> Snapshot:
        await self._steps["write"]()
        return Snapshot(
            id=uuid4(),
            run_id=plan.run_id,
            saved_query_id=plan.saved_query_id,
            revision_id=plan.revision_id,
            attempt=1,
            location="1/v/r-1",
            files=(),
            rows=3,
            bytes=4,
            columns=(),
            inputs=(),
            engine_version="none",
            created_at=datetime.now(UTC),
        )

    @activity.defn(name=contract.PUBLISH)
    async def publish(self, _: Snapshot) -> PublishResult:
        await self._steps["publish"]()
        self.published += 1
        return PublishResult()

    @activity.defn(name=contract.CLOSE_RUN)
    async def close_run(self, closing: CloseRequest) -> CloseResult:
        """As the program's does: a run that was published stays so, also if its workflow has lost the answer."""
        self.closed.append(closing)
        return CloseResult(status=RunStatus.COMPLETED if self.published else closing.status)

    def all(self) -> list[Callable[..., Any]]:
        return [self.begin_run, self.write_snapshot, self.publish, self.close_run]


@asynccontextmanager
async def running(temporal: Client, steps: Steps) -> AsyncIterator[WorkflowHandle[Any, RunOutcome]]:
    """A run whose worker has these steps."""
    queue, view = f"steps-{uuid4()}", uuid4()
    request = RunRequest(saved_query_id=view, label="v (project 1)", trigger=Trigger.API)
    async with Worker(
        temporal,
        task_queue=queue,
        workflows=[MaterializeSavedQuery],
        activities=steps.all(),
        workflow_runner=workflow_runner(),
    ):
        yield await temporal.start_workflow(
            MaterializeSavedQuery.run, request, id=contract.run_workflow_id(view), task_queue=queue
        )


async def outcome(handle: WorkflowHandle[Any, RunOutcome]) -> RunOutcome:
    return await asyncio.wait_for(handle.result(), PATIENCE)


async def test_a_run_that_meets_nothing_is_published_and_not_closed(temporal: Client) -> None:
    steps = Steps()
    async with running(temporal, steps) as handle:
        done = await outcome(handle)
    assert (done.status, done.rows, steps.published, steps.closed) == (RunStatus.COMPLETED, 3, 1, [])


@pytest.mark.parametrize("name", ["begin", "write"])
async def test_a_cancel_before_publication_ends_the_step_and_closes_the_run(temporal: Client, name: str) -> None:
    held = Held()
    steps = Steps(**{name: held})
    async with running(temporal, steps) as handle:
        await asyncio.wait_for(held.begun.wait(), PATIENCE)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as raised:
            await outcome(handle)
    assert isinstance(raised.value.cause, CancelledError)
    assert steps.published == 0
    assert [closing.status for closing in steps.closed] == [RunStatus.CANCELLED]


async def test_a_cancel_during_publication_comes_too_late(temporal: Client) -> None:
    held = Held()
    steps = Steps(publish=held)
    async with running(temporal, steps) as handle:
        await asyncio.wait_for(held.begun.wait(), PATIENCE)
        await handle.cancel()
        await asyncio.sleep(0.5)  # the cancel reaches the workflow while the step goes on
        held.released.set()
        done = await outcome(handle)
    # The server refuses the completion of a workflow task in which a cancel came, and with it the step's result. The
    # workflow then runs the task again, is cancelled in it, and learns from `close_run` that the run was published.
    assert (done.status, steps.published) == (RunStatus.COMPLETED, 1)


@pytest.mark.parametrize("name", ["begin", "write", "publish"])
async def test_a_step_that_cannot_succeed_closes_the_run_with_its_error(temporal: Client, name: str) -> None:
    async def fail() -> None:
        raise ApplicationError("It cannot be done.", type="query_failed", non_retryable=True)

    steps = Steps(**{name: fail})
    async with running(temporal, steps) as handle:
        with pytest.raises(WorkflowFailureError) as raised:
            await outcome(handle)
    assert isinstance(raised.value.cause, ApplicationError)
    assert (raised.value.cause.message, raised.value.cause.type) == ("It cannot be done.", "query_failed")
    (closing,) = steps.closed
    assert (closing.status, closing.error, closing.error_code) == (
        RunStatus.FAILED,
        "It cannot be done.",
        "query_failed",
    )


@pytest.mark.parametrize("name", ["begin", "write", "publish"])
async def test_a_step_that_fails_for_a_while_is_tried_again(temporal: Client, name: str) -> None:
    tries: list[UUID] = []

    async def fail_once() -> None:
        tries.append(uuid4())
        if len(tries) == 1:
            raise ApplicationError("Try again.", type="worker_busy")

    steps = Steps(**{name: fail_once})
    async with running(temporal, steps) as handle:
        done = await outcome(handle)
    assert (done.status, len(tries), steps.closed) == (RunStatus.COMPLETED, 2, [])


async def test_the_page_of_a_run_says_why_its_query_is_tried_again(temporal: Client) -> None:
    held, tries = Held(), itertools.count()

    async def fail_once() -> None:
        if next(tries) == 0:
            await report_trouble(WorkerBusy("It has no memory."))
            raise ApplicationError("It has no memory.", type="worker_busy")
        await held()

    async with running(temporal, Steps(write=fail_once)) as handle:
        await asyncio.wait_for(held.begun.wait(), PATIENCE)
        page = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        held.released.set()
        await outcome(handle)
    assert "Is tried again, after It has no memory." in page.current_details
