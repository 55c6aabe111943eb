"""DuckDB as an engine. DuckDB itself is never loaded here: it runs in child processes."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.engines.analysts import Analysts
from orchestrator.engines.base import Written
from orchestrator.engines.process import Child, settle
from orchestrator.engines.scratch import Scratch, sweep
from orchestrator.model.errors import (
    EngineCrashed,
    InputMissing,
    InvalidQuery,
    InvalidSource,
    OrchestratorError,
    OutOfMemory,
    QueryFailed,
    QueryRefused,
    QueryTimedOut,
    StoreUnavailable,
)
from orchestrator.model.run import Progress, Relation, RunPlan
from orchestrator.model.snapshot import Column, SnapshotFile
from orchestrator.model.source_table import SourceFormat

ANALYSIS_SECONDS = 10.0
# Describing binds a query or reads files, which may take long: one that does must not keep everybody else waiting.
_DESCRIBERS = 2
_ERRORS: dict[str, type[OrchestratorError]] = {
    error.code: error
    for error in (
        EngineCrashed,
        InputMissing,
        InvalidQuery,
        InvalidSource,
        OutOfMemory,
        QueryFailed,
        QueryRefused,
        StoreUnavailable,
    )
}
_UNITS = {"K": 1, "M": 2, "G": 3, "T": 4}


class DuckDBEngine:
    """Runs each query in a process of its own, and everything that only looks at SQL in a few processes that stay.

    `source_roots` are the folders below which source tables may read files. `memory_limit` (such as "2GB") and
    `threads` hold for each query. `temp_dir` is where queries spill what does not fit into memory; it is made if it
    does not exist. A query's process may take twice its memory limit and 1 GiB of address space, since DuckDB does not
    count all that it uses.
    """

    def __init__(
        self,
        *,
        source_roots: Sequence[Path],
        memory_limit: str,
        threads: int,
        temp_dir: Path,
        analysis_seconds: float = ANALYSIS_SECONDS,
    ) -> None:
        self._source_roots = [str(root) for root in source_roots]
        self._limits = {"memory_limit": memory_limit, "threads": str(threads)}
        self._address_space = 2 * memory_bytes(memory_limit) + (1 << 30)
        self._temp_dir = temp_dir.absolute()
        self._analysis_seconds = analysis_seconds
        # Apart, since parsing takes milliseconds: it never waits for what is being described.
        self._parser, self._describers = (
            Analysts(size=size, address_space=self._address_space, seconds=analysis_seconds)
            for size in (1, _DESCRIBERS)
        )
        self._writers: set[Child] = set()

    async def start(self) -> None:
        """Start the process that parses SQL, and with it the server from which all others are forked.

        Also removes what a worker that was killed left in `temp_dir`.
        """
        await asyncio.to_thread(sweep, self._temp_dir)
        await self.references("SELECT 1")

    async def close(self) -> None:
        """End every process that this engine started. Queries that run fail with EngineCrashed."""
        for child in [*self._writers]:
            await child.end()
        await self._parser.close()
        await self._describers.close()

    async def references(self, sql: str) -> tuple[str, ...]:
        """See Engine."""
        return tuple(await self._analyse(self._parser, {"job": "references", "sql": sql}, self._too_complex()))

    async def describe(self, sql: str, tables: Mapping[str, Sequence[Column]]) -> tuple[Column, ...]:
        """See Engine."""
        request = {"job": "describe", "sql": sql, "tables": {name: _pairs(kinds) for name, kinds in tables.items()}}
        return _columns(await self._analyse(self._describers, request, self._too_complex()))

    async def describe_source(self, url_pattern: str, source_format: SourceFormat) -> tuple[Column, ...]:
        """See Engine."""
        request: dict[str, Any] = {"job": "describe_source", "url_pattern": url_pattern, "format": source_format.value}
        limit = _seconds(self._analysis_seconds)
        too_slow = InvalidSource(f"{url_pattern} could not be read within {limit}.", attr="url_pattern")
        request["source_roots"] = self._source_roots
        return _columns(await self._analyse(self._describers, request, too_slow))

    async def write(
        self,
        plan: RunPlan,
        locate: Callable[[str, str], str],
        target: Path,
        on_progress: Callable[[Progress], None],
    ) -> Written:
        """See Engine. The files are not flushed to disk here."""
        try:
            scratch = Scratch(self._temp_dir)
        except OSError as error:
            raise StoreUnavailable(f"No temporary folder can be made: {error.strerror}.") from error
        request = {
            "job": "write",
            "sql": plan.sql,
            "relations": [_relation(relation, locate) for relation in plan.relations],
            "source_roots": self._source_roots,
            "target": str(target),
            "limits": {**self._limits, "temp_directory": str(scratch.path)},
            "marks": {
                "run_id": str(plan.run_id),
                "saved_query_id": str(plan.saved_query_id),
                "revision_id": str(plan.revision_id),
            },
        }
        clock = asyncio.timeout(plan.timeout_seconds)
        try:
            async with clock:
                return await self._write(request, on_progress)
        except TimeoutError:
            if not clock.expired():
                raise
            raise QueryTimedOut(f"The query ran longer than {_seconds(plan.timeout_seconds)}.") from None
        finally:
            await settle(asyncio.to_thread(scratch.remove))

    async def _write(self, request: dict[str, Any], on_progress: Callable[[Progress], None]) -> Written:
        began = time.monotonic()
        child = await Child.start(self._address_space)
        self._writers.add(child)
        status: int | None = None
        try:
            answer = await child.ask(request)
            while answer and "percent" in answer:
                on_progress(Progress(percent=answer["percent"], elapsed_seconds=time.monotonic() - began))
                answer = await child.receive()
        finally:
            self._writers.discard(child)
            status = await child.end()
        return _written(_result(answer, status))

    def _too_complex(self) -> InvalidQuery:
        limit = _seconds(self._analysis_seconds)
        return InvalidQuery(f"Invalid query: it is too complex to analyse within {limit}.", attr="query")

    async def _analyse(self, analysts: Analysts, request: dict[str, Any], too_slow: OrchestratorError) -> Any:  # noqa: ANN401 - JSON
        # Nothing that is only looked at may spill to disk.
        limits = {**self._limits, "temp_directory": ""}
        return _result(*await analysts.ask({**request, "limits": limits}, too_slow))


def memory_bytes(size: str) -> int:
    """The bytes of a size as DuckDB writes it, such as "2GB" or "512MiB". Raises ValueError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])(i?)B", size.strip(), re.IGNORECASE)
    if not match:
        raise ValueError(f"{size!r} is not a size in memory: write it like 2GB.")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _UNITS[match[2].upper()])


def _result(answer: dict[str, Any] | None, status: int | None) -> Any:  # noqa: ANN401 - JSON
    """The result in an answer, or its error raised. No answer means that the process died; `status` says of what."""
    if answer is None:
        raise EngineCrashed(f"The process that ran the query ended unexpectedly (exit status {status}).")
    if "error" in answer:
        raise _ERRORS[answer["error"]](answer["message"], attr=answer["attr"])
    return answer["ok"]


def _relation(relation: Relation, locate: Callable[[str, str], str]) -> dict[str, Any]:
    known: dict[str, Any] = {"kind": relation.kind, "name": relation.name}
    if relation.kind == "source":
        columns = _pairs(relation.columns)
        return known | {"format": relation.format.value, "url_pattern": relation.url_pattern, "columns": columns}
    if relation.kind == "snapshot":
        return known | {"paths": [locate(relation.location, file.name) for file in relation.files]}
    return known | {"sql": relation.sql}


def _pairs(columns: Sequence[Column]) -> list[tuple[str, str]]:
    return [(column.name, column.duckdb_type) for column in columns]


def _columns(pairs: Sequence[tuple[str, str]]) -> tuple[Column, ...]:
    return tuple(Column(name=name, duckdb_type=kind) for name, kind in pairs)


def _written(result: dict[str, Any]) -> Written:
    files = tuple(SnapshotFile(name=name, rows=rows, bytes=size) for name, rows, size in result["files"])
    return Written(
        files=files,
        rows=sum(file.rows for file in files),
        bytes=sum(file.bytes for file in files),
        columns=_columns(result["columns"]),
        engine_version=result["engine_version"],
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"
