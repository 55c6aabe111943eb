"""Who may run now: a worker takes no more queries at a time than its memory holds."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from orchestrator.model.errors import EngineCrashed, OutOfMemory, WorkerBusy

PATIENCE_SECONDS = 600.0
_TICK_SECONDS = 0.25


class _Turn(NamedTuple):
    memory_mb: int
    come: asyncio.Future[None]


class Admission:
    """Lets queries in, first come, first served, while their memory limits add up to no more than `total_mb` MiB.

    A small query never overtakes a large one: else a stream of small ones would keep the large one out for ever.
    """

    def __init__(self, total_mb: int, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._total_mb = self._free_mb = total_mb
        self._patience = patience_seconds
        self._queue: deque[_Turn] = deque()

    @asynccontextmanager
    async def admit(self, memory_mb: int, on_wait: Callable[[], None]) -> AsyncIterator[None]:
        """Hold `memory_mb` MiB for as long as the context lasts. `on_wait` is called a few times a second until then.

        Raises OutOfMemory if the worker will never have as much, WorkerBusy if it does not within the patience of this
        object, and EngineCrashed if it is closed meanwhile. Cancelling works at once, and lets the next one in.
        """
        if memory_mb > self._total_mb:
            raise OutOfMemory(
                f"The query may use {memory_mb:,} MiB of memory, but the queries of this worker may use only "
                f"{self._total_mb:,} MiB together (MATVIEW_WORKER_MEMORY_MB)."
            )
        turn = _Turn(memory_mb, asyncio.get_running_loop().create_future())
        self._queue.append(turn)
        self._advance()
        try:
            await self._wait(turn.come, on_wait)
            yield
        finally:
            self._leave(turn)

    def close(self) -> None:
        """Send everybody away who waits."""
        for turn in self._queue:
            if not turn.come.done():
                turn.come.set_exception(EngineCrashed("The worker was stopped while the query waited for its turn."))

    async def _wait(self, come: asyncio.Future[None], on_wait: Callable[[], None]) -> None:
        began = time.monotonic()
        while not come.done():
            if time.monotonic() - began > self._patience:
                raise WorkerBusy
            on_wait()
            await asyncio.wait([come], timeout=min(_TICK_SECONDS, self._patience))
        come.result()

    def _leave(self, turn: _Turn) -> None:
        if turn in self._queue:
            self._queue.remove(turn)
        else:
            self._free_mb += turn.memory_mb
        self._advance()

    def _advance(self) -> None:
        while self._queue and self._queue[0].memory_mb <= self._free_mb and not self._queue[0].come.done():
            turn = self._queue.popleft()
            self._free_mb -= turn.memory_mb
            turn.come.set_result(None)
