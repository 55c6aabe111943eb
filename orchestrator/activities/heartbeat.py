"""Heartbeats of an activity at an even pace, whatever it is doing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from temporalio import activity


@asynccontextmanager
async def heartbeating(seconds: float, details: Callable[[], tuple[object, ...]] = tuple) -> AsyncIterator[None]:
    """Send a heartbeat with `details` every so many seconds, so that the server notices when the worker dies.

    The first one is sent after that time: an activity that is over by then has cost the server no call.
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
