"""Who may run now: a worker takes no more queries at a time than it has memory and places for.

None of one project is taken at the cost of another's.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from orchestrator.model.errors import EngineCrashed, OutOfMemory, WorkerBusy

MAX_WAIT_SECONDS = 600.0
_TICK_SECONDS = 0.25
# So long does a query wait in the last place that the worker has, if others of its project run. Then it goes back to
# the queue in Temporal, from which one of another project may come.
_IN_THE_WAY_SECONDS = 1.0


@dataclass(eq=False)
class _Waiter:
    project_id: int
    memory_mb: int
    come: asyncio.Future[None]
    since: float = field(default_factory=time.monotonic)


class Admission:
    """Lets queries in while their memory limits add up to no more than `total_mb` MiB.

    Projects that run least come first. `queries` of one project may run at a time, and one more of a project that runs
    none; `reserve_mb` MiB are free for that one: a project that runs something gets no more if less would be left.
    Without `queries` there is no bound to their number.

    Of one project, a small query never overtakes a large one: else a stream of small ones would keep the large one out
    for ever. One of a project that runs nothing does, for half as long as the large one waits at most.
    """

    def __init__(
        self,
        total_mb: int,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
        *,
        queries: int | None = None,
        reserve_mb: int = 0,
    ) -> None:
        self._total_mb = self._free_mb = total_mb
        self._patience = max_wait_seconds
        self._queries = queries
        self._reserve_mb = reserve_mb if queries else 0
        self._running: Counter[int] = Counter()
        self._queue: list[_Waiter] = []

    @asynccontextmanager
    async def admit(self, memory_mb: int, on_wait: Callable[[], None], *, project_id: int = 0) -> AsyncIterator[None]:
        """Hold `memory_mb` MiB for as long as the context lasts. `on_wait` is called a few times a second until then.

        Raises OutOfMemory if the worker will never have as much, WorkerBusy if it does not within the patience of this
        object, or if it would wait for others of its project in the worker's last place, and EngineCrashed if it is
        closed meanwhile. Cancelling works at once, and lets the next one in.
        """
        if memory_mb > self._total_mb:
            raise OutOfMemory(
                f"The query may use {memory_mb:,} MiB of memory, but the queries of this worker may use only "
                f"{self._total_mb:,} MiB together (MATVIEW_WORKER_MEMORY_MB)."
            )
        turn = _Waiter(project_id, memory_mb, asyncio.get_running_loop().create_future())
        self._queue.append(turn)
        self._advance()
        try:
            await self._wait(turn, on_wait)
            yield
        finally:
            self._leave(turn)

    def close(self) -> None:
        """Send everybody away who waits."""
        for turn in self._queue:
            if not turn.come.done():
                turn.come.set_exception(EngineCrashed("The worker was stopped while the query waited for its turn."))

    async def _wait(self, turn: _Waiter, on_wait: Callable[[], None]) -> None:
        while not turn.come.done():
            waited = time.monotonic() - turn.since
            if waited > self._patience or (waited > _IN_THE_WAY_SECONDS and self._is_in_the_way(turn)):
                raise WorkerBusy
            on_wait()
            await asyncio.wait([turn.come], timeout=min(_TICK_SECONDS, self._patience))
        turn.come.result()

    def _is_in_the_way(self, turn: _Waiter) -> bool:
        """Whether a query of another project finds no place to wait in, since this one waits for its own project."""
        if self._queries is None or len(self._queue) + self._running.total() <= self._queries:
            return False
        ahead = next(one for one in self._queue if one.project_id == turn.project_id)
        return self._running[turn.project_id] > 0 or ahead is not turn

    def _leave(self, turn: _Waiter) -> None:
        if turn in self._queue:
            self._queue.remove(turn)
        else:
            self._free_mb += turn.memory_mb
            self._running[turn.project_id] -= 1
        self._advance()

    def _advance(self) -> None:
        while (turn := self._next()) is not None:
            self._queue.remove(turn)
            self._free_mb -= turn.memory_mb
            self._running[turn.project_id] += 1
            turn.come.set_result(None)

    def _next(self) -> _Waiter | None:
        """Whom to let in now: the first of each project in turn, those of projects that run least first."""
        heads: dict[int, _Waiter] = {}
        for turn in self._queue:
            if not turn.come.done():
                heads.setdefault(turn.project_id, turn)
        large_waits = False
        for turn in sorted(heads.values(), key=lambda turn: (self._running[turn.project_id], turn.since)):
            runs_already = self._running[turn.project_id] > 0
            if not self._has_a_right(turn) or (large_waits and runs_already):
                continue
            if turn.memory_mb <= self._free_mb:
                return turn
            if time.monotonic() - turn.since > self._patience / 2:
                return None
            large_waits = True
        return None

    def _has_a_right(self, turn: _Waiter) -> bool:
        """Whether the project may have one more, as far as that is for the sake of others."""
        if self._queries is None:
            return True
        running = self._running.total()
        if not self._running[turn.project_id]:
            return running <= self._queries
        left = self._free_mb - turn.memory_mb
        return running < self._queries and left >= self._reserve_mb
