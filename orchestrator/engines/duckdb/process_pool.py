"""A pool of processes that analyse SQL and source files without running a query, one request at a time each."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from orchestrator.engines.duckdb.child_process import ChildProcess, ProcessLimits
from orchestrator.engines.duckdb.object_links import ObjectLinks
from orchestrator.engines.duckdb.priorities import Priorities
from orchestrator.engines.fair_slots import FairSlots
from orchestrator.model.errors import EngineCrashed, OrchestratorError
from orchestrator.model.remote_files import RemoteFile

Answer = tuple[dict[str, Any] | None, int | None]


# Sockets over which a process asks for remote files at a time.
_LINKS = 4
# If more requests of a project wait, the next one raises TooManyRequests: each request holds its text in memory.
_LONGEST_QUEUE = 128


class ProcessPool:
    """Up to `size` processes with the limits `process_limits`, started on demand. A project has at most all but one.

    Each serves request after request, unless `reuse` is False: then it serves one, and can open the files of that one.
    A request may take `seconds`, and may wait as long again for a free process.
    """

    def __init__(self, *, size: int, process_limits: ProcessLimits, seconds: float, reuse: bool = True) -> None:
        self.seconds = seconds
        self.children: list[ChildProcess] = []
        self._idle: list[ChildProcess] = []
        self._process_limits = process_limits
        self._reuse = reuse
        self._slots = FairSlots(size=size, share=max(1, size - 1), queue=_LONGEST_QUEUE)
        self._priorities = Priorities(remember_seconds=seconds)
        self._closed = False

    async def ask(
        self,
        project_id: int,
        request: dict[str, Any],
        too_slow: OrchestratorError,
        granted: Mapping[str, RemoteFile] | None = None,
    ) -> Answer:
        """The answer to a request; None and the exit status of the process if the process died of the request.

        `granted` are remote files that it may read, by name: only in a pool whose processes serve one request.

        Raises `too_slow` if the request itself takes too long. If it waits too long for a process, raises
        TooManyRequests if its own project uses its share of them, and AnalyzerBusy otherwise.
        """
        async with self._slots.turn(project_id, seconds=self.seconds):
            clock = asyncio.timeout(self.seconds)
            try:
                async with clock:
                    return await self._ask(project_id, request, granted)
            except TimeoutError:
                if not clock.expired():
                    raise
                raise too_slow from None

    async def close(self) -> None:
        """End all processes."""
        self._closed = True
        self._idle.clear()
        for child in [*self.children]:
            await child.end()
            self._forget(child)

    async def _ask(self, project_id: int, request: dict[str, Any], granted: Mapping[str, RemoteFile] | None) -> Answer:
        if self._idle:
            answer, status = await self._exchange(self._idle.pop(), project_id, request)
            # An idle process may have died earlier of another cause, so the request is tried again in a new one.
            if answer is not None or self._closed:
                return answer, status
        links = ObjectLinks(_LINKS) if granted else None
        if links is not None and granted is not None:
            links.grant(granted)
        child = await ChildProcess.start(self._process_limits, links)
        self.children.append(child)
        return await self._exchange(child, project_id, request)

    async def _exchange(self, child: ChildProcess, project_id: int, request: dict[str, Any]) -> Answer:
        answer, status = None, None
        try:
            with self._priorities.running(child, project_id):
                answer = await child.ask(request)
        finally:
            # After a missing answer, or with a broken DuckDB, this process would answer the next request wrongly.
            is_broken = answer is None or answer.get("error") == EngineCrashed.code
            if is_broken or self._closed or not self._reuse or not child.is_worth_keeping():
                status = await child.end()
                self._forget(child)
            else:
                self._idle.append(child)
        return answer, status

    def _forget(self, child: ChildProcess) -> None:
        with contextlib.suppress(ValueError):
            self.children.remove(child)
