"""A generation of one over steps of the test's own, on a real server: every way in which a step can end."""

import asyncio
import itertools
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio import activity
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError

from orchestrator.activities.progress import report_trouble
from orchestrator.model.errors import WorkerBusy
from orchestrator.model.run import RunOutcome, RunStatus
from tests.workflows.stand_ins import PATIENCE, Held, Steps, running


def only(name: str, step: Any) -> Steps:
    """Steps of which only this one does anything."""
    return Steps(**{name: step})


async def outcome(handle: WorkflowHandle[Any, RunOutcome]) -> RunOutcome:
    return await asyncio.wait_for(handle.result(), PATIENCE)


async def test_a_run_that_meets_nothing_is_published_and_not_closed(temporal: Client) -> None:
    steps = Steps()
    async with running(temporal, steps) as handle:
        done = await outcome(handle)
    assert (done.status, done.rows, steps.published, steps.closed) == (RunStatus.COMPLETED, 3, [("v",)], [])


@pytest.mark.parametrize("name", ["begin", "write"])
async def test_a_cancel_before_publication_ends_the_step_and_closes_the_run(temporal: Client, name: str) -> None:
    held = Held()
    steps = only(name, held)
    async with running(temporal, steps) as handle:
        await asyncio.wait_for(held.begun.wait(), PATIENCE)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as raised:
            await outcome(handle)
    assert isinstance(raised.value.cause, CancelledError)
    assert steps.published == []
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
    # workflow then runs the task again, is cancelled in it, and learns from `close` that the run was published.
    assert (done.status, steps.published) == (RunStatus.COMPLETED, [("v",)])


@pytest.mark.parametrize("name", ["begin", "write", "publish"])
async def test_a_step_that_cannot_succeed_closes_the_run_with_its_error(temporal: Client, name: str) -> None:
    async def fail(_: str = "") -> None:
        raise ApplicationError("It cannot be done.", type="query_failed", non_retryable=True)

    steps = only(name, fail)
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

    async def fail_once(_: str = "") -> None:
        tries.append(uuid4())
        if len(tries) == 1:
            raise ApplicationError("Try again.", type="worker_busy")

    steps = only(name, fail_once)
    async with running(temporal, steps) as handle:
        done = await outcome(handle)
    assert (done.status, len(tries), steps.closed) == (RunStatus.COMPLETED, 2, [])


async def test_the_page_of_a_run_says_why_its_query_is_tried_again(temporal: Client) -> None:
    held, tries = Held(), itertools.count()

    async def fail_once(_: str = "") -> None:
        if next(tries) == 0:
            await report_trouble(UUID(activity.info().activity_id), WorkerBusy("It has no memory."))
            raise ApplicationError("It has no memory.", type="worker_busy")
        await held()

    async with running(temporal, Steps(write=fail_once)) as handle:
        await asyncio.wait_for(held.begun.wait(), PATIENCE)
        page = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        held.released.set()
        await outcome(handle)
    assert "Is tried again, after It has no memory." in page.current_details


async def test_a_run_of_a_view_that_a_larger_generation_has_is_skipped(temporal: Client) -> None:
    steps = Steps(held_by=["refresh/1/x"])
    async with running(temporal, steps) as handle:
        done = await outcome(handle)
    assert (done.status, done.detail) == (
        RunStatus.SKIPPED,
        "A generation of several views refreshes this view already.",
    )
    assert (steps.queried, steps.published, steps.closed) == ([], [], [])
