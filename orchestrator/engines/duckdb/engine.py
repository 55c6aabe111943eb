"""The DuckDB engine. DuckDB itself is never loaded here: it runs in child processes."""

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.aio import uninterruptible
from orchestrator.engines.admission import Admission
from orchestrator.engines.base import NO_PROJECT, QueryResult
from orchestrator.engines.duckdb.child_process import ChildProcess, ProcessLimits
from orchestrator.engines.duckdb.digest_cache import DigestCache
from orchestrator.engines.duckdb.disk_space import DiskSpace
from orchestrator.engines.duckdb.priorities import Priorities
from orchestrator.engines.duckdb.process_pool import ProcessPool
from orchestrator.engines.duckdb.protocol import (
    decode_columns,
    encode_columns,
    encode_relation,
    parse_progress,
    parse_result,
    parse_written,
    store_digests,
)
from orchestrator.engines.duckdb.scratch import Scratch, remove_abandoned
from orchestrator.model.errors import (
    DiskFull,
    EngineCrashed,
    InvalidQuery,
    InvalidSource,
    OrchestratorError,
    OutputTooLarge,
    QueryTimedOut,
    StoreUnavailable,
)
from orchestrator.model.limits import Limits
from orchestrator.model.run import Progress, RunPlan
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import AS_USUAL, ReadOptions, SourceFormat
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
    """Runs each query in a process of its own, and analyses SQL and source files in pools of a few processes.

    `source_roots` are the folders below which source tables may read files, except the files and folders `private`.
    `limits` hold for each query whose plan has none of its own, `worker_memory_mb` for all that run at a time, in MiB.
    At most `max_queries` run at a time, and one more of a project that runs none.
    `temp_dir` is where queries spill data that does not fit into memory; it is created if it does not exist. A query's
    process may take twice its memory limit plus 1 GiB of address space, since DuckDB does not count all that it uses.
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
        analysis_seconds: float = ANALYSIS_SECONDS,
    ) -> None:
        self._sources = {
            "source_roots": [str(root) for root in source_roots],
            "private": [str(path) for path in (*private, temp_dir.absolute())],
        }
        self._limits = limits
        self._temp_dir = temp_dir.absolute()
        self._admission = Admission(worker_memory_mb, queries=max_queries, reserve_mb=limits.memory_mb)
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
        self._query_processes: set[ChildProcess] = set()
        self._priorities = Priorities(remember_seconds=0)
        self._digests = DigestCache()

    async def start(self) -> None:
        """Start the fork server of this engine's processes, and log the layers that isolate a query.

        Also removes the folders that killed workers left in `temp_dir`.
        """
        await asyncio.to_thread(remove_abandoned, self._temp_dir)
        logger.info("queries are kept apart by: %s", ", ".join(await self.layers()))

    async def close(self) -> None:
        """End every process that this engine started. Running and waiting queries fail with EngineCrashed."""
        self._admission.close()
        for child in [*self._query_processes]:
            await child.end()
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
    ) -> list[tuple[Column, ...] | None]:
        """See QueryAnalyzer."""
        request = {
            "job": "describe_each",
            "views": [(name, sql, encode_columns(columns)) for name, sql, columns in views],
            "tables": {name: encode_columns(kinds) for name, kinds in tables.items()},
        }
        found = await self._analyse(self._binder_pool, project_id, request, _too_complex(self._binder_pool))
        return [None if columns is None else decode_columns(columns) for columns in found]

    async def describe_source(
        self,
        url_pattern: str,
        source_format: SourceFormat,
        options: ReadOptions = AS_USUAL,
        stated: Sequence[Column] = (),
        *,
        project_id: int = NO_PROJECT,
    ) -> tuple[Column, ...]:
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
        return decode_columns(await self._analyse(self._source_pool, project_id, request | self._sources, too_slow))

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

        request = {
            "job": "write",
            "sql": plan.sql,
            "relations": [encode_relation(relation, file_url, self._digests) for relation in plan.relations],
            **self._sources,
            "target": str(folder),
            "file_suffix": plan.run_id.hex[:8],
            "parquet_metadata": {
                "run_id": str(plan.run_id),
                "saved_query_id": str(plan.saved_query_id),
                "revision_id": str(plan.revision_id),
            },
        }
        async with self._admission.admit(limits.memory_mb, waiting, project_id=plan.project_id):
            try:
                return await self._write_in_time(request, limits, plan, on_progress)
            except BaseException:
                await uninterruptible(asyncio.to_thread(_empty, folder))
                raise

    async def _write_in_time(
        self, request: dict[str, Any], limits: Limits, plan: RunPlan, on_progress: Callable[[Progress], None]
    ) -> QueryResult:
        try:
            scratch = Scratch(self._temp_dir)
        except OSError as error:
            raise StoreUnavailable(f"No temporary folder can be made: {error.strerror}.") from error
        request |= {"limits": limits.model_dump(), "temp_directory": str(scratch.path)}
        clock = asyncio.timeout(plan.timeout_seconds)
        try:
            async with clock:
                return await self._write(request, limits, plan.project_id, on_progress)
        except TimeoutError:
            if not clock.expired():
                raise
            raise QueryTimedOut(f"The query ran longer than {_seconds(plan.timeout_seconds)}.") from None
        finally:
            await uninterruptible(asyncio.to_thread(scratch.remove))

    async def _write(
        self, request: dict[str, Any], limits: Limits, project_id: int, on_progress: Callable[[Progress], None]
    ) -> QueryResult:
        began = time.monotonic()
        disk = await asyncio.to_thread(DiskSpace, request["target"], request["temp_directory"])
        child = await ChildProcess.start(_process_limits(limits))
        self._query_processes.add(child)
        status: int | None = None
        try:
            with self._priorities.running(child, project_id):
                answer = await child.ask(request)
                while answer and "percent" in answer:
                    written = await _check_size(disk, limits.output_mb)
                    on_progress(parse_progress(answer, time.monotonic() - began, written, child.memory_bytes()))
                    answer = await child.receive()
            await _check_size(disk, limits.output_mb)
        finally:
            self._query_processes.discard(child)
            status = await child.end()
        try:
            result = parse_result(answer, status)
            done = await asyncio.to_thread(parse_written, result, Path(request["target"]))
        except DiskFull as error:
            raise await asyncio.to_thread(disk.classify, error) from None
        store_digests(self._digests, request["relations"], result)
        return done

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


def _too_complex(pool: ProcessPool) -> InvalidQuery:
    limit = _seconds(pool.seconds)
    return InvalidQuery(f"Invalid query: it is too complex to analyse within {limit}.", attr="query")


def _process_limits(limits: Limits) -> ProcessLimits:
    """The operating system's limits for a process that runs a query with these limits.

    A file may belong to the result or be spilled data. The 64 MiB beyond the larger limit are for the last block, which
    is written before DuckDB or the parent notices.
    """
    return ProcessLimits(
        address_space=(2 * limits.memory_mb + 1024) * _MIB,
        file_size=(max(limits.output_mb, limits.temp_disk_mb) + 64) * _MIB,
    )


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
