"""The reconciler finds and repairs what was changed outside the program or was left half done."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

from temporalio.client import Client

from orchestrator.catalog import saved_queries
from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.findings import FindingKind
from orchestrator.temporal import contract
from tests.acceptance.reconciling import Reconcile, about, listed
from tests.contract.support import run_is_open, schedule_of
from tests.support.commands import run_matview
from tests.support.tenants import ENDLESS, Tenant, until


async def test_when_all_is_well_nothing_is_found(tenant: Tenant, temporal: Client, reconcile: Reconcile) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await listed(temporal, view["id"])
    await reconcile()
    assert await reconcile(dry_run=True) == set()
    assert await tenant.rows(view) == [{"n": 1}]


async def test_a_run_that_is_over_in_temporal_is_closed(tenant: Tenant, temporal: Client, reconcile: Reconcile) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    run = await tenant.running(view["id"])
    await temporal.get_workflow_handle(contract.run_workflow_id(UUID(view["id"]))).terminate("nobody asks the API")
    found = await reconcile()
    assert (FindingKind.RUN_ENDED, run["id"]) in found
    listed_ = (await tenant.call("GET", "/warehouse_saved_queries/"))["results"]
    assert [one["status"] for one in listed_] == ["Cancelled"]


async def test_a_generation_whose_workflow_is_over_is_closed(
    tenant: Tenant, database: Database, reconcile: Reconcile
) -> None:
    """It ended before it began, or its last two runs were closed at the same moment, neither as the last."""
    view = await tenant.materialized("v", "SELECT 1 AS n")
    (ended,) = (await tenant.call("GET", "/generations/"))["results"]
    began, unstarted, young = ended["id"], str(uuid4()), str(uuid4())
    async with database.begin() as tx:
        copied = "INSERT INTO generations SELECT '{}'::uuid, project_id, 'refresh/{}', selection, publish, full_refresh"
        columns = "trigger, 'Running', created_by, clock_timestamp() - interval '{} minutes', NULL, NULL"
        for new, age in ((unstarted, 2), (young, 0)):
            row = f"{copied.format(new, new)}, {columns.format(age)} FROM generations WHERE id = '{began}'"
            await tx.exec_driver_sql(row)
        await tx.exec_driver_sql(
            "UPDATE generations SET status = 'Running', finished_at = NULL, created_at = created_at - interval '1 hour'"
            f" WHERE id = '{began}'"
        )
    found = {(FindingKind.RUN_ENDED, began), (FindingKind.RUN_ENDED, unstarted)}
    assert await reconcile(dry_run=True) >= found
    assert await reconcile() >= found
    listed_ = (await tenant.call("GET", "/generations/"))["results"]
    assert {one["id"]: one["status"] for one in listed_} == {
        began: "Completed",
        unstarted: "Cancelled",
        young: "Running",  # the API may be starting it at this moment
    }
    assert await tenant.rows(view) == [{"n": 1}]


async def test_a_run_of_a_view_that_nobody_wants_any_more_is_cancelled(
    tenant: Tenant, temporal: Client, database: Database, reconcile: Reconcile
) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    await tenant.running(view["id"])
    async with database.begin() as tx:  # as if Temporal had been away in the middle of a revert
        await saved_queries.revert(tx, UUID(view["id"]))

    async def cancelled() -> bool:
        return FindingKind.RUN_ORPHANED in about(view, await reconcile())

    await until(cancelled, "the run to be listed and cancelled")

    async def over() -> bool:
        return not await run_is_open(temporal, view["id"])

    await until(over, "the run to be over")
    await reconcile()
    assert await schedule_of(temporal, view["id"]) is None
    assert tenant.staged() == []


async def test_the_reconciler_has_a_schedule_and_is_run_when_a_worker_starts(temporal: Client) -> None:
    description = await temporal.get_schedule_handle(contract.RECONCILE_ID).describe()
    assert description.schedule.spec.intervals[0].every == timedelta(seconds=600)
    handle = temporal.get_workflow_handle(contract.RECONCILE_ID)
    assert (await asyncio.wait_for(handle.result(), 60))["total"] >= 0


def test_reconcile_on_the_command_line_says_what_it_would_do(stack: DevStack, tmp_path: Path) -> None:
    environment = {
        "MATVIEW_DATABASE_URL": stack.info["database_url"],
        "MATVIEW_DATA_DIR": stack.info["data_dir"],
        "MATVIEW_TEMPORAL_ADDRESS": stack.info["temporal_address"],
    }
    ended = run_matview("reconcile", "--dry-run", cwd=tmp_path, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert " found" in ended.stdout.splitlines()[-1]
