"""Helpers for asyncio that several layers need."""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def uninterruptible(work: Awaitable[T]) -> T:
    """Wait until `work` has ended, also if this task is cancelled in between; the cancellation is raised after that."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        with contextlib.suppress(Exception):
            task.result()
        raise cancelled
    return task.result()
