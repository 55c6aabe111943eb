"""Runs the queries whose results clients read: in processes that are kept for the next query of the same project."""

import asyncio
import dataclasses
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.aio import uninterruptible
from orchestrator.engines.duckdb.digest_cache import DigestCache
from orchestrator.engines.duckdb.kept_processes import KeptProcess, KeptProcesses, Reach, files_on_disk
from orchestrator.engines.duckdb.object_links import granted_results
from orchestrator.engines.duckdb.protocol import (
    encode_relation,
    input_files,
    parse_position,
    parse_result,
    parse_summary,
    remote_files,
)
from orchestrator.engines.duckdb.result_pipe import ResultPipe
from orchestrator.engines.duckdb.scratch import remove_abandoned
from orchestrator.engines.duckdb.source_file_lister import SourceFileLister
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.engines.fair_slots import FairSlots
from orchestrator.model.diff import DiffPlan
from orchestrator.model.errors import EngineCrashed, QueryTimedOut
from orchestrator.model.limits import Limits
from orchestrator.model.position import Position
from orchestrator.model.reading import ReadPlan, ResultSummary
from orchestrator.model.remote_files import RemoteFile, RemoteFiles
from orchestrator.model.remote_tables import RemoteTables

_ANALYSIS_SECONDS = 5.0
# A query waits so long for a slot. Then its client gets an error, and may try again.
_WAIT_SECONDS = 10.0
_LONGEST_QUEUE = 64
# The files of each source table by its name, and those of them that are remote.
_Found = tuple[Mapping[str, Sequence[SourceFile]], Mapping[str, RemoteFile]]


class DuckDBReader:
    """Runs at most `queries` queries at a time, of which a project has at most `of_project`.

    The other parameters are those of DuckDBEngine.
    """

    def __init__(
        self,
        *,
        source_roots: Sequence[Path],
        private: Sequence[Path],
        temp_dir: Path,
        queries: int,
        of_project: int,
        remote_files: RemoteFiles | None = None,
        remote_tables: RemoteTables | None = None,
    ) -> None:
        self.source_lister = SourceFileLister(source_roots, [*private, temp_dir.absolute()], remote_tables)
        has_remote_files = remote_files is not None or remote_tables is not None
        self.processes = KeptProcesses(temp_dir.absolute(), has_remote_files=has_remote_files)
        self.remote_files = remote_files
        self._temp_dir = temp_dir.absolute()
        self._slots = FairSlots(size=queries, share=max(1, min(of_project, queries - 1)), queue=_LONGEST_QUEUE)

    async def start(self) -> None:
        """Remove the folders that killed processes of the API left where queries spill."""
        await asyncio.to_thread(remove_abandoned, self._temp_dir)

    async def close(self) -> None:
        """End every process. Queries in progress fail with EngineCrashed."""
        await self.processes.close()
        await self.source_lister.close()

    @asynccontextmanager
    async def session(self, project_id: int, folder: str | None, limits: Limits) -> AsyncIterator["DuckDBReadSession"]:
        """See QueryReader."""
        async with self._slots.turn(project_id, seconds=_WAIT_SECONDS):
            real = await asyncio.to_thread(os.path.realpath, folder) if folder else None
            reach = Reach(project_id, limits, folders=(real,) if real else (), remote=self.remote_files is not None)
            session = DuckDBReadSession(self, reach)
            try:
                yield session
            finally:
                await uninterruptible(session.close())


class DuckDBReadSession:
    """A slot of a project. See ReadSession."""

    def __init__(self, reader: DuckDBReader, reach: Reach) -> None:
        self._reader = reader
        self._reach = reach
        self._process: KeptProcess | None = None
        self._searching: asyncio.Future[_Found] | None = None
        self._is_stopped = False

    async def close(self) -> None:
        """Give the process back."""
        process, self._process = self._process, None
        if process is not None:
            await self._reader.processes.give_back(process)

    async def stop(self) -> None:
        """See ReadSession."""
        self._is_stopped = True  # also for a process that is being started
        if self._searching is not None:
            self._searching.cancel()
        if self._process is not None:
            await self._process.end()

    async def references(self, sql: str, parameters: Collection[str] = ()) -> tuple[str, ...]:
        """See ReadSession."""
        process = await self._use(self._reach)
        request = process.begin() | {"job": "analyze", "sql": sql, "parameters": [*parameters]}
        clock = asyncio.timeout(_ANALYSIS_SECONDS)
        try:
            async with clock:
                await process.child.send(request)
                return tuple(await _answer_of(process))
        except TimeoutError:
            if not clock.expired():
                raise
            raise QueryTimedOut(f"The statement could not be analysed within {_ANALYSIS_SECONDS:g} seconds.") from None

    async def find_name(self, sql: str, name: str, parameters: Collection[str] = ()) -> Position | None:
        """See ReadSession."""
        process = await self._use(self._reach)
        request = process.begin() | {"job": "find_name_read", "sql": sql, "name": name, "parameters": [*parameters]}
        await process.child.send(request)
        return parse_position(await _answer_of(process))

    @asynccontextmanager
    async def read(self, plan: ReadPlan, file_url: Callable[[str, str], str]) -> AsyncIterator[ResultPipe]:
        """See ReadSession."""
        files, granted = await self._find(plan)
        relations = [encode_relation(relation, file_url, DigestCache(), files) for relation in plan.relations]
        # The names of a whole project take long to encode.
        has_rows = any(relation.kind == "rows" for relation in plan.relations)
        request = {"job": "read", "relations": relations} | _options_of(plan)
        async with self._stream(request, files, granted, plan.timeout_seconds, is_long=has_rows) as pipe:
            yield pipe

    @asynccontextmanager
    async def diff(self, plan: DiffPlan, file_url: Callable[[str, str], str]) -> AsyncIterator[ResultPipe]:
        """See ReadSession."""
        relations = [encode_relation(relation, file_url, DigestCache(), {}) for relation in (plan.before, plan.after)]
        options = plan.model_dump(mode="json", include={"names", "key", "has_same_columns", "rows", "large_as_text"})
        rows_after = sum(file.rows for file in plan.after.files)
        request = {"job": "diff", "relations": relations, "rows_after": rows_after} | options
        async with self._stream(request, {}, {}, plan.timeout_seconds) as pipe:
            yield pipe

    @asynccontextmanager
    async def _stream(
        self,
        request: dict[str, Any],
        files: Mapping[str, Sequence[SourceFile]],
        granted: Mapping[str, RemoteFile],
        seconds: float,
        *,
        is_long: bool = False,
    ) -> AsyncIterator[ResultPipe]:
        """The result that a process writes into a pipe.

        `files` are the source files that it reads, and `granted` those of them that are remote.
        """
        process = await self._use(self._reach_of(request["relations"], files, is_remote=bool(granted)))
        results = granted_results(remote_files(request["relations"]), self._reader.remote_files)
        request = process.begin({**results, **granted}) | request
        answer = asyncio.ensure_future(_summary_of(process))
        pipe = ResultPipe(seconds, answer)
        try:
            with self._reader.processes.running(process):
                message = await asyncio.to_thread(json.dumps, request) if is_long else json.dumps(request)
                await process.child.send(message.encode(), pipe.writer)
                await pipe.begin()
                yield pipe
        finally:
            pipe.close()
            if not answer.done():
                await process.end()
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)
            # Of source files, DuckDB would keep the footers, by times that are too coarse to notice every change.
            process.is_usable = process.is_usable and not files

    async def _find(self, plan: ReadPlan) -> _Found:
        self._searching = asyncio.ensure_future(self._found(plan))
        try:
            return await self._searching
        except asyncio.CancelledError:
            self._searching.cancel()
            if not self._is_stopped:
                raise
            raise EngineCrashed("The query was stopped before it began.") from None

    async def _found(self, plan: ReadPlan) -> _Found:
        lister = self._reader.source_lister
        files = await lister.find(self._reach.project_id, plan.relations)
        return files, await lister.grant(plan.relations, files)

    def _reach_of(
        self, relations: Iterable[Mapping[str, Any]], files: Mapping[str, Sequence[SourceFile]], *, is_remote: bool
    ) -> Reach:
        found = files_on_disk(itertools.chain(*files.values()))
        if not self._reach.folders:  # the project had no snapshot yet when the session began
            found |= {file for relation in relations for file in input_files(relation)}
        return dataclasses.replace(self._reach, files=found, remote=self._reach.remote or is_remote)

    async def _use(self, reach: Reach) -> KeptProcess:
        """The process of this session, or another one if that has not the reach."""
        if self._process is not None and not self._process.reach.covers(reach):
            await self.close()
        if self._process is None:
            self._process = await self._reader.processes.take(reach)
        if self._is_stopped:
            await self._process.end()
            raise EngineCrashed("The query was stopped before it began.")
        return self._process


async def _answer_of(process: KeptProcess) -> Any:  # noqa: ANN401 - JSON
    """The answer of a process to its request, and the process is usable again; raises the error in the answer."""
    answer = await process.child.receive()
    while answer and "percent" in answer:
        answer = await process.child.receive()
    is_broken = answer is None or answer.get("error") == EngineCrashed.code
    status = await process.end() if is_broken else None
    process.is_usable = not is_broken
    return parse_result(answer, status)


async def _summary_of(process: KeptProcess) -> ResultSummary:
    return parse_summary(await _answer_of(process))


def _options_of(plan: ReadPlan) -> dict[str, Any]:
    return plan.model_dump(
        mode="json",
        include={"sql", "format", "parameters", "default_rows", "most_rows", "large_as_text", "lz4", "wide"},
    )
