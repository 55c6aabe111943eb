"""Ticks of schedules that are due together become one generation, and each ends as its own view did."""

import asyncio
from uuid import UUID, uuid4

from temporalio.client import Client, WorkflowExecutionStatus

from orchestrator.catalog.database import Database
from orchestrator.model.run import RunStatus
from orchestrator.model.tick import Tick
from orchestrator.services.ticks import Ticks
from orchestrator.temporal import contract
from orchestrator.temporal.run_workflows import RunWorkflows
from tests.generations.test_refreshing import PATH, finished, saved, started
from tests.support.tenants import ENDLESS, Json, Tenant, until

COMPLETED, FAILED, CANCELED = (
    WorkflowExecutionStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED,
)


async def trigger(temporal: Client, *views: Json) -> None:
    """Have the schedules of these views tick now."""
    ids = (contract.schedule_id(UUID(view["id"])) for view in views)
    await asyncio.gather(*(temporal.get_schedule_handle(one).trigger() for one in ids))


async def ticks(temporal: Client, view: Json) -> list[tuple[str, WorkflowExecutionStatus | None]]:
    query = f"WorkflowType = '{contract.SCHEDULED_TICK}' AND TemporalScheduledById = 'materialize/{view['id']}'"
    return [(found.id, found.status) async for found in temporal.list_workflows(query)]


async def tick_ended(temporal: Client, view: Json) -> WorkflowExecutionStatus | None:
    async def ask() -> list[WorkflowExecutionStatus | None] | None:
        found = [status for _, status in await ticks(temporal, view)]
        return found if found and WorkflowExecutionStatus.RUNNING not in found else None

    (status,) = await until(ask, "the end of a tick")
    return status


async def generation_of(tenant: Tenant) -> Json:
    """The only generation of several views."""

    async def ask() -> Json | None:
        found = (await tenant.call("GET", PATH))["results"]
        return next((one for one in found if one["view_count"] > 1), None)

    return await until(ask, "a generation of several views")


async def test_ticks_that_are_due_together_are_one_generation(tenant: Tenant, temporal: Client) -> None:
    views = await saved(tenant, base="SELECT 1 AS n", above="SELECT n + 1 AS n FROM base", beside="SELECT 7 AS n")
    await trigger(temporal, *views.values())
    done = await finished(tenant, await generation_of(tenant))
    assert (done["status"], done["trigger"], done["view_count"]) == ("Completed", "schedule", 3)
    assert [await tick_ended(temporal, view) for view in views.values()] == [COMPLETED] * 3
    assert await tenant.rows(views["above"]) == [{"n": 2}]
    for view in views.values():
        (run,) = await tenant.history(view["id"])
        assert (run["trigger"], run["generation_id"]) == ("schedule", done["id"])


async def test_each_tick_ends_as_its_view_did(tenant: Tenant, temporal: Client, database: Database) -> None:
    views = await saved(
        tenant, bad="SELECT error('always') AS n", below="SELECT n FROM bad", good="SELECT 1 AS n", slow=ENDLESS
    )
    await trigger(temporal, *views.values())
    await tenant.running(views["slow"]["id"])
    await tenant.act(views["slow"]["id"], "cancel")
    ended = {name: await tick_ended(temporal, view) for name, view in views.items()}
    assert ended == {"bad": FAILED, "below": COMPLETED, "good": COMPLETED, "slow": COMPLETED}
    outcomes = {}
    for name, view in views.items():
        ((workflow_id, _),) = await ticks(temporal, view)
        if name != "bad":
            outcomes[name] = (await temporal.get_workflow_handle(workflow_id).result())["status"]
    assert outcomes == {"below": "Skipped", "good": "Completed", "slow": "Cancelled"}
    async with database.begin() as tx:
        left = await tx.exec_driver_sql(f"SELECT count(*) FROM ticks WHERE project_id = {tenant.project_id}")
    assert left.scalar_one() == 0


async def test_cancelling_a_tick_cancels_its_view_only(tenant: Tenant, temporal: Client) -> None:
    views = await saved(tenant, slow=ENDLESS, good="SELECT 1 AS n")
    await trigger(temporal, *views.values())
    await tenant.running(views["slow"]["id"])
    ((workflow_id, _),) = await ticks(temporal, views["slow"])
    await temporal.get_workflow_handle(workflow_id).cancel()
    # The report that its view was cancelled may overtake the end of the tick's own cancel.
    assert await tick_ended(temporal, views["slow"]) in {CANCELED, COMPLETED}
    assert await tick_ended(temporal, views["good"]) is COMPLETED
    assert {name: (await tenant.history(view["id"]))[0]["status"] for name, view in views.items()} == {
        "slow": "Cancelled",
        "good": "Completed",
    }


async def test_a_tick_whose_view_is_being_run_is_skipped_and_holds_up_nothing(tenant: Tenant, temporal: Client) -> None:
    views = await saved(tenant, slow=ENDLESS, one="SELECT 1 AS n", two="SELECT 2 AS n")
    held = await started(tenant, "slow")
    await tenant.running(views["slow"]["id"])
    await trigger(temporal, *views.values())
    assert [await tick_ended(temporal, view) for view in views.values()] == [COMPLETED] * 3
    assert await tenant.rows(views["two"]) == [{"n": 2}]
    assert len(await tenant.history(views["slow"]["id"])) == 1
    await tenant.call("POST", f"{PATH}{held['id']}/cancel/", {})


async def test_views_of_a_project_are_refreshed_together_by_their_schedules(tenant: Tenant) -> None:
    first = await tenant.create_view("first", "SELECT now() AS moment")
    second = await tenant.create_view("second", "SELECT moment FROM first")
    for view in (first, second):
        await tenant.call(
            "POST",
            f"/warehouse_saved_queries/{view['id']}/materialize/",
            {"sync_frequency": "1min", "run": False},
        )

    async def scheduled() -> list[Json] | None:
        runs = [await tenant.history(view["id"]) for view in (first, second)]
        found = [next((run for run in some if run["status"] == "Completed"), None) for some in runs]
        return [run for run in found if run] if all(found) else None

    one, other = await until(scheduled, "runs by the schedules", patience=100)
    assert one["generation_id"] == other["generation_id"]
    assert await tenant.rows(first) == await tenant.rows(second)


async def test_a_tick_looks_for_the_end_of_its_view_itself(
    tenant: Tenant, temporal: Client, database: Database
) -> None:
    views = await saved(tenant, slow=ENDLESS, good="SELECT 1 AS n")
    service = Ticks(database, RunWorkflows(temporal))
    generation = await started(tenant)
    run = await tenant.running(views["slow"]["id"])

    def tick(view: Json, generation_id: str) -> Tick:
        return Tick(
            saved_query_id=UUID(view["id"]),
            workflow_id="t",
            workflow_run_id=uuid4(),
            generation_id=UUID(generation_id),
        )

    assert await service.outcome(tick(views["slow"], generation["id"])) is None
    await temporal.get_workflow_handle(run["workflow_id"]).terminate("an operator")
    await tenant.history(views["slow"]["id"])
    await tenant.call("GET", f"/warehouse_saved_queries/{views['slow']['id']}/")

    async def over() -> RunStatus | None:
        found = await service.outcome(tick(views["slow"], generation["id"]))
        return None if found is None else found.status

    assert await until(over, "the end of the run") is RunStatus.CANCELLED
    unknown = await service.outcome(tick(views["slow"], str(uuid4())))
    assert unknown is not None
    assert unknown.status is RunStatus.SKIPPED
