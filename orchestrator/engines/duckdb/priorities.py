"""Lowers the priority of processes that have worked for a while, if another project has work at the same time.

Two endless queries on two processors made every run of another project take ten times as long. With a low priority they
use only the CPU time that others leave. The work of a project that is alone keeps the usual priority: otherwise other
programs of the machine would starve it. Work for no project, as at a start, does not count as another project's.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from orchestrator.engines.base import NO_PROJECT
from orchestrator.engines.duckdb.child_process import ChildProcess

GIVES_WAY_AFTER_SECONDS = 0.5


class _Work(NamedTuple):
    project_id: int
    began: float


class Priorities:
    """The processes that work now. A project still counts as working for `memory_seconds` after its work ended."""

    def __init__(self, *, remember_seconds: float) -> None:
        self._memory_seconds = remember_seconds
        self._running: dict[ChildProcess, _Work] = {}
        self._ended: dict[int, float] = {}

    @contextmanager
    def running(self, child: ChildProcess, project_id: int) -> Iterator[None]:
        """Count a process as working for the project while the context lasts."""
        loop = asyncio.get_running_loop()
        self._running[child] = _Work(project_id, loop.time())
        self._lower_priorities()
        timer = loop.call_later(GIVES_WAY_AFTER_SECONDS, self._lower_priorities)
        try:
            yield
        finally:
            timer.cancel()
            del self._running[child]
            self._ended[project_id] = loop.time()

    def _lower_priorities(self) -> None:
        now = asyncio.get_running_loop().time()
        self._ended = {one: ended for one, ended in self._ended.items() if ended > now - self._memory_seconds}
        projects = {work.project_id for work in self._running.values()} | set(self._ended)
        if len(projects - {NO_PROJECT}) < 2:  # noqa: PLR2004 - one and another
            return
        for child, work in self._running.items():
            if work.began <= now - GIVES_WAY_AFTER_SECONDS:
                child.lower_priority()
