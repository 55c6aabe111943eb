"""The processes that look at SQL and at source files without running anything, and serve one by one."""

import asyncio
import contextlib
from typing import Any

from orchestrator.engines.process import Child, Fences
from orchestrator.model.errors import EngineCrashed, OrchestratorError, Transient

Answer = tuple[dict[str, Any] | None, int | None]


class Analysts:
    """Up to `size` processes within `fences`, started when they are needed.

    They stay for the next request, unless `stays` is False: then each serves one, and is left the files of that one.
    `seconds` bounds what a request takes, the wait for a free process included.
    """

    def __init__(self, *, size: int, fences: Fences, seconds: float, stays: bool = True) -> None:
        self.seconds = seconds
        self.children: list[Child] = []
        self._idle: list[Child] = []
        self._fences = fences
        self._stays = stays
        self._turns = asyncio.Semaphore(size)
        self._closed = False

    async def ask(self, request: dict[str, Any], too_slow: OrchestratorError) -> Answer:
        """The answer to a request, or None and the exit status of the process that died of it.

        Raises `too_slow` if the request takes too long by itself, and Transient if others were in its way.
        """
        waits = self._turns.locked()
        clock = asyncio.timeout(self.seconds)
        try:
            async with clock, self._turns:
                return await self._ask(request)
        except TimeoutError:
            if not clock.expired():
                raise
            busy = Transient("The server is busy reading other queries. Try again in a moment.")
            raise (busy if waits else too_slow) from None

    async def close(self) -> None:
        """End all processes."""
        self._closed = True
        self._idle.clear()
        for child in [*self.children]:
            await child.end()
            self._forget(child)

    async def _ask(self, request: dict[str, Any]) -> Answer:
        if self._idle:
            answer, status = await self._exchange(self._idle.pop(), request)
            # A process that waited may have died of something else long ago, which is no fault of this request.
            if answer is not None or self._closed:
                return answer, status
        child = await Child.start(self._fences)
        self.children.append(child)
        return await self._exchange(child, request)

    async def _exchange(self, child: Child, request: dict[str, Any]) -> Answer:
        answer, status = None, None
        try:
            answer = await child.ask(request)
        finally:
            # Without an answer, or with a broken DuckDB, whoever asks next would be answered wrongly.
            if answer is None or answer.get("error") == EngineCrashed.code or self._closed or not self._stays:
                status = await child.end()
                self._forget(child)
            else:
                self._idle.append(child)
        return answer, status

    def _forget(self, child: Child) -> None:
        with contextlib.suppress(ValueError):
            self.children.remove(child)
