"""DuckDB as an engine. DuckDB itself is never loaded here: it runs in child processes."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.engines.admission import Admission
from orchestrator.engines.analysts import Analysts
from orchestrator.engines.base import Written
from orchestrator.engines.process import Child, Fences, settle
from orchestrator.engines.scratch import Scratch, sweep
from orchestrator.engines.wire import columns_of, pairs_of, progress_of, relation_as_json, result_of, written_of
from orchestrator.model.errors import (
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

logger = logging.getLogger(__name__)

ANALYSIS_SECONDS = 10.0
# Describing binds a query or reads files, which may take long: one that does must not keep everybody else waiting.
_DESCRIBERS = 2
_MIB = 1 << 20


class DuckDBEngine:
    """Runs each query in a process of its own, and everything that only looks at SQL in a few processes that stay.

    `source_roots` are the folders below which source tables may read files, except the files and folders `private`.
    `limits` hold for each query whose plan has none of its own, `worker_memory_mb` for all that run at a time, in MiB.
    `temp_dir` is where queries spill what does not fit into memory; it is made if it does not exist. A query's process
    may take twice its memory limit and 1 GiB of address space, since DuckDB does not count all that it uses.
    """

    def __init__(
        self,
        *,
        source_roots: Sequence[Path],
        private: Sequence[Path] = (),
        limits: Limits,
        worker_memory_mb: int,
        temp_dir: Path,
        analysis_seconds: float = ANALYSIS_SECONDS,
    ) -> None:
        self._sources = {
            "source_roots": [str(root) for root in source_roots],
            "private": [str(path) for path in (*private, temp_dir.absolute())],
        }
        self._limits = limits
        self._temp_dir = temp_dir.absolute()
        self._analysis_seconds = analysis_seconds
        self._admission = Admission(worker_memory_mb)
        # Apart, since parsing takes milliseconds: it never waits for what is being described.
        self._parser, self._describers = (
            Analysts(size=size, fences=_fences(limits), seconds=analysis_seconds) for size in (1, _DESCRIBERS)
        )
        self._readers = Analysts(size=_DESCRIBERS, fences=_fences(limits), seconds=analysis_seconds, stays=False)
        self._writers: set[Child] = set()

    async def start(self) -> None:
        """Start the server that every process of this engine is forked from, and say what keeps a query apart.

        Also removes what a worker that was killed left in `temp_dir`.
        """
        await asyncio.to_thread(sweep, self._temp_dir)
        logger.info("queries are kept apart by: %s", ", ".join(await self.layers()))

    async def close(self) -> None:
        """End every process that this engine started. Queries that run, or wait to, fail with EngineCrashed."""
        self._admission.close()
        for child in [*self._writers]:
            await child.end()
        await self._parser.close()
        await self._describers.close()
        await self._readers.close()

    async def layers(self) -> list[str]:
        """What keeps a query from everything that it does not need, as far as this machine has it."""
        told: list[str] = await self._analyse(self._readers, {"job": "layers"}, self._too_complex())
        return told

    async def references(self, sql: str) -> tuple[str, ...]:
        """See Engine."""
        return tuple(await self._analyse(self._parser, {"job": "references", "sql": sql}, self._too_complex()))

    async def describe(self, sql: str, tables: Mapping[str, Sequence[Column]]) -> tuple[Column, ...]:
        """See Engine."""
        request = {"job": "describe", "sql": sql, "tables": {name: pairs_of(kinds) for name, kinds in tables.items()}}
        return columns_of(await self._analyse(self._describers, request, self._too_complex()))

    async def describe_each(
        self,
        views: Sequence[tuple[str, str, Sequence[Column]]],
        tables: Mapping[str, Sequence[Column]],
    ) -> list[tuple[Column, ...] | None]:
        """See Engine."""
        request = {
            "job": "describe_each",
            "views": [(name, sql, pairs_of(columns)) for name, sql, columns in views],
            "tables": {name: pairs_of(kinds) for name, kinds in tables.items()},
        }
        found = await self._analyse(self._describers, request, self._too_complex())
        return [None if columns is None else columns_of(columns) for columns in found]

    async def describe_source(
        self,
        url_pattern: str,
        source_format: SourceFormat,
        options: ReadOptions = AS_USUAL,
        stated: Sequence[Column] = (),
    ) -> tuple[Column, ...]:
        """See Engine."""
        request: dict[str, Any] = {
            "job": "describe_source",
            "url_pattern": url_pattern,
            "format": source_format.value,
            "options": options.model_dump(mode="json"),
            "stated": pairs_of(stated),
        }
        limit = _seconds(self._analysis_seconds)
        too_slow = InvalidSource(f"{url_pattern} could not be read within {limit}.", attr="url_pattern")
        return columns_of(await self._analyse(self._readers, request | self._sources, too_slow))

    async def write(
        self,
        plan: RunPlan,
        locate: Callable[[str, str], str],
        target: Path,
        on_progress: Callable[[Progress], None],
    ) -> Written:
        """See Engine. The files are not flushed to disk here."""
        limits = plan.limits or self._limits
        began = time.monotonic()

        def waiting() -> None:
            on_progress(Progress(percent=None, elapsed_seconds=time.monotonic() - began, waiting=True))

        request = {
            "job": "write",
            "sql": plan.sql,
            "relations": [relation_as_json(relation, locate) for relation in plan.relations],
            **self._sources,
            "target": str(target),
            "marks": {
                "run_id": str(plan.run_id),
                "saved_query_id": str(plan.saved_query_id),
                "revision_id": str(plan.revision_id),
            },
        }
        async with self._admission.admit(limits.memory_mb, waiting):
            try:
                return await self._write_in_time(request, limits, plan.timeout_seconds, on_progress)
            except BaseException:
                await settle(asyncio.to_thread(_empty, target))
                raise

    async def _write_in_time(
        self, request: dict[str, Any], limits: Limits, seconds: float, on_progress: Callable[[Progress], None]
    ) -> Written:
        try:
            scratch = Scratch(self._temp_dir)
        except OSError as error:
            raise StoreUnavailable(f"No temporary folder can be made: {error.strerror}.") from error
        request |= {"limits": limits.model_dump(), "temp_directory": str(scratch.path)}
        clock = asyncio.timeout(seconds)
        try:
            async with clock:
                return await self._write(request, limits, on_progress)
        except TimeoutError:
            if not clock.expired():
                raise
            raise QueryTimedOut(f"The query ran longer than {_seconds(seconds)}.") from None
        finally:
            await settle(asyncio.to_thread(scratch.remove))

    async def _write(self, request: dict[str, Any], limits: Limits, on_progress: Callable[[Progress], None]) -> Written:
        began = time.monotonic()
        child = await Child.start(_fences(limits))
        self._writers.add(child)
        status: int | None = None
        try:
            answer = await child.ask(request)
            while answer and "percent" in answer:
                written = await _check_size(request["target"], limits.output_mb)
                on_progress(progress_of(answer, time.monotonic() - began, written, child.memory_bytes()))
                answer = await child.receive()
            await _check_size(request["target"], limits.output_mb)
        finally:
            self._writers.discard(child)
            status = await child.end()
        return await asyncio.to_thread(written_of, result_of(answer, status), Path(request["target"]))

    def _too_complex(self) -> InvalidQuery:
        limit = _seconds(self._analysis_seconds)
        return InvalidQuery(f"Invalid query: it is too complex to analyse within {limit}.", attr="query")

    async def _analyse(self, analysts: Analysts, request: dict[str, Any], too_slow: OrchestratorError) -> Any:  # noqa: ANN401 - JSON
        # Nothing that is only looked at may spill to disk.
        fenced = {**request, "limits": self._limits.model_dump(), "temp_directory": ""}
        return result_of(*await analysts.ask(fenced, too_slow))


def _fences(limits: Limits) -> Fences:
    """What the operating system lets a process with these limits have.

    A file may be the result or what is spilled; the room above is for the last block that is written before DuckDB or
    the parent notices.
    """
    return Fences(
        address_space=(2 * limits.memory_mb + 1024) * _MIB,
        file_size=(max(limits.output_mb, limits.temp_disk_mb) + 64) * _MIB,
    )


async def _check_size(target: str, output_mb: int) -> int:
    """The bytes of the files in the folder `target`. Raises OutputTooLarge if they are more than `output_mb` MiB."""
    size = await asyncio.to_thread(_size_of, target)
    if size > output_mb * _MIB:
        raise OutputTooLarge(f"The result is larger than it may be ({output_mb:,} MiB).")
    return size


def _size_of(folder: str) -> int:
    size = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            # DuckDB writes some files under another name first.
            with contextlib.suppress(FileNotFoundError):
                size += entry.stat(follow_symlinks=False).st_size
    return size


def _empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            path.unlink()


def _seconds(seconds: float) -> str:
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"
