"""Work that many want of one thing at the same moment, done once for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """One call at a time for each key. Those who ask while it goes on share the next one.

    So each is given the outcome of a call that began after it asked, and however many ask, no more than one is under
    way and one waits. A call goes on if those who wait for it are cancelled: another may wait for it too.
    """

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[T]] = {}
        self._next: dict[K, asyncio.Task[T]] = {}

    async def call(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns or raises, or the `work` of another caller who asked for the same."""
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
    """Take note of a failure: if every caller has given up, asyncio would complain that none did."""
    if not task.cancelled():
        task.exception()
