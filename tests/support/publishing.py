"""Runs that a test opens, writes and publishes by hand, at moments that a real run meets only by chance."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from orchestrator.catalog import generations, publication, run_plans, runs
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.publication import Published
from orchestrator.catalog.run_plans import Outcome
from orchestrator.model.run import Run, RunPlan, RunRequest, Trigger
from orchestrator.model.snapshot import Snapshot
from tests.support.tenants import Json


async def opened(
    tx: Transaction, project_id: int, view: Json, *, parents: Sequence[UUID] = (), begun: bool = True
) -> Run:
    """An open run of the view whose first attempt has begun, or has not."""
    request, workflow_run_id = RunRequest(saved_query_id=UUID(view["id"])), uuid4()
    await generations.ensure_single(tx, workflow_run_id, project_id, request, "w")
    run = await runs.ensure_run(tx, request, "w", workflow_run_id, generation_id=workflow_run_id)
    await run_plans.store(tx, [_plan(project_id, run, UUID(view["latest_history_id"]))])
    if begun:
        await claimed(tx, run)
    if parents:
        ids = ", ".join(f"'{parent}'" for parent in parents)
        await tx.exec_driver_sql(f"UPDATE runs SET parents = ARRAY[{ids}]::uuid[] WHERE id = '{run.id}'")
    return run


async def claimed(tx: Transaction, run: Run) -> int:
    """The number of a new attempt of the run, 0 if it has a result."""
    found = await run_plans.claim(tx, [run.id])
    return found[run.id].attempt if found else 0


async def recorded(tx: Transaction, snapshot: Snapshot) -> bool:
    """Record what an attempt has written; returns whether it still may."""
    return bool(await run_plans.record(tx, [Outcome(snapshot.run_id, snapshot.attempt, snapshot)]))


async def published(tx: Transaction, *written: Snapshot) -> Published:
    """Publish these snapshots of open runs together."""
    for snapshot in written:
        await recorded(tx, snapshot)
    return await publication.publish(tx, [snapshot.run_id for snapshot in written])


def _plan(project_id: int, run: Run, revision_id: UUID) -> RunPlan:
    return RunPlan(
        run_id=run.id,
        generation_id=run.workflow_run_id,
        project_id=project_id,
        saved_query_id=run.saved_query_id,
        revision_id=revision_id,
        name="v",
        sql="SELECT 1",
        relations=(),
        timeout_seconds=1,
        trigger=Trigger.API,
    )
