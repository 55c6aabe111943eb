"""Calls that tests make to a schedule in Temporal itself, as an operator would."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy import select
from temporalio.client import Client, ScheduleHandle, ScheduleOverlapPolicy, WorkflowExecutionStatus

from orchestrator.catalog import runs, tables
from orchestrator.catalog.database import Database, Transaction
from orchestrator.model.generation import EndedRun
from orchestrator.model.run import RunRequest, RunStatus, Trigger
from orchestrator.temporal import contract
from tests.support.tenants import Json, Tenant, until, write_parquet


@dataclass(frozen=True)
class Operator:
    """An operator with access to Temporal."""

    temporal: Client

    def schedule(self, view_id: str) -> ScheduleHandle:
        return self.temporal.get_schedule_handle(contract.schedule_id(UUID(view_id)))

    async def tick(self, view_id: str, times: int = 1) -> None:
        """Let the schedule start that many runs, one after another, and wait for the end of each."""
        for _ in range(times):
            before = len(await self._ticks(view_id))
            # The schedule may not know yet that the tick before is over, and would skip this one.
            await self.schedule(view_id).trigger(overlap=ScheduleOverlapPolicy.ALLOW_ALL)

            async def over(before: int = before) -> bool:
                ticks = await self._ticks(view_id)
                return len(ticks) > before and WorkflowExecutionStatus.RUNNING not in ticks

            await until(over, "a tick")

    async def _ticks(self, view_id: str) -> Sequence[WorkflowExecutionStatus | None]:
        query = f"WorkflowType = '{contract.SCHEDULED_TICK}' AND TemporalScheduledById = 'materialize/{view_id}'"
        return [execution.status async for execution in self.temporal.list_workflows(query)]


@dataclass(frozen=True)
class Flaky:
    """A view that fails while its input is missing."""

    tenant: Tenant
    path: Path
    view_id: str

    def break_(self) -> None:
        self.path.unlink(missing_ok=True)

    def fix(self) -> None:
        write_parquet(self.path, a=[1])

    async def run(self) -> Json:
        """Run it over the API. Returns the run, once its workflow has ended."""
        before = len(await self.tenant.history(self.view_id))
        await self.tenant.act(self.view_id, "run")
        return await self.tenant.closed(await self.tenant.ended(self.view_id, before + 1))

    async def failed_before(self, times: int) -> None:
        """Record that many failed runs of the schedule in the catalog. Its failures are counted from there."""
        database = Database(self.tenant.database_url, pool_size=1)
        request = RunRequest(saved_query_id=UUID(self.view_id), trigger=Trigger.SCHEDULE)
        try:
            for _ in range(times):
                async with database.begin() as tx:
                    run = await runs.ensure_run(tx, request, "before", uuid4())
                    end = EndedRun(run_id=run.id, status=RunStatus.FAILED, error="no more", error_code="query_failed")
                    await runs.close(tx, [end])
        finally:
            await database.close()

    async def show(self) -> Json:
        return await self.tenant.view(self.view_id)

    async def is_paused(self) -> bool:
        paused: bool = (await self.show())["schedule_paused"]
        return paused

    async def verbs(self) -> Counter[tuple[str, bool]]:
        """The number of entries in the activity log, by verb and by whether the system made them."""
        path = f"/warehouse_saved_queries/{self.view_id}/activity/?limit=100"
        entries = (await self.tenant.call("GET", path))["results"]
        return Counter((entry["activity"], bool(entry["user"].get("is_system"))) for entry in entries)


async def a_flaky_view(tenant: Tenant, sources: Path, name: str = "v") -> Flaky:
    """A materialized view whose first run completed and whose next ones fail, until its input is restored."""
    path = sources / str(tenant.project_id) / f"{name}.parquet"
    write_parquet(path, a=[1])
    await tenant.add_table(f"{name}_input", path)
    view = await tenant.materialized(name, f"SELECT a FROM {name}_input")
    assert view["status"] == "Completed"
    flaky = Flaky(tenant, path, view["id"])
    flaky.break_()
    return flaky


async def copied_pause(tx: Transaction, saved_query_id: UUID) -> str | None:
    """The note of the pause that the catalog has a copy of; None if it has none."""
    return await tx.scalar(select(tables.pauses.c.note).where(tables.pauses.c.saved_query_id == saved_query_id))
