"""The DuckDB engine. DuckDB itself is never loaded here: it runs in child processes."""

import asyncio
import contextlib
import importlib.metadata
import itertools
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.aio import uninterruptible
from orchestrator.engines.admission import Admission
from orchestrator.engines.base import NO_PROJECT, QueryResult, StudiedQuery
from orchestrator.engines.duckdb.child_process import ProcessLimits
from orchestrator.engines.duckdb.digest_cache import DigestCache
from orchestrator.engines.duckdb.disk_space import DiskSpace
from orchestrator.engines.duckdb.kept_processes import KeptProcess, KeptProcesses, Reach
from orchestrator.engines.duckdb.local_source_lister import LocalSourceLister
from orchestrator.engines.duckdb.process_pool import ProcessPool
from orchestrator.engines.duckdb.protocol import (
    decode_columns,
    decode_lineage,
    encode_check,
    encode_columns,
    encode_previous,
    encode_relation,
    encode_shape,
    input_files,
    parse_described,
    parse_position,
    parse_progress,
    parse_result,
    parse_written,
    store_digests,
)
from orchestrator.engines.duckdb.scratch import remove_abandoned
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.model.check import CheckStatus, PlannedCheck
from orchestrator.model.column_lineage import QueryLineage
from orchestrator.model.errors import (
    DiskFull,
    EngineCrashed,
    InvalidQuery,
    InvalidSource,
    OrchestratorError,
    OutputTooLarge,
    QueryTimedOut,
)
from orchestrator.model.limits import Limits
from orchestrator.model.position import Position
from orchestrator.model.run import Progress, RunPlan
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import AS_USUAL, DescribedSource, ReadOptions, SourceFormat
from orchestrator.model.write_target import WriteTarget

logger = logging.getLogger(__name__)

ANALYSIS_SECONDS = 10.0
# Parsing takes milliseconds. A text that takes longer than this was written to be slow.
_PARSING_SECONDS = 5.0
# Processes for each kind of request, one more than a project may hold at a time: describing binds a query or reads
# files, which may take long.
_PARSERS = 2
_BINDERS = 3
_SOURCE_READERS = 3
# Limits of processes that only analyse a query or files, independent of the limits of a run: a statement can request
# any amount of memory while it is bound. In MiB, for DuckDB and for the whole process beyond its stack.
_BINDER_MEMORY, _BINDER_SPACE = 256, 512
# DuckDB reserves up to 50 MiB of address space for each JSON file that it analyses, and does not use most of it.
_READER_MEMORY, _READER_SPACE = 512, 6144
_READER_THREADS = 4
_MIB = 1 << 20


class DuckDBEngine:
    """Runs queries in processes, each for one project, and analyses SQL and source files in pools of a few processes.

    `source_roots` are the folders below which source tables may read files, except the files and folders `private`.
    `limits` hold for each query whose plan has none of its own, `worker_memory_mb` for all that run at a time, in MiB.
    At most `max_queries` run at a time, and one more of a project that runs none. The worker takes `slots` at a time.
    `temp_dir` is where queries spill data that does not fit into memory; it is created if it does not exist.
    """

    def __init__(
        self,
        *,
        source_roots: Sequence[Path],
        private: Sequence[Path] = (),
        limits: Limits,
        worker_memory_mb: int,
        temp_dir: Path,
        max_queries: int | None = None,
        slots: int = 0,
        analysis_seconds: float = ANALYSIS_SECONDS,
    ) -> None:
        self.source_lister = LocalSourceLister(source_roots, [*private, temp_dir.absolute()])
        self._limits = limits
        self._temp_dir = temp_dir.absolute()
        self._admission = Admission(worker_memory_mb, queries=max_queries, slots=slots, reserve_mb=limits.memory_mb)
        process_limits = ProcessLimits(address_space=_BINDER_SPACE * _MIB, file_size=0)
        # A pool of its own: parsing takes milliseconds, and must not wait for queries that are being described.
        self._parser_pool = ProcessPool(
            size=_PARSERS, process_limits=process_limits, seconds=min(_PARSING_SECONDS, analysis_seconds)
        )
        self._binder_pool = ProcessPool(size=_BINDERS, process_limits=process_limits, seconds=analysis_seconds)
        process_limits = ProcessLimits(address_space=_READER_SPACE * _MIB, file_size=0)
        self._source_pool = ProcessPool(
            size=_SOURCE_READERS, process_limits=process_limits, seconds=analysis_seconds, reuse=False
        )
        self._processes = KeptProcesses(self._temp_dir)
        self._digests = DigestCache()

    @property
    def version(self) -> str:
        """The name and version of the engine, as QueryResult has it."""
        return f"duckdb {importlib.metadata.version('duckdb')}"

    async def start(self) -> None:
        """Start the fork server of this engine's processes, and log the layers that isolate a query.

        Also removes the folders that killed workers left in `temp_dir`.
        """
        await asyncio.to_thread(remove_abandoned, self._temp_dir)
        logger.info("queries are kept apart by: %s", ", ".join(await self.layers()))

    async def close(self) -> None:
        """End every process that this engine started. Running and waiting queries fail with EngineCrashed."""
        self._admission.close()
        await self._processes.close()
        await self.source_lister.close()
        await self._parser_pool.close()
        await self._binder_pool.close()
        await self._source_pool.close()

    async def layers(self) -> list[str]:
        """The layers that isolate a query, as far as this machine supports them."""
        too_slow = EngineCrashed("The process that reads queries does not start.")
        layers: list[str] = await self._analyse(self._source_pool, NO_PROJECT, {"job": "layers"}, too_slow)
        return layers

    async def references(self, sql: str, *, project_id: int = NO_PROJECT) -> tuple[str, ...]:
        """See QueryAnalyzer."""
        request = {"job": "references", "sql": sql}
        return tuple(await self._analyse(self._parser_pool, project_id, request, _too_complex(self._parser_pool)))

    async def study_each(
        self, statements: Sequence[str], *, project_id: int = NO_PROJECT
    ) -> list[StudiedQuery | InvalidQuery]:
        """See QueryAnalyzer."""
        request = {"job": "study_each", "statements": list(statements)}
        found = await self._analyse(self._parser_pool, project_id, request, _too_complex(self._parser_pool))
        return [
            _invalid(one) if "error" in one else StudiedQuery(references=one["references"], digest=one["digest"])
            for one in found
        ]

    async def find_name(self, sql: str, name: str, *, project_id: int = NO_PROJECT) -> Position | None:
        """See QueryAnalyzer."""
        request = {"job": "find_name", "sql": sql, "name": name}
        too_slow = _too_complex(self._parser_pool)
        return parse_position(await self._analyse(self._parser_pool, project_id, request, too_slow))

    async def weigh(self, sql: str, views: Mapping[str, str], *, project_id: int = NO_PROJECT) -> int:
        """See QueryAnalyzer."""
        request = {"job": "weigh", "sql": sql, "views": dict(views)}
        return int(await self._analyse(self._parser_pool, project_id, request, _too_complex(self._parser_pool)))

    async def describe(
        self, sql: str, tables: Mapping[str, Sequence[Column]], *, project_id: int = NO_PROJECT
    ) -> tuple[Column, ...]:
        """See QueryAnalyzer."""
        request = {
            "job": "describe",
            "sql": sql,
            "tables": {name: encode_columns(kinds) for name, kinds in tables.items()},
        }
        return decode_columns(
            await self._analyse(self._binder_pool, project_id, request, _too_complex(self._binder_pool))
        )

    async def describe_each(
        self,
        views: Sequence[tuple[str, str, Sequence[Column]]],
        tables: Mapping[str, Sequence[Column]],
        *,
        project_id: int = NO_PROJECT,
    ) -> list[tuple[Column, ...] | InvalidQuery]:
        """See QueryAnalyzer."""
        request = {
            "job": "describe_each",
            "views": [(name, sql, encode_columns(columns)) for name, sql, columns in views],
            "tables": {name: encode_columns(kinds) for name, kinds in tables.items()},
        }
        found = await self._analyse(self._binder_pool, project_id, request, _too_complex(self._binder_pool))
        return [_invalid(one) if isinstance(one, dict) else decode_columns(one) for one in found]

    async def lineage(
        self, sql: str, tables: Mapping[str, Sequence[Column]], *, project_id: int = NO_PROJECT
    ) -> QueryLineage:
        """See QueryAnalyzer."""
        request = {
            "job": "lineage",
            "sql": sql,
            "tables": {name: encode_columns(kinds) for name, kinds in tables.items()},
        }
        found = await self._analyse(self._binder_pool, project_id, request, _too_complex(self._binder_pool))
        return decode_lineage(found, tables)

    async def describe_source(
        self,
        url_pattern: str,
        source_format: SourceFormat,
        options: ReadOptions = AS_USUAL,
        stated: Sequence[Column] = (),
        *,
        project_id: int = NO_PROJECT,
    ) -> tuple[Column, ...]:
        """The columns of `inspect_source` alone."""
        found = await self.inspect_source(url_pattern, source_format, options, stated, project_id=project_id)
        return found.columns

    async def inspect_source(
        self,
        url_pattern: str,
        source_format: SourceFormat,
        options: ReadOptions = AS_USUAL,
        stated: Sequence[Column] = (),
        *,
        project_id: int = NO_PROJECT,
    ) -> DescribedSource:
        """See QueryAnalyzer."""
        request: dict[str, Any] = {
            "job": "describe_source",
            "url_pattern": url_pattern,
            "format": source_format.value,
            "options": options.model_dump(mode="json"),
            "stated": encode_columns(stated),
        }
        limit = _seconds(self._source_pool.seconds)
        too_slow = InvalidSource(f"{url_pattern} could not be read within {limit}.", attr="url_pattern")
        found = await self._analyse(self._source_pool, project_id, request | self.source_lister.allowed, too_slow)
        return parse_described(found)

    async def write(
        self,
        plan: RunPlan,
        file_url: Callable[[str, str], str],
        target: WriteTarget,
        on_progress: Callable[[Progress], None],
    ) -> QueryResult:
        """See QueryRunner. The files are not flushed to disk here."""
        folder = target.folder
        limits = plan.limits or self._limits
        began = time.monotonic()

        def waiting() -> None:
            on_progress(Progress(percent=None, elapsed_seconds=time.monotonic() - began, waiting=True))

        async with self._admission.admit(limits.memory_mb, waiting, project_id=plan.project_id):
            try:
                async with _within(plan.timeout_seconds):
                    return await self._write(plan, file_url, target, limits, on_progress)
            except BaseException:
                await uninterruptible(asyncio.to_thread(_empty, folder))
                raise

    async def _write(
        self,
        plan: RunPlan,
        file_url: Callable[[str, str], str],
        target: WriteTarget,
        limits: Limits,
        on_progress: Callable[[Progress], None],
    ) -> QueryResult:
        files = await self.source_lister.find(plan.project_id, (*plan.relations, *plan.check_relations))
        relations, check_relations = (
            [encode_relation(relation, file_url, self._digests, files) for relation in some]
            for some in (plan.relations, plan.check_relations)
        )
        request: dict[str, Any] = {
            "job": "write",
            "name": plan.name,
            "sql": plan.sql,
            "timeout_seconds": plan.timeout_seconds,
            "relations": relations,
            "checks": [encode_check(check) for check in plan.checks],
            "check_relations": check_relations,
            "current": None if plan.current is None else encode_shape(plan.current),
            "target": str(target.folder),
            "file_suffix": plan.run_id.hex[:8],
            "previous": encode_previous(plan.previous, file_url) if plan.previous else None,
            "parquet_metadata": {
                "run_id": str(plan.run_id),
                "saved_query_id": str(plan.saved_query_id),
                "revision_id": str(plan.revision_id),
            },
        }
        reach = await asyncio.to_thread(_reach, plan.project_id, limits, target, request, files)
        process = await self._processes.take(reach)
        try:
            return await self._run_in(process, request, plan.checks, on_progress)
        except EngineCrashed:
            if process.uses == 1:
                raise
        # The cause may be the state in which an earlier query left the process.
        await asyncio.to_thread(_empty, target.folder)
        return await self._run_in(await self._processes.take(reach, fresh=True), request, plan.checks, on_progress)

    async def _run_in(
        self,
        process: KeptProcess,
        request: dict[str, Any],
        checks: Sequence[PlannedCheck],
        on_progress: Callable[[Progress], None],
    ) -> QueryResult:
        """Run the request in the process, which is usable afterwards only if it has written a result."""
        try:
            result = await self._answer_of(process, request, on_progress)
            store_digests(self._digests, request["relations"], result)
            written = await asyncio.to_thread(parse_written, result, Path(request["target"]), checks)
            # An error leaves the session in a state that is not known.
            process.is_usable = not any(one.status is CheckStatus.ERROR for one in written.checks)
            return written
        finally:
            await uninterruptible(self._processes.give_back(process))

    async def _answer_of(
        self, process: KeptProcess, request: dict[str, Any], on_progress: Callable[[Progress], None]
    ) -> Any:  # noqa: ANN401 - JSON
        began, child, output_mb = time.monotonic(), process.child, process.reach.limits.output_mb
        disk = await asyncio.to_thread(DiskSpace, request["target"], str(process.scratch.path))
        request = process.begin() | request
        with self._processes.running(process):
            answer = await child.ask(request)
            while answer and "percent" in answer:
                written = await _check_size(disk, output_mb)
                on_progress(parse_progress(answer, time.monotonic() - began, written, child.memory_bytes()))
                answer = await child.receive()
        await _check_size(disk, output_mb)
        status = None if answer and "ok" in answer else await process.end()
        try:
            return parse_result(answer, status)
        except DiskFull as error:
            raise await asyncio.to_thread(disk.classify, error) from None
        except OrchestratorError as error:
            raise error.placed() from None

    async def _analyse(
        self, pool: ProcessPool, project_id: int, request: dict[str, Any], too_slow: OrchestratorError
    ) -> Any:  # noqa: ANN401 - JSON
        memory, threads = (_READER_MEMORY, _READER_THREADS) if pool is self._source_pool else (_BINDER_MEMORY, 1)
        limits = {
            "memory_mb": min(memory, self._limits.memory_mb),
            "threads": min(threads, self._limits.threads),
        }
        # An analysis must not spill to disk.
        fenced = {**request, "limits": limits, "temp_directory": ""}
        return parse_result(*await pool.ask(project_id, fenced, too_slow))


def _invalid(found: Mapping[str, Any]) -> InvalidQuery:
    return InvalidQuery(str(found["error"]), attr="query", position=parse_position(found["position"]))


def _too_complex(pool: ProcessPool) -> InvalidQuery:
    limit = _seconds(pool.seconds)
    return InvalidQuery(f"Invalid query: it is too complex to analyse within {limit}.", attr="query")


def _reach(
    project_id: int,
    limits: Limits,
    target: WriteTarget,
    request: Mapping[str, Any],
    files: Mapping[str, Sequence[SourceFile]],
) -> Reach:
    """The reach that the request needs. It finds the real path of each input, which may take long."""
    sealed = [*request["relations"], *request["check_relations"], request["previous"] or {}]
    return Reach.of_run(project_id, limits, target, itertools.chain(*files.values(), *map(input_files, sealed)))


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """Raise QueryTimedOut if the context takes longer."""
    clock = asyncio.timeout(seconds)
    try:
        async with clock:
            yield
    except TimeoutError:
        if not clock.expired():
            raise
        raise QueryTimedOut(f"The query ran longer than {_seconds(seconds)}.") from None


async def _check_size(disk: DiskSpace, output_mb: int) -> int:
    """The bytes of the result. Raises OutputTooLarge if they are more than `output_mb` MiB, or fill the disk."""
    size = await asyncio.to_thread(disk.measure)
    if size > output_mb * _MIB:
        raise OutputTooLarge(f"The result is larger than it may be ({output_mb:,} MiB).")
    return size


def _empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _seconds(seconds: float) -> str:
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"
