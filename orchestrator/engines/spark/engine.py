"""The Spark engine: the cluster reads the pinned inputs and writes the result, and DuckDB looks at what was written."""

import asyncio
import time
from collections.abc import Callable, Collection

from pyspark.sql.connect.session import SparkSession

from orchestrator.aio import uninterruptible
from orchestrator.engines.admission import MAX_WAIT_SECONDS, Admission
from orchestrator.engines.attempts import empty, time_limit
from orchestrator.engines.base import ClusterAnalyzer, ForeignResult, QueryResult
from orchestrator.engines.duckdb.analyzer import DuckDBAnalyzer
from orchestrator.engines.duckdb.engine import DuckDBEngine
from orchestrator.engines.spark.failures import explained
from orchestrator.engines.spark.inputs import Prepared, SparkInputs
from orchestrator.engines.spark.relations import as_columns, columns_of, create
from orchestrator.engines.spark.sessions import Sessions
from orchestrator.model.cluster_files import ClusterFiles
from orchestrator.model.errors import (
    InvalidQuery,
    OutputTooLarge,
    QueryFailed,
    QueryRefused,
    StoreUnavailable,
    WorkerBusy,
)
from orchestrator.model.limits import Limits
from orchestrator.model.run import Progress, RunPlan
from orchestrator.model.write_target import WriteTarget

_MIB = 1 << 20
_LOOK_SECONDS = 0.25


class SparkEngine:
    """Runs the queries of plans on a cluster, `most` at a time. A QueryRunner.

    `files` are shared with the cluster. `duckdb` describes and checks what was written. `projects` are those that may
    use the cluster; None: all.
    """

    def __init__(
        self,
        sessions: Sessions,
        parser: DuckDBAnalyzer,
        analyzer: ClusterAnalyzer,
        duckdb: DuckDBEngine,
        files: ClusterFiles,
        *,
        limits: Limits,
        most: int,
        slots: int,
        projects: Collection[int] | None,
    ) -> None:
        self._sessions = sessions
        self._inputs = SparkInputs(parser, analyzer)
        self._duckdb = duckdb
        self._files = files
        self._limits = limits
        self._projects = projects
        # Of turns, not of memory: the cluster has its own.
        self._admission = Admission(most + 1, queries=most, slots=slots, reserve_mb=1)

    def close(self) -> None:
        """Begin no further query. Those that wait fail with EngineCrashed."""
        self._admission.close()

    async def write(
        self,
        plan: RunPlan,
        file_url: Callable[[str, str], str],
        target: WriteTarget,
        on_progress: Callable[[Progress], None],
    ) -> QueryResult:
        """See QueryRunner."""
        if self._projects is not None and plan.project_id not in self._projects:
            raise QueryRefused("This project may not use the engine spark.")
        began = time.monotonic()

        def report(written: int, *, waiting: bool = False) -> None:
            elapsed = time.monotonic() - began
            on_progress(Progress(percent=None, elapsed_seconds=elapsed, waiting=waiting, bytes_written=written))

        async with self._admission.admit(1, lambda: report(0, waiting=True), project_id=plan.project_id):
            begun = time.monotonic()
            try:
                async with time_limit(plan.timeout_seconds):
                    found = await self._run(plan, file_url, target, report)
                left = max(1.0, plan.timeout_seconds - (time.monotonic() - begun))
                rest = plan.model_copy(update={"timeout_seconds": left})
                result = await self._adopt(rest, file_url, target, found, on_progress)
                _compare(found.rows, result.rows)
            except BaseException:
                await uninterruptible(asyncio.to_thread(empty, target.folder))
                raise
            return result

    async def _adopt(
        self,
        plan: RunPlan,
        file_url: Callable[[str, str], str],
        target: WriteTarget,
        found: ForeignResult,
        on_progress: Callable[[Progress], None],
    ) -> QueryResult:
        """Have DuckDB take up the result, once this worker has a turn for that.

        While its own queries take theirs, the query waits here for a while: tried again, it would run in the cluster
        again.
        """
        until = time.monotonic() + MAX_WAIT_SECONDS
        while True:
            try:
                return await self._duckdb.adopt(plan, file_url, target, found, on_progress)
            except WorkerBusy:
                if time.monotonic() > until:
                    raise

    async def _run(
        self, plan: RunPlan, file_url: Callable[[str, str], str], target: WriteTarget, report: Callable[[int], None]
    ) -> ForeignResult:
        """Have the cluster write the result, and give its files the names that results have."""
        try:
            prepared = await self._inputs.prepare(plan, lambda *file: self._files.url(file_url(*file)))
        except InvalidQuery as error:
            raise QueryRefused(error.message, position=error.position) from None
        url = self._files.target_url(target)
        running = asyncio.create_task(self._sessions.run(lambda session: _write(session, prepared, url)))
        sealed = {
            file_url(one.location, file.name): file.bytes
            for one in plan.relations
            if one.kind == "snapshot"
            for file in one.files
        }
        try:
            await self._watch(running, target, (plan.limits or self._limits).output_mb, report)
            found = running.result()
        except (QueryFailed, StoreUnavailable) as error:
            await self._files.require(sealed)
            raise explained(error, url, prepared.relations) from None
        finally:
            if not running.done():
                running.cancel()
                await uninterruptible(asyncio.wait([running]))
        await self._files.require(sealed)
        await self._files.collect(target, plan.run_id.hex[:8])
        return found

    async def _watch(
        self, running: "asyncio.Task[ForeignResult]", target: WriteTarget, output_mb: int, report: Callable[[int], None]
    ) -> None:
        """Report progress until the cluster has written the result. Raises OutputTooLarge."""
        size, next_time = 0, 0.0
        while True:
            is_done = running.done()
            if is_done or time.monotonic() >= next_time:
                size = await self._files.measure(target)
                next_time = time.monotonic() + self._files.measure_seconds
            if size > output_mb * _MIB:
                raise OutputTooLarge(f"The result is larger than it may be ({output_mb:,} MiB).")
            report(size)
            if is_done:
                return
            await asyncio.wait([running], timeout=_LOOK_SECONDS)


def _compare(written: int, found: int) -> None:
    """Raise StoreUnavailable unless the worker finds the rows that the cluster has written."""
    if written != found:
        rows = f"{written:,} rows, and the worker finds {found:,}"
        raise StoreUnavailable(f"The cluster has written {rows}: they do not see the same files.")


def _write(session: SparkSession, prepared: Prepared, url: str) -> ForeignResult:
    """Run the query of a plan into a new folder. It blocks."""
    create(session, prepared.relations)
    frame = session.sql(prepared.sql)
    columns = prepared.columns
    if columns is None:
        columns = columns_of(frame)
    written = as_columns(frame, columns)
    written.write.parquet(url)
    return ForeignResult(
        columns=columns,
        # As the cluster reads it again. With no rows, Sail writes nothing.
        rows=session.read.schema(written.schema).parquet(url).count(),
        engine_version=f"spark {session.version}",
        deterministic=prepared.deterministic,
    )
