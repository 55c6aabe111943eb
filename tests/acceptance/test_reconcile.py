"""The reconciler finds and repairs what was changed outside the program or was left half done."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleState,
)

from orchestrator.catalog import saved_pauses, saved_queries
from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.findings import FindingKind, ReconcileRequest
from orchestrator.model.snapshot import Retention
from orchestrator.reconciliation.current import CurrentLinks
from orchestrator.reconciliation.failure_policy import FailurePolicy
from orchestrator.reconciliation.files import FileReconciler
from orchestrator.reconciliation.reconciler import Reconciler
from orchestrator.reconciliation.runs import RunReconciler, RunSync
from orchestrator.reconciliation.schedules import ScheduleReconciler, ScheduleSync
from orchestrator.stores.local import LocalStore
from orchestrator.temporal import contract
from orchestrator.temporal.run_workflows import RunWorkflows
from orchestrator.temporal.schedule_state import FAILURE_PAUSE_NOTE
from orchestrator.temporal.schedules import Schedules
from tests.contract.support import run_is_open, schedule_of
from tests.support.commands import run_matview
from tests.support.operator import copied_pause
from tests.support.tenants import ENDLESS, Json, Tenant, until

KEEP_ALL = Retention(count=1000, age=timedelta(days=1000), grace=timedelta(0))

Reconcile = Callable[..., Awaitable[set[tuple[FindingKind, str]]]]


@pytest.fixture
async def database(stack: DevStack) -> AsyncIterator[Database]:
    opened = Database(stack.info["database_url"], pool_size=2)
    yield opened
    await opened.close()


async def never() -> None:
    raise AssertionError("nothing else is to repair what this reconciler repairs")


@pytest.fixture
def reconcile(stack: DevStack, temporal: Client, database: Database) -> Reconcile:
    """A function that reconciles everything once, and returns the kind and subject of each finding."""

    async def look(*, dry_run: bool = False, retention: Retention = KEEP_ALL) -> set[tuple[FindingKind, str]]:
        store = LocalStore(Path(stack.info["data_dir"]))
        schedules = Schedules(temporal)
        policy = FailurePolicy(database, schedules, notifies=False)
        workflows = RunWorkflows(temporal)
        reconciler = Reconciler(
            RunReconciler(database, workflows, RunSync(database, workflows), policy),
            ScheduleReconciler(database, schedules, ScheduleSync(database, schedules)),
            FileReconciler(database, store, retention),
            CurrentLinks(database, store, never),
        )
        report = await reconciler.reconcile(ReconcileRequest(dry_run=dry_run), apply_policy=False)
        assert report.total == len(report.findings)
        return {(finding.kind, finding.subject) for finding in report.findings}

    return look


def about(view: Json, found: set[tuple[FindingKind, str]]) -> set[FindingKind]:
    return {kind for kind, subject in found if subject == view["id"]}


async def a_schedule(temporal: Client, view_id: str) -> None:
    action = ScheduleActionStartWorkflow(contract.SCHEDULED_TICK, id=f"tick/{view_id}", task_queue="nobody's")
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(days=9))])
    await temporal.create_schedule(contract.schedule_id(UUID(view_id)), Schedule(action=action, spec=spec))


async def listed(temporal: Client, view_id: str) -> bool:
    """Wait until the server's list, which lags a moment, has the schedule."""
    schedules = Schedules(temporal)

    async def ask() -> bool:
        return UUID(view_id) in await schedules.list_all()

    return await until(ask, "the schedule in the list")


async def test_when_all_is_well_nothing_is_found(tenant: Tenant, temporal: Client, reconcile: Reconcile) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await listed(temporal, view["id"])
    await reconcile()
    assert await reconcile(dry_run=True) == set()
    assert await tenant.rows(view) == [{"n": 1}]


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


async def test_a_run_that_is_over_in_temporal_is_closed(tenant: Tenant, temporal: Client, reconcile: Reconcile) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    run = await tenant.running(view["id"])
    await temporal.get_workflow_handle(contract.run_workflow_id(UUID(view["id"]))).terminate("nobody asks the API")
    found = await reconcile()
    assert (FindingKind.RUN_ENDED, run["id"]) in found
    listed_ = (await tenant.call("GET", "/warehouse_saved_queries/"))["results"]
    assert [one["status"] for one in listed_] == ["Cancelled"]


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


async def versions(tenant: Tenant, view: Json) -> list[str]:
    found = await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/snapshots/")
    return [version["id"] for version in found["results"]]


async def test_versions_beyond_the_number_that_is_kept_go_but_never_the_current_a_pinned_or_a_leased_one(
    tenant: Tenant, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    path = f"/warehouse_saved_queries/{view['id']}"
    leased = view["current_snapshot_id"]
    reader = await tenant.create_view("reader", f"SELECT v.n FROM v, ({ENDLESS}) e")
    await tenant.act(reader["id"], "materialize")
    await tenant.running(reader["id"])
    for number in range(2, 7):
        await tenant.act(view["id"], "run")
        await tenant.ended(view["id"], number)
    made = await versions(tenant, view)
    assert (len(made), made[-1]) == (6, leased)
    await tenant.call("PATCH", f"{path}/snapshots/{made[-2]}/", {"pinned": True})
    await tenant.act(view["id"], "rollback", {"snapshot_id": made[-3], "pause_schedule": False})

    keep_two = Retention(count=2, age=timedelta(days=1), grace=timedelta(0))
    assert (FindingKind.VERSION_EXPIRED, made[2]) in await reconcile(retention=keep_two, dry_run=True)
    assert await versions(tenant, view) == made, "a dry run changes nothing"
    found = await reconcile(retention=keep_two)

    assert {subject for kind, subject in found if kind is FindingKind.VERSION_EXPIRED} & set(made) == {made[2]}
    assert await versions(tenant, view) == [*made[:2], *made[3:]]
    assert len({file.parent for file in tenant.files(view)}) == 5, "its files are gone too"
    await tenant.error("POST", f"{path}/rollback/", {"snapshot_id": made[2]}, status=404)

    await tenant.act(reader["id"], "cancel")
    await tenant.call("PATCH", f"{path}/snapshots/{made[-2]}/", {"pinned": False})
    await reconcile(retention=keep_two)
    assert await versions(tenant, view) == [*made[:2], made[-3]]
    assert await tenant.rows(view) == [{"n": 1}]


async def test_old_versions_go_by_their_age_and_those_just_replaced_have_a_grace(
    tenant: Tenant, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)
    newest, oldest = await versions(tenant, view)
    old_and_kept = Retention(count=10, age=timedelta(0), grace=timedelta(hours=1))
    await reconcile(retention=old_and_kept)
    assert await versions(tenant, view) == [newest, oldest]
    await reconcile(retention=old_and_kept.model_copy(update={"grace": timedelta(0)}))
    assert await versions(tenant, view) == [newest]


async def test_what_a_reverted_or_deleted_view_left_goes_after_the_grace_even_if_pinned(
    tenant: Tenant, reconcile: Reconcile
) -> None:
    reverted, deleted = [await tenant.materialized(name, "SELECT 1 AS n") for name in ("a", "b")]
    for view in (reverted, deleted):
        (version,) = await versions(tenant, view)
        await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/snapshots/{version}/", {"pinned": True})
    await tenant.act(reverted["id"], "revert_materialization")
    await tenant.call("DELETE", f"/warehouse_saved_queries/{deleted['id']}/", expect=204)
    await reconcile(retention=KEEP_ALL.model_copy(update={"grace": timedelta(hours=1)}))
    assert len(tenant.files(reverted)) == len(tenant.files(deleted)) == 1
    await reconcile()
    assert tenant.files(reverted) == tenant.files(deleted) == []


async def test_files_that_no_run_needs_are_deleted_and_what_is_not_ours_is_left_alone(
    tenant: Tenant, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    endless = await tenant.create_view("endless", ENDLESS)
    await tenant.act(endless["id"], "materialize")
    going_on = await tenant.running(endless["id"])
    (run,) = await tenant.history(view["id"])
    project = tenant.data_dir / "snapshots" / str(tenant.project_id)
    left = [project / view["id"] / f"{run['id']}-7", tenant.data_dir / "staging" / str(tenant.project_id)]
    left[1] = left[1] / view["id"] / f"{run['id']}-8"
    foreign = [
        project / view["id"] / f"{uuid4()}-1",
        project / view["id"] / "notes",
        tenant.data_dir / "snapshots" / "of" / "somebody" / "else",
    ]
    for folder in [*left, *foreign]:
        folder.mkdir(parents=True)
        (folder / "data_0.parquet").write_text("something")

    found = await reconcile()

    assert not any(folder.exists() for folder in left)
    assert all((folder / "data_0.parquet").exists() for folder in foreign)
    assert sum(kind is FindingKind.UNKNOWN_FILES for kind, _ in found) == len(foreign)
    assert await tenant.rows(view) == [{"n": 1}]
    staged = tenant.data_dir / "staging" / str(tenant.project_id) / endless["id"] / f"{going_on['id']}-1"
    assert staged.exists(), "a run in progress keeps its folder"
    await tenant.act(endless["id"], "cancel")
    for folder in foreign:
        (folder / "data_0.parquet").unlink()
        folder.rmdir()


async def test_what_cannot_be_deleted_is_named_and_keeps_nothing_else_from_being_mended(
    tenant: Tenant, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    (run,) = await tenant.history(view["id"])
    folder = tenant.data_dir / "snapshots" / str(tenant.project_id) / view["id"]
    stubborn, other = folder / f"{run['id']}-7", folder / f"{run['id']}-8"
    stubborn.write_text("a file where a folder should be")
    other.mkdir()
    found = await reconcile()
    assert {kind for kind, subject in found if subject.endswith(stubborn.name)} == {FindingKind.REPAIR_FAILED}
    assert {kind for kind, subject in found if subject.endswith(other.name)} == {FindingKind.FILES_ORPHANED}
    assert not other.exists()
    stubborn.unlink()


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
