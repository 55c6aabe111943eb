"""The reconciler makes schedules what their views want, and keeps the pauses that people set."""

from datetime import timedelta
from uuid import UUID, uuid4

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleState,
)

from orchestrator.catalog import saved_pauses
from orchestrator.catalog.database import Database
from orchestrator.model.findings import FindingKind
from orchestrator.temporal import contract
from orchestrator.temporal.schedule_state import FAILURE_PAUSE_NOTE
from orchestrator.temporal.schedules import Schedules
from tests.acceptance.reconciling import Reconcile, about, listed
from tests.contract.support import schedule_of
from tests.support.operator import copied_pause
from tests.support.tenants import Json, Tenant, until


async def a_schedule(temporal: Client, view_id: str) -> None:
    action = ScheduleActionStartWorkflow(contract.SCHEDULED_TICK, id=f"tick/{view_id}", task_queue="without-workers")
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(days=9))])
    await temporal.create_schedule(contract.schedule_id(UUID(view_id)), Schedule(action=action, spec=spec))


async def lose_schedule(temporal: Client, view: Json, reconcile: Reconcile) -> ScheduleState:
    """Delete a view's schedule in Temporal. Returns its state once the reconciler has created it again."""
    await temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"]))).delete()

    async def made_again() -> bool:
        await reconcile()  # the server's list may still have the schedule at first
        return await schedule_of(temporal, view["id"]) is not None

    await until(made_again, "the schedule")
    described = await schedule_of(temporal, view["id"])
    assert described is not None
    return described.schedule.state


async def copied(database: Database, view: Json, reconcile: Reconcile, note: str | None) -> None:
    """Reconcile until the catalog has a copy of that pause, or none: the server's list lags a moment."""

    async def ask() -> bool:
        await reconcile()
        async with database.begin() as tx:
            return await copied_pause(tx, UUID(view["id"])) == note

    await until(ask, "a copy of the pause")


async def test_a_schedule_that_is_missing_is_created_as_the_view_wants_it(
    tenant: Tenant, temporal: Client, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n", "6hour")
    await temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"]))).delete()
    assert about(view, await reconcile(dry_run=True)) == {FindingKind.SCHEDULE_MISSING}
    assert await schedule_of(temporal, view["id"]) is None, "a dry run changes nothing"
    assert about(view, await reconcile()) == {FindingKind.SCHEDULE_MISSING}
    made = await schedule_of(temporal, view["id"])
    assert made is not None
    assert made.schedule.spec.intervals[0].every == timedelta(hours=6)


async def test_a_lost_schedule_is_made_again_with_the_pause_that_it_had_and_no_older_one(
    tenant: Tenant, temporal: Client, database: Database, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n", "6hour")
    handle = temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"])))
    await handle.pause(note="an operator's reason")
    await copied(database, view, reconcile, "an operator's reason")
    state = await lose_schedule(temporal, view, reconcile)
    assert (state.paused, state.note) == (True, "an operator's reason")
    await handle.unpause(note="it is well again")
    await copied(database, view, reconcile, None)
    assert not (await lose_schedule(temporal, view, reconcile)).paused


async def test_a_copy_of_a_pause_never_pauses_a_schedule_that_is_there(
    tenant: Tenant, temporal: Client, database: Database, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    async with database.begin() as tx:  # as it is when an operator has just lifted a pause
        await saved_pauses.keep(tx, UUID(view["id"]), "an old reason")
    await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", {"name": "w"})
    await tenant.act(view["id"], "materialize", {"sync_frequency": "6hour"})
    await reconcile(dry_run=True)
    described = await schedule_of(temporal, view["id"])
    assert described is not None
    assert not described.schedule.state.paused
    assert described.schedule.spec.intervals[0].every == timedelta(hours=6)


async def test_what_lifts_a_pause_over_the_api_takes_its_copy_away_at_once(
    tenant: Tenant, temporal: Client, database: Database, reconcile: Reconcile
) -> None:
    lifts: list[tuple[str, str, Json]] = [
        ("POST", "resume_schedules/", {}),
        ("PATCH", "{id}/", {"sync_frequency": "1hour"}),
        ("POST", "{id}/revert_materialization/", {}),
    ]
    for number, (method, path, body) in enumerate(lifts):
        view = await tenant.materialized(f"v{number}", "SELECT 1 AS n")
        await temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"]))).pause(note="for now")
        await copied(database, view, reconcile, "for now")
        given = {"view_ids": [view["id"]]} if path.startswith("resume") else body
        await tenant.call(method, f"/warehouse_saved_queries/{path.format(id=view['id'])}", given)
        async with database.begin() as tx:
            assert await copied_pause(tx, UUID(view["id"])) is None, path
        await tenant.act(view["id"], "materialize")
        assert not (await lose_schedule(temporal, view, reconcile)).paused, path


async def test_a_rollbacks_pause_is_kept_at_once_and_a_failures_stays_one_that_an_edit_lifts(
    tenant: Tenant, temporal: Client, database: Database, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)
    versions = (await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/snapshots/"))["results"]
    await tenant.act(view["id"], "rollback", {"snapshot_id": versions[-1]["id"]})
    state = await lose_schedule(temporal, view, reconcile)
    assert (state.paused, "rolled back" in (state.note or "")) == (True, True)

    failing = await tenant.materialized("failing", "SELECT 1 AS n")
    assert await Schedules(temporal).pause_for_failures(UUID(failing["id"]), "it failed.")
    await copied(database, failing, reconcile, FAILURE_PAUSE_NOTE + "it failed.")
    assert (await lose_schedule(temporal, failing, reconcile)).note == FAILURE_PAUSE_NOTE + "it failed."
    change = {"query": {"query": "SELECT 2 AS n"}, "soft_update": True}
    edited = await tenant.call("PATCH", f"/warehouse_saved_queries/{failing['id']}/", change)
    assert not edited["schedule_paused"]


async def test_a_schedule_that_nobody_wants_is_deleted_and_a_strangers_is_left_alone(
    tenant: Tenant, temporal: Client, reconcile: Reconcile
) -> None:
    view, stranger = await tenant.create_view("v", "SELECT 1 AS n"), {"id": str(uuid4())}
    for one in (view, stranger):
        await a_schedule(temporal, one["id"])
        await listed(temporal, one["id"])
    found = await reconcile()
    assert (about(view, found), about(stranger, found)) == (
        {FindingKind.SCHEDULE_ORPHANED},
        {FindingKind.UNKNOWN_SCHEDULE},
    )
    assert await schedule_of(temporal, view["id"]) is None
    left = await schedule_of(temporal, stranger["id"])
    assert left is not None
    await temporal.get_schedule_handle(contract.schedule_id(UUID(stranger["id"]))).delete()


async def test_a_schedule_that_starts_something_else_or_at_another_time_is_corrected_and_an_operators_pause_stays(
    tenant: Tenant, temporal: Client, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    handle = temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"])))
    await handle.delete()
    await a_schedule(temporal, view["id"])
    await handle.pause(note="an operator's reason")
    assert about(view, await reconcile()) <= {FindingKind.SCHEDULE_DRIFTED, FindingKind.SCHEDULE_MISSING} != set()
    now = (await handle.describe()).schedule
    assert isinstance(now.action, ScheduleActionStartWorkflow)
    assert (now.action.workflow, now.action.task_queue) == (contract.SCHEDULED_TICK, contract.TASK_QUEUE)
    assert now.spec.intervals[0].every == timedelta(hours=24)
    assert (now.state.paused, now.state.note) == (True, "an operator's reason")
