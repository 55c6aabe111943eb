"""Limits how many requests of one project, or with one key, a process works on at a time.

A request in progress may hold a connection to PostgreSQL, a parser or a call to Temporal. A process has few of them.
Without a limit for each project, the one with the most requests would hold them all.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from orchestrator.model.errors import TooManyRequests

# A process has twenty connections to PostgreSQL, so two projects at their limit leave some to the others.
AT_ONCE = 6
# Further requests wait for their turn in the order of arrival: at most so many, and each for at most so long.
WAITING = 200
LONGEST_WAIT_SECONDS = 30.0


class Shares:
    """The turns of every project and every key. One without requests takes no memory."""

    def __init__(
        self, *, at_once: int = AT_ONCE, waiting: int = WAITING, longest_wait: float = LONGEST_WAIT_SECONDS
    ) -> None:
        self._at_once = at_once
        self._waiting = waiting
        self._longest_wait = longest_wait
        self._busy: dict[Hashable, int] = {}
        self._queues: dict[Hashable, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, whose: Hashable) -> AsyncIterator[None]:
        """Wait for a turn of a project or a key, and hold it. Raises TooManyRequests if too many wait, or too long."""
        await self._take(whose)
        try:
            yield
        finally:
            self._give_back(whose)

    async def _take(self, whose: Hashable) -> None:
        busy = self._busy.get(whose, 0)
        if busy < self._at_once:
            self._busy[whose] = busy + 1
            return
        queue = self._queues.setdefault(whose, deque())
        if len(queue) >= self._waiting:
            raise TooManyRequests
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(self._longest_wait):
                await turn
        except TimeoutError:
            self._leave(whose, turn)
            raise TooManyRequests from None
        except BaseException:
            self._leave(whose, turn)
            raise

    def _leave(self, whose: Hashable, turn: "asyncio.Future[None]") -> None:
        """Leave the queue. A turn that was granted at this moment passes to the next request."""
        if turn.done() and not turn.cancelled():
            self._give_back(whose)
        elif turn in (queue := self._queues.get(whose, deque())):
            queue.remove(turn)

    def _give_back(self, whose: Hashable) -> None:
        queue = self._queues.get(whose)
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)  # the turn is passed on, so the number of busy requests stays
                return
        self._queues.pop(whose, None)
        self._busy[whose] -= 1
        if not self._busy[whose]:
            del self._busy[whose]
