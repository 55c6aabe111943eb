"""The Spark engine: the cluster reads the pinned inputs and writes the result, and DuckDB looks at what was written."""

import asyncio
import re
import shutil
import time
from collections.abc import Callable, Collection
from pathlib import Path

from pyspark.sql.connect.session import SparkSession

from orchestrator.aio import uninterruptible
from orchestrator.engines.admission import Admission
from orchestrator.engines.attempts import empty, time_limit
from orchestrator.engines.base import ClusterAnalyzer, ForeignResult, QueryResult
from orchestrator.engines.duckdb.analyzer import DuckDBAnalyzer
from orchestrator.engines.duckdb.disk_space import size_of
from orchestrator.engines.duckdb.engine import DuckDBEngine
from orchestrator.engines.spark.inputs import Prepared, SparkInputs
from orchestrator.engines.spark.relations import as_columns, columns_of, create
from orchestrator.engines.spark.sessions import Sessions
from orchestrator.model.errors import InvalidQuery, OutputTooLarge, QueryFailed, QueryRefused
from orchestrator.model.limits import Limits
from orchestrator.model.run import Progress, RunPlan
from orchestrator.model.write_target import WriteTarget

_MIB = 1 << 20
_LOOK_SECONDS = 0.25
# Within the folder of a run, until all is written. Spark does not write into a folder that exists.
_WRITING = "spark"


class SparkEngine:
    """Runs the queries of plans on a cluster, `most` at a time. A QueryRunner.

    `duckdb` describes and checks what was written. `projects` are those that may use the cluster; None: all.
    """

    def __init__(
        self,
        sessions: Sessions,
        parser: DuckDBAnalyzer,
        analyzer: ClusterAnalyzer,
        duckdb: DuckDBEngine,
        *,
        limits: Limits,
        most: int,
        slots: int,
        projects: Collection[int] | None,
    ) -> None:
        self._sessions = sessions
        self._inputs = SparkInputs(parser, analyzer)
        self._duckdb = duckdb
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
                return await self._duckdb.adopt(rest, file_url, target, found, on_progress)
            except BaseException:
                await uninterruptible(asyncio.to_thread(empty, target.folder))
                raise

    async def _run(
        self, plan: RunPlan, file_url: Callable[[str, str], str], target: WriteTarget, report: Callable[[int], None]
    ) -> ForeignResult:
        """Have the cluster write the result, and give its files the names that results have."""
        try:
            prepared = await self._inputs.prepare(plan, file_url)
        except InvalidQuery as error:
            raise QueryRefused(error.message, position=error.position) from None
        folder = target.folder / _WRITING
        running = asyncio.create_task(self._sessions.run(lambda session: _write(session, prepared, folder.as_uri())))
        try:
            limit = (plan.limits or self._limits).output_mb
            while not running.done():
                await asyncio.wait([running], timeout=_LOOK_SECONDS)
                size = await asyncio.to_thread(size_of, str(target.folder))
                if size > limit * _MIB:
                    raise OutputTooLarge(f"The result is larger than it may be ({limit:,} MiB).")
                report(size)
            found = running.result()
        except QueryFailed as error:
            raise error.changed(_without_paths(error.message, target.folder, prepared)) from None
        finally:
            if not running.done():
                running.cancel()
                await uninterruptible(asyncio.wait([running]))
        await asyncio.to_thread(_take_over, folder, plan.run_id.hex[:8])
        return found


def _write(session: SparkSession, prepared: Prepared, url: str) -> ForeignResult:
    """Run the query of a plan into a new folder. It blocks."""
    create(session, prepared.relations)
    frame = session.sql(prepared.sql)
    columns = prepared.columns
    if columns is None:
        columns = columns_of(frame)
    as_columns(frame, columns).write.parquet(url)
    return ForeignResult(
        columns=columns, engine_version=f"spark {session.version}", deterministic=prepared.deterministic
    )


def _take_over(folder: Path, suffix: str) -> None:
    """Move the files of a result into the folder above, under names that no other version has."""
    written = sorted(folder.glob("*.parquet"), key=lambda path: (len(path.name), path.name))
    for number, path in enumerate(written):
        name = "data_0.parquet" if len(written) == 1 else f"data_{number}_{suffix}.parquet"
        path.rename(folder.parent / name)
    shutil.rmtree(folder, ignore_errors=True)


def _without_paths(message: str, target: Path, prepared: Prepared) -> str:
    """The message without paths of the store."""
    message = re.sub(rf"(file:/*)?{re.escape(str(target))}[^\s'\"]*", "the result", message)
    for relation in prepared.relations:
        for url in getattr(relation, "urls", ()):
            for path in (url, url.removeprefix("file://")):
                message = message.replace(path, f'a file of "{relation.name}"')
    return message
