"""Admission control: a worker runs only as many queries at a time as it has memory and slots for.

No project can starve another.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from orchestrator.model.errors import EngineCrashed, OutOfMemory, WorkerBusy

MAX_WAIT_SECONDS = 600.0
_TICK_SECONDS = 0.25
# A query waits at most this long in the last slot of the worker's activities while others of its project run. Then it
# goes back to the task queue in Temporal, so that the worker can take a query of another project.
_LAST_SLOT_SECONDS = 1.0


# The slot of the worker's activities in which queries run that share one.
_shared_slot: ContextVar[object | None] = ContextVar("shared_slot", default=None)


@contextmanager
def sharing_slot() -> Iterator[None]:
    """Have all queries that are begun within the context, also by tasks that it starts, take one slot together."""
    token = _shared_slot.set(object())
    try:
        yield
    finally:
        _shared_slot.reset(token)


@dataclass(eq=False)
class _Waiter:
    project_id: int
    memory_mb: int
    admitted: asyncio.Future[None]
    slot: object
    since: float = field(default_factory=time.monotonic)


class Admission:
    """Admits queries while their memory limits add up to no more than `total_mb` MiB.

    Projects that run fewest queries come first. At most `queries` run at a time, and one more of a project that runs
    none. `reserve_mb` MiB stay free for that one: a project that runs a query is admitted only if as much is left.
    Without `queries`, neither limit applies. `slots` is how many queries the worker takes at a time, those that wait
    included. Queries that share one count as one.

    Within a project, a small query never overtakes a large one: otherwise a stream of small ones could block it without
    end. A query of a project that runs nothing may overtake it, until the large one has waited half of
    `max_wait_seconds`.
    """

    def __init__(
        self,
        total_mb: int,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
        *,
        queries: int | None = None,
        slots: int = 0,
        reserve_mb: int = 0,
    ) -> None:
        self._total_mb = self._free_mb = total_mb
        self._patience = max_wait_seconds
        self._queries = queries
        self._slots = max(slots, (queries or 0) + 1)
        self._reserve_mb = reserve_mb if queries else 0
        self._running: Counter[int] = Counter()
        self._used_slots: Counter[object] = Counter()
        self._queue: list[_Waiter] = []

    @asynccontextmanager
    async def admit(self, memory_mb: int, on_wait: Callable[[], None], *, project_id: int = 0) -> AsyncIterator[None]:
        """Hold `memory_mb` MiB while the context lasts. Until they are free, `on_wait` is called a few times a second.

        Raises OutOfMemory if that is more than the worker's total. Raises WorkerBusy after `max_wait_seconds`, or if
        the query would wait for others of its project in the worker's last slot. Raises EngineCrashed if this object is
        closed during the wait. Cancelling takes effect at once, and admits the next query.
        """
        if memory_mb > self._total_mb:
            raise OutOfMemory(
                f"The query may use {memory_mb:,} MiB of memory, but the queries of this worker may use only "
                f"{self._total_mb:,} MiB together (MATVIEW_WORKER_MEMORY_MB)."
            )
        slot = _shared_slot.get() or object()
        turn = _Waiter(project_id, memory_mb, asyncio.get_running_loop().create_future(), slot)
        self._queue.append(turn)
        self._used_slots[slot] += 1
        self._advance()
        try:
            await self._wait(turn, on_wait)
            yield
        finally:
            self._leave(turn)

    def close(self) -> None:
        """Make each waiting query fail with EngineCrashed."""
        for turn in self._queue:
            if not turn.admitted.done():
                turn.admitted.set_exception(
                    EngineCrashed("The worker was stopped while the query waited for its turn.")
                )

    async def _wait(self, turn: _Waiter, on_wait: Callable[[], None]) -> None:
        while not turn.admitted.done():
            waited = time.monotonic() - turn.since
            if waited > self._patience or (waited > _LAST_SLOT_SECONDS and self._is_in_the_way(turn)):
                raise WorkerBusy
            on_wait()
            await asyncio.wait([turn.admitted], timeout=min(_TICK_SECONDS, self._patience))
        turn.admitted.result()

    def _is_in_the_way(self, turn: _Waiter) -> bool:
        """Whether this query takes the last slot from other projects while it waits for others of its own project."""
        if self._queries is None or len(self._used_slots) < self._slots:
            return False
        ahead = next(one for one in self._queue if one.project_id == turn.project_id)
        return self._running[turn.project_id] > 0 or ahead is not turn

    def _leave(self, turn: _Waiter) -> None:
        if turn in self._queue:
            self._queue.remove(turn)
        else:
            self._free_mb += turn.memory_mb
            self._running[turn.project_id] -= 1
        self._used_slots[turn.slot] -= 1
        if not self._used_slots[turn.slot]:
            del self._used_slots[turn.slot]
        self._advance()

    def _advance(self) -> None:
        while (turn := self._next()) is not None:
            self._queue.remove(turn)
            self._free_mb -= turn.memory_mb
            self._running[turn.project_id] += 1
            turn.admitted.set_result(None)

    def _next(self) -> _Waiter | None:
        """The query to admit now: the first of a project, where projects that run fewest queries come first."""
        heads: dict[int, _Waiter] = {}
        for turn in self._queue:
            if not turn.admitted.done():
                heads.setdefault(turn.project_id, turn)
        large_waits = False
        for turn in sorted(heads.values(), key=lambda turn: (self._running[turn.project_id], turn.since)):
            runs_already = self._running[turn.project_id] > 0
            if not self._may_run(turn) or (large_waits and runs_already):
                continue
            if turn.memory_mb <= self._free_mb:
                return turn
            if time.monotonic() - turn.since > self._patience / 2:
                return None
            large_waits = True
        return None

    def _may_run(self, turn: _Waiter) -> bool:
        """Whether the project may run one more query without taking the share of other projects."""
        if self._queries is None:
            return True
        running = self._running.total()
        if not self._running[turn.project_id]:
            return running <= self._queries
        left = self._free_mb - turn.memory_mb
        return running < self._queries and left >= self._reserve_mb
