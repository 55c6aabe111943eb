"""Helpers for asyncio that several layers need."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
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


async def acquire(work: Awaitable[T], release: Callable[[T], object]) -> T:
    """Wait for `work`, which opens something. If this task is cancelled in between, what was opened is released."""
    task = asyncio.ensure_future(work)
    try:
        return await uninterruptible(task)
    except asyncio.CancelledError:
        if not task.cancelled() and task.exception() is None:
            release(task.result())
        raise
