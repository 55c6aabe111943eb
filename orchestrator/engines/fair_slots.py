"""Fair scheduling: a few slots that all projects share, so that none of them can take them all."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.model.errors import AnalyzerBusy, TooManyRequests


class FairSlots:
    """Gives `size` slots to projects, first to those that hold fewest. Each holds at most `share` of them at a time.

    Among projects that hold equally many, the one that was served longest ago comes first.

    At most `queue` requests of a project may wait. The next one is refused at once, which affects no other project.
    """

    def __init__(self, *, size: int, share: int, queue: int) -> None:
        self._free = size
        self._share = share
        self._longest = queue
        self._held: Counter[int] = Counter()
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}
        # The order in which projects were last served: only those that hold a slot or wait for one.
        self._served: dict[int, int] = {}
        self._count = 0

    def is_full_of(self, project_id: int) -> bool:
        """Whether a request of the project would wait for others of the same project."""
        return self._held[project_id] >= self._share

    @asynccontextmanager
    async def turn(self, project_id: int, *, seconds: float | None = None) -> AsyncIterator[None]:
        """Hold a slot while the context lasts, after a wait of at most `seconds`. Cancelling gives the slot back.

        Raises TooManyRequests if the queue is full, or if the wait takes too long and the project holds its share;
        AnalyzerBusy if it takes too long otherwise.
        """
        clock = asyncio.timeout(seconds)
        try:
            async with clock:
                await self._enter(project_id)
        except TimeoutError:
            if not clock.expired():
                raise
            raise (TooManyRequests if self.is_full_of(project_id) else AnalyzerBusy) from None
        try:
            yield
        finally:
            self._leave(project_id)

    async def _enter(self, project_id: int) -> None:
        queue = self._waiting.setdefault(project_id, deque())
        if len(queue) >= self._longest:
            raise TooManyRequests
        granted = asyncio.get_running_loop().create_future()
        queue.append(granted)
        self._advance()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._give_up(project_id, granted)
            else:  # the slot was given at the same moment
                self._leave(project_id)
            raise

    def _give_up(self, project_id: int, granted: asyncio.Future[None]) -> None:
        queue = self._waiting.get(project_id)
        if queue is not None and granted in queue:
            queue.remove(granted)
            self._forget(project_id)

    def _leave(self, project_id: int) -> None:
        self._free += 1
        self._held[project_id] -= 1
        self._advance()
        self._forget(project_id)

    def _advance(self) -> None:
        while self._free:
            able = [one for one, queue in self._waiting.items() if queue and not self.is_full_of(one)]
            if not able:
                return
            project_id = min(able, key=lambda one: (self._held[one], self._served.get(one, 0)))
            granted = self._waiting[project_id].popleft()
            if not granted.done():
                self._free -= 1
                self._held[project_id] += 1
                self._count += 1
                self._served[project_id] = self._count
                granted.set_result(None)

    def _forget(self, project_id: int) -> None:
        """Drop the state of a project that neither holds a slot nor waits for one."""
        if not self._held[project_id] and not self._waiting.get(project_id):
            for kept in (self._held, self._waiting, self._served):
                kept.pop(project_id, None)
