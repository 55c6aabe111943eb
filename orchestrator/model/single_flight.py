"""Calls that many callers make for the same key at the same time, run once for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Runs one call at a time for each key. Callers that arrive while it runs share the next one.

    So each caller gets the outcome of a call that began after it asked. With any number of callers, at most one call
    runs and one waits. A call goes on if a caller is cancelled, since another may wait for it too.
    """

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[T]] = {}
        self._next: dict[K, asyncio.Task[T]] = {}

    async def call(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        """Return or raise the outcome of `work`, or of the `work` that another caller gave for the same key."""
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._in_turn(key, self._running.get(key), work))
            task.add_done_callback(_looked_at)
            self._next[key] = task
        return await asyncio.shield(task)

    async def _in_turn(self, key: K, before: asyncio.Task[T] | None, work: Callable[[], Awaitable[T]]) -> T:
        if before is not None:
            await asyncio.wait([before])
        self._running[key] = self._next.pop(key)
        try:
            return await work()
        finally:
            del self._running[key]


def _looked_at(task: "asyncio.Task[T]") -> None:
    """Retrieve a failure: if every caller was cancelled, asyncio would log that it was never retrieved."""
    if not task.cancelled():
        task.exception()
