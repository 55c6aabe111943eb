"""The engines of a worker, of which each plan names one."""

from collections.abc import Callable

from orchestrator.engines.base import NO_CLUSTER, QueryAndCheckRunner, QueryResult, QueryRunner
from orchestrator.model.check import CheckResult
from orchestrator.model.engine import Engine
from orchestrator.model.errors import QueryRefused
from orchestrator.model.run import Progress, RunPlan, TableCheckPlan
from orchestrator.model.write_target import WriteTarget


class EngineOfPlan:
    """Runs each plan on the engine that it names. `spark` is None where no cluster is configured."""

    def __init__(self, duckdb: QueryAndCheckRunner, spark: QueryRunner | None) -> None:
        self._duckdb = duckdb
        self._spark = spark

    async def write(
        self,
        plan: RunPlan,
        file_url: Callable[[str, str], str],
        target: WriteTarget,
        on_progress: Callable[[Progress], None],
    ) -> QueryResult:
        """See QueryRunner."""
        if plan.engine is Engine.DUCKDB:
            return await self._duckdb.write(plan, file_url, target, on_progress)
        if self._spark is None:
            raise QueryRefused(f"{NO_CLUSTER[0].upper()}{NO_CLUSTER[1:]}")
        return await self._spark.write(plan, file_url, target, on_progress)

    async def check(
        self, plan: TableCheckPlan, folder: str | None, file_url: Callable[[str, str], str]
    ) -> tuple[CheckResult, ...]:
        """See TableChecker."""
        return await self._duckdb.check(plan, folder, file_url)
