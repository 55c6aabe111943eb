"""Runs the queries whose results clients read: in processes that are kept for the next query of the same project."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.aio import acquire, uninterruptible
from orchestrator.engines.duckdb.child_process import ChildProcess, ProcessLimits
from orchestrator.engines.duckdb.digest_cache import DigestCache
from orchestrator.engines.duckdb.priorities import Priorities
from orchestrator.engines.duckdb.protocol import encode_relation, parse_result, parse_summary
from orchestrator.engines.duckdb.result_pipe import ResultPipe
from orchestrator.engines.duckdb.scratch import Scratch, remove_abandoned
from orchestrator.engines.fair_slots import FairSlots
from orchestrator.model.errors import EngineCrashed, QueryTimedOut, StoreUnavailable
from orchestrator.model.limits import Limits
from orchestrator.model.reading import ReadPlan, ResultSummary

_MIB = 1 << 20
_ANALYSIS_SECONDS = 5.0
# A query waits so long for a slot. Then its client gets an error, and may try again.
_WAIT_SECONDS = 10.0
_LONGEST_QUEUE = 64
# Processes without a query, in all: each holds some 60 MiB, most of it shared with the server that it is forked from.
_MOST_IDLE = 8
_IDLE_SECONDS = 300.0
# A process that holds more after its answer is replaced, since DuckDB seldom gives memory back.
_MOST_KEPT = 256 << 20


# The project, the folder of its snapshots if there is one, and the limits of its queries.
Serves = tuple[int, str | None, Limits]


@dataclass(eq=False)
class _QueryProcess:
    """A process that serves the queries of one project, and the folder for what they spill.

    `serves` is what the process was confined to: it cannot be changed later.
    """

    child: ChildProcess
    scratch: Scratch
    serves: Serves
    is_usable: bool = True
    uses: int = 0
    is_removed: bool = False

    async def end(self) -> int | None:
        """End the process and remove its folder; returns its exit status. It may be called again."""
        self.is_usable = False
        try:
            return await self.child.end()
        finally:
            if not self.is_removed:
                self.is_removed = True
                await uninterruptible(asyncio.to_thread(self.scratch.remove))


class DuckDBReader:
    """Runs at most `queries` queries at a time, of which a project has at most `of_project`.

    The other parameters are those of DuckDBEngine.
    """

    def __init__(
        self, *, source_roots: Sequence[Path], private: Sequence[Path], temp_dir: Path, queries: int, of_project: int
    ) -> None:
        self._sources = {
            "source_roots": [str(root) for root in source_roots],
            "private": [str(path) for path in (*private, temp_dir.absolute())],
        }
        self._temp_dir = temp_dir.absolute()
        self._slots = FairSlots(size=queries, share=max(1, min(of_project, queries - 1)), queue=_LONGEST_QUEUE)
        self._priorities = Priorities(remember_seconds=0)
        self._idle: list[_QueryProcess] = []
        self._busy: set[_QueryProcess] = set()
        self._ending: set[asyncio.Task[object]] = set()
        self._is_closed = False

    async def start(self) -> None:
        """Remove the folders that killed processes of the API left where queries spill."""
        await asyncio.to_thread(remove_abandoned, self._temp_dir)

    async def close(self) -> None:
        """End every process. Queries in progress fail with EngineCrashed."""
        self._is_closed = True
        for process in [*self._idle, *self._busy]:
            await process.end()
        self._idle.clear()
        await asyncio.gather(*self._ending, return_exceptions=True)

    @asynccontextmanager
    async def session(self, project_id: int, folder: str | None, limits: Limits) -> AsyncIterator["DuckDBReadSession"]:
        """See QueryReader."""
        async with self._slots.turn(project_id, seconds=_WAIT_SECONDS):
            real = await asyncio.to_thread(os.path.realpath, folder) if folder else None
            session = DuckDBReadSession(self, (project_id, real, limits))
            try:
                yield session
            finally:
                await uninterruptible(session.close())

    async def take(self, serves: Serves, *, fresh: bool) -> _QueryProcess:
        """A process that no other query uses, and that has served no other project."""
        kept = next((one for one in reversed(self._idle) if one.serves == serves), None)
        if kept is not None and not fresh:
            self._idle.remove(kept)
            process = kept
        else:
            process = await self._start(serves)
        process.uses += 1
        self._busy.add(process)
        return process

    async def give_back(self, process: _QueryProcess) -> None:
        """Keep a process for the next query of its project, or end it."""
        self._busy.discard(process)
        memory = process.child.memory_bytes()
        if not process.is_usable or self._is_closed or process.child.has_low_priority or (memory or 0) > _MOST_KEPT:
            await process.end()
            return
        self._idle.append(process)
        asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._expire, process, process.uses)
        while len(self._idle) > _MOST_IDLE:
            await self._idle.pop(0).end()

    def running(self, process: _QueryProcess) -> contextlib.AbstractContextManager[None]:
        """Count the process as working for its project."""
        return self._priorities.running(process.child, process.serves[0])

    def request(self, process: _QueryProcess) -> dict[str, Any]:
        """The part of every request that is the same for all queries of a process."""
        return {**self._sources, "limits": process.serves[2].model_dump(), "temp_directory": str(process.scratch.path)}

    async def _start(self, serves: Serves) -> _QueryProcess:
        limits = serves[2]
        try:
            scratch = await acquire(asyncio.to_thread(Scratch, self._temp_dir), Scratch.remove)
        except OSError as error:
            raise StoreUnavailable(f"No temporary folder can be made: {error.strerror}.") from error
        try:
            space = (2 * limits.memory_mb + 1024) * _MIB
            child = await ChildProcess.start(ProcessLimits(space, (limits.temp_disk_mb + 64) * _MIB))
        except BaseException:
            await uninterruptible(asyncio.to_thread(scratch.remove))
            raise
        return _QueryProcess(child, scratch, serves)

    def _expire(self, process: _QueryProcess, uses: int) -> None:
        if process in self._idle and process.uses == uses:
            self._idle.remove(process)
            task = asyncio.ensure_future(process.end())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


class DuckDBReadSession:
    """A slot of a project. See ReadSession."""

    def __init__(self, reader: DuckDBReader, serves: Serves) -> None:
        self._reader = reader
        self._serves = serves
        self._folders = [serves[1]] if serves[1] else []
        self._process: _QueryProcess | None = None
        self._is_stopped = False

    async def close(self) -> None:
        """Give the process back."""
        process, self._process = self._process, None
        if process is not None:
            await self._reader.give_back(process)

    async def stop(self) -> None:
        """See ReadSession."""
        self._is_stopped = True  # also for a process that is being started
        if self._process is not None:
            await self._process.end()

    async def references(self, sql: str, parameters: Collection[str] = ()) -> tuple[str, ...]:
        """See ReadSession."""
        request = {"job": "analyze", "sql": sql, "parameters": [*parameters], "folders": self._folders}
        process = await self._use(fresh=False)
        try:
            return await self._analyze(process, request)
        except EngineCrashed:
            # A process that was kept may have died before, of a cause that has nothing to do with this statement.
            if process.uses == 1 or self._is_stopped:
                raise
            return await self._analyze(await self._use(fresh=True), request)

    async def _analyze(self, process: _QueryProcess, request: dict[str, Any]) -> tuple[str, ...]:
        process.is_usable = False  # until it has answered
        clock = asyncio.timeout(_ANALYSIS_SECONDS)
        try:
            async with clock:
                await process.child.send(self._reader.request(process) | request)
                return tuple(await _answer_of(process))
        except TimeoutError:
            if not clock.expired():
                raise
            raise QueryTimedOut(f"The statement could not be analysed within {_ANALYSIS_SECONDS:g} seconds.") from None

    @asynccontextmanager
    async def read(self, plan: ReadPlan, file_url: Callable[[str, str], str]) -> AsyncIterator[ResultPipe]:
        """See ReadSession."""
        kinds = {relation.kind for relation in plan.relations}
        # Such a process is confined to the files of this query. The one that is kept cannot open them.
        fresh = "source" in kinds or ("snapshot" in kinds and not self._folders)
        process = await self._use(fresh=fresh)
        request = self._reader.request(process) | _request_of(plan, file_url)
        request["folders"] = [] if fresh else self._folders
        process.is_usable = False  # unless the query ends by itself
        answer = asyncio.ensure_future(_summary_of(process))
        pipe = ResultPipe(plan.timeout_seconds, answer)
        try:
            with self._reader.running(process):
                # The names of a whole project take long to encode.
                message = await asyncio.to_thread(json.dumps, request) if "rows" in kinds else json.dumps(request)
                await process.child.send(message.encode(), pipe.writer)
                await pipe.begin()
                yield pipe
        finally:
            pipe.close()
            if not answer.done():
                await process.end()
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)
            process.is_usable = process.is_usable and not fresh

    async def _use(self, *, fresh: bool) -> _QueryProcess:
        """The process of this session. A `fresh` one has run nothing, so that it can still be confined."""
        if fresh:
            await self.close()
        if self._process is None:
            self._process = await self._reader.take(self._serves, fresh=fresh)
        if self._is_stopped:
            await self._process.end()
            raise EngineCrashed("The query was stopped before it began.")
        return self._process


async def _answer_of(process: _QueryProcess) -> Any:  # noqa: ANN401 - JSON
    """The answer of a process to its request, and the process is usable again; raises the error in the answer."""
    answer = await process.child.receive()
    while answer and "percent" in answer:
        answer = await process.child.receive()
    is_broken = answer is None or answer.get("error") == EngineCrashed.code
    status = await process.end() if is_broken else None
    process.is_usable = not is_broken
    return parse_result(answer, status)


async def _summary_of(process: _QueryProcess) -> ResultSummary:
    return parse_summary(await _answer_of(process))


def _request_of(plan: ReadPlan, file_url: Callable[[str, str], str]) -> dict[str, Any]:
    return {
        "job": "read",
        "sql": plan.sql,
        "relations": [encode_relation(relation, file_url, DigestCache()) for relation in plan.relations],
        **plan.model_dump(
            mode="json",
            include={"format", "parameters", "default_rows", "most_rows", "large_as_text", "lz4", "wide"},
        ),
    }
