"""The workers that the Temporal server lists as the pollers of a task queue."""

from uuid import uuid4

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from orchestrator.temporal.diagnostics import Poller, ServerInfo
from tests.support.tenants import until


@activity.defn
async def nothing() -> None:
    """Does nothing."""


def a_worker(temporal: Client, queue: str) -> Worker:
    # In a container that is started again, a process has the number and the host that it had before.
    return Worker(temporal, task_queue=queue, activities=[nothing], identity="1@the-same-container")


async def test_a_worker_that_comes_back_under_its_old_name_is_not_taken_for_stopped(temporal: Client) -> None:
    queue, server = f"test-{uuid4().hex}", ServerInfo(temporal)

    async def ask() -> Poller | None:
        return next(iter(await server.pollers(queue, "activity")), None)

    async def stopped() -> bool:
        poller = await ask()
        return poller is not None and poller.stopped

    async def polls() -> bool:
        poller = await ask()
        return poller is not None and not poller.stopped

    async with a_worker(temporal, queue):
        await until(polls, "a poll")
    await until(stopped, "the worker's leave")
    async with a_worker(temporal, queue):
        await until(polls, "a poll under the old name")
