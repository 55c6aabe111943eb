"""Heartbeats of an activity at regular intervals, independent of its work."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from temporalio import activity


@asynccontextmanager
async def heartbeating(seconds: float, details: Callable[[], tuple[object, ...]] = tuple) -> AsyncIterator[None]:
    """Send a heartbeat with `details` at intervals of `seconds`, so that the server notices when the worker dies.

    The first one is sent after that time: an activity that ends sooner costs the server no call.
    """

    async def beat() -> None:
        while True:
            await asyncio.sleep(seconds)
            activity.heartbeat(*details())

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()


def workflow_ids() -> tuple[str, UUID]:
    """The workflow id and workflow run id that the current activity belongs to."""
    info = activity.info()
    if info.workflow_id is None or info.workflow_run_id is None:
        raise RuntimeError("this activity is a step of a workflow")
    return info.workflow_id, UUID(info.workflow_run_id)
