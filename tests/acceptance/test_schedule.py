"""A view's schedule in Temporal: the ticks that it starts, and the runs that the ticks start."""

from uuid import UUID

from temporalio.client import Client, WorkflowExecutionStatus

from orchestrator.temporal import contract
from tests.support.tenants import ENDLESS, Tenant, until


async def test_a_view_set_to_one_minute_is_refreshed_by_its_schedule(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT now() AS at", "1min")
    assert view["sync_frequency"] == "1min"

    async def scheduled() -> dict[str, object] | None:
        runs = await tenant.history(view["id"])
        found = [run for run in runs if run["trigger"] == "schedule" and run["status"] == "Completed"]
        return found[0] if found else None

    run = await until(scheduled, "a run by the schedule", patience=100)
    assert run["workflow_id"] == f"materialize/{view['id']}"
    assert (await tenant.view(view["id"]))["current_snapshot_id"] == run["snapshot_id"]


async def ticks(temporal: Client, view_id: str) -> list[WorkflowExecutionStatus | None]:
    query = f"WorkflowType = '{contract.SCHEDULED_TICK}' AND TemporalScheduledById = 'materialize/{view_id}'"
    return [execution.status async for execution in temporal.list_workflows(query)]


async def trigger(temporal: Client, view_id: str) -> None:
    await temporal.get_schedule_handle(contract.schedule_id(UUID(view_id))).trigger()


async def tick_ended(temporal: Client, view_id: str, count: int) -> WorkflowExecutionStatus:
    async def ask() -> list[WorkflowExecutionStatus | None] | None:
        found = await ticks(temporal, view_id)
        over = len(found) == count and WorkflowExecutionStatus.RUNNING not in found
        return found if over else None

    newest = (await until(ask, f"{count} ended tick(s)"))[0]
    assert newest is not None
    return newest


async def test_a_tick_ends_as_its_run_did(tenant: Tenant, temporal: Client) -> None:
    good = await tenant.materialized("good", "SELECT 1 AS n")
    await trigger(temporal, good["id"])
    assert await tick_ended(temporal, good["id"], 1) is WorkflowExecutionStatus.COMPLETED
    assert (await tenant.ended(good["id"], 2))["trigger"] == "schedule"

    bad = await tenant.materialized("bad", "SELECT error('always') AS n")
    await trigger(temporal, bad["id"])
    assert await tick_ended(temporal, bad["id"], 1) is WorkflowExecutionStatus.FAILED
    assert (await tenant.ended(bad["id"], 2))["status"] == "Failed"


async def test_a_tick_that_finds_a_run_in_progress_is_skipped(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    await tenant.running(view["id"])
    await trigger(temporal, view["id"])
    assert await tick_ended(temporal, view["id"], 1) is WorkflowExecutionStatus.COMPLETED
    assert len(await tenant.history(view["id"])) == 1
    await tenant.act(view["id"], "cancel")


async def test_cancelling_a_scheduled_run_does_not_fail_its_tick(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    await tenant.running(view["id"])
    await tenant.act(view["id"], "cancel")
    await trigger(temporal, view["id"])
    run = await tenant.running(view["id"])
    assert run["trigger"] == "schedule"
    await tenant.act(view["id"], "cancel")
    assert await tick_ended(temporal, view["id"], 1) is WorkflowExecutionStatus.COMPLETED


async def test_cancelling_a_tick_in_temporal_cancels_its_run(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    await tenant.act(view["id"], "cancel")
    await trigger(temporal, view["id"])
    await tenant.running(view["id"])
    query = f"WorkflowType = '{contract.SCHEDULED_TICK}' AND TemporalScheduledById = 'materialize/{view['id']}'"
    async for execution in temporal.list_workflows(query):
        await temporal.get_workflow_handle(execution.id).cancel()
    assert (await tenant.ended(view["id"], 2))["status"] == "Cancelled"


async def test_a_run_that_an_operator_terminated_reads_as_cancelled_and_does_not_block_the_next(
    tenant: Tenant, temporal: Client
) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    await tenant.running(view["id"])
    await temporal.get_workflow_handle(contract.run_workflow_id(UUID(view["id"]))).terminate(reason="enough of it")

    assert (await tenant.view(view["id"]))["status"] == "Cancelled"
    (run,) = await tenant.history(view["id"])
    assert run["status"] == "Cancelled"
    assert "enough of it" in run["error"]
    await tenant.act(view["id"], "run")
    await tenant.running(view["id"])
    await tenant.act(view["id"], "cancel")


async def test_a_run_that_an_operator_started_in_temporal_is_recorded_as_theirs(
    tenant: Tenant, temporal: Client
) -> None:
    view = await tenant.materialized("v", "SELECT now() AS n")
    await temporal.execute_workflow(
        contract.REFRESH,
        {"saved_query_id": view["id"]},
        id=contract.run_workflow_id(UUID(view["id"])),
        task_queue=contract.TASK_QUEUE,
    )
    run = await tenant.ended(view["id"], 2)
    assert (run["status"], run["trigger"]) == ("Completed", "operator")


async def test_a_changed_frequency_changes_the_one_schedule_and_not_its_pause(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    handle = temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"])))
    await handle.pause(note="an operator's own pause")

    changed = await tenant.act(view["id"], "materialize", {"sync_frequency": "1hour"})

    assert changed["sync_frequency"] == "1hour"
    assert (changed["schedule_paused"], changed["paused_reason"]) == (True, "an operator's own pause")
    schedule = (await handle.describe()).schedule
    assert [interval.every.total_seconds() for interval in schedule.spec.intervals] == [3600]
    assert schedule.state.paused
    assert len(await tenant.history(view["id"])) == 1, "a change of frequency starts no run"
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"], 2))["status"] == "Completed", "a paused schedule does not keep from running"
    assert (await handle.describe()).schedule.state.paused
