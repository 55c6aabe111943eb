"""Publication at moments that a real run meets only by chance."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from orchestrator.catalog import publication, run_plans, runs, saved_queries
from orchestrator.catalog.database import Database
from orchestrator.catalog.run_plans import Outcome
from orchestrator.model.base import now
from orchestrator.model.check import CheckResult, CheckStatus, Severity
from orchestrator.model.generation import EndedRun
from orchestrator.model.run import Run, RunRequest, RunStatus
from orchestrator.model.saved_query import SyncFrequency, Timing
from orchestrator.model.snapshot import Snapshot, location_of, snapshot_id
from tests.support import publishing
from tests.support.tenants import Json, Tenant


async def begun(database: Database, tenant: Tenant, view: Json) -> Run:
    async with database.begin() as tx:
        return await publishing.opened(tx, tenant.project_id, view)


def result(tenant: Tenant, view: Json, run: Run, attempt: int = 1) -> Snapshot:
    view_id = UUID(view["id"])
    return Snapshot(
        id=snapshot_id(run.id, attempt),
        run_id=run.id,
        saved_query_id=view_id,
        revision_id=UUID(view["latest_history_id"]),
        attempt=attempt,
        location=location_of(tenant.project_id, view_id, run.id, attempt),
        files=(),
        rows=0,
        bytes=0,
        columns=(),
        inputs=(),
        engine_version="",
        created_at=now(),
    )


@pytest.fixture
async def view(tenant: Tenant) -> Json:
    return await tenant.materialized("v", "SELECT 1 AS n")


async def refused(database: Database, snapshot: Snapshot) -> None:
    async with database.begin() as tx:
        done = await publishing.published(tx, snapshot)
    assert (done.published, [one.run_id for one in done.refused]) == ((), [snapshot.run_id])


async def test_a_run_from_before_a_revert_does_not_publish_after_the_view_is_wanted_again(
    database: Database, tenant: Tenant, view: Json
) -> None:
    run = await begun(database, tenant, view)
    async with database.begin() as tx:
        await saved_queries.revert(tx, UUID(view["id"]))
    async with database.begin() as tx:
        await saved_queries.set_timing(tx, UUID(view["id"]), Timing(frequency=SyncFrequency.HOUR_1))
    await refused(database, result(tenant, view, run))
    assert (await tenant.view(view["id"]))["current_snapshot_id"] is None


async def test_an_attempt_that_another_one_has_followed_does_not_publish(
    database: Database, tenant: Tenant, view: Json
) -> None:
    run = await begun(database, tenant, view)
    async with database.begin() as tx:
        assert await publishing.claimed(tx, run) == 2
        assert not await publishing.recorded(tx, result(tenant, view, run, attempt=1))
    async with database.begin() as tx:
        await publishing.published(tx, result(tenant, view, run, attempt=2))
    assert (await tenant.view(view["id"]))["current_snapshot_id"] == str(snapshot_id(run.id, 2))


async def test_no_attempt_begins_once_a_result_is_recorded(database: Database, tenant: Tenant, view: Json) -> None:
    run = await begun(database, tenant, view)
    async with database.begin() as tx:
        assert await publishing.recorded(tx, result(tenant, view, run))
        assert await publishing.claimed(tx, run) == 0
        assert [one.run_id for one in (await publication.publish(tx, [run.id])).published] == [run.id]


async def test_a_result_is_not_published_once_another_attempt_has_begun(
    database: Database, tenant: Tenant, view: Json
) -> None:
    run = await begun(database, tenant, view)
    async with database.begin() as tx:
        assert await publishing.recorded(tx, result(tenant, view, run))
        await tx.exec_driver_sql(f"UPDATE runs SET attempt = 2 WHERE id = '{run.id}'")
    async with database.begin() as tx:
        done = await publication.publish(tx, [run.id])
    assert [(one.run_id, one.error) for one in done.refused] == [(run.id, "Another attempt of its query has begun.")]
    assert (await tenant.view(view["id"]))["current_snapshot_id"] == view["current_snapshot_id"]


async def test_a_run_that_was_ended_does_not_publish(database: Database, tenant: Tenant, view: Json) -> None:
    run = await begun(database, tenant, view)
    async with database.begin() as tx:
        await runs.close(tx, [EndedRun(run_id=run.id, status=RunStatus.CANCELLED)])
    await refused(database, result(tenant, view, run))
    assert (await tenant.view(view["id"]))["current_snapshot_id"] == view["current_snapshot_id"]


async def test_publishing_twice_is_publishing_once(database: Database, tenant: Tenant, view: Json) -> None:
    run = await begun(database, tenant, view)
    for _ in range(2):
        async with database.begin() as tx:
            done = await publishing.published(tx, result(tenant, view, run))
        assert [one.snapshot_id for one in done.published] == [snapshot_id(run.id, 1)]
    found = await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/snapshots/")
    assert found["results"][0]["id"] == str(snapshot_id(run.id, 1))
    assert found["count"] == 2


async def test_whoever_does_not_decide_the_revision_of_a_run_leaves_it_as_it_is(database: Database, view: Json) -> None:
    request, workflow_run_id, revision = (
        RunRequest(saved_query_id=UUID(view["id"])),
        uuid4(),
        UUID(view["latest_history_id"]),
    )
    for given, known in ((None, None), (revision, revision), (None, revision)):
        async with database.begin() as tx:
            assert (await runs.ensure_run(tx, request, "w", workflow_run_id, revision_id=given)).revision_id == known


async def test_a_run_that_may_not_publish_keeps_none_of_the_others_from_it(
    database: Database, tenant: Tenant, view: Json
) -> None:
    other = await tenant.materialized("other", "SELECT 2 AS n")
    first, second = await begun(database, tenant, view), await begun(database, tenant, other)
    async with database.begin() as tx:
        await saved_queries.revert(tx, UUID(other["id"]))
    async with database.begin() as tx:
        done = await publishing.published(tx, result(tenant, view, first), result(tenant, other, second))
    assert [one.run_id for one in done.published] == [first.id]
    assert [one.run_id for one in done.refused] == [second.id]
    assert (await tenant.history(other["id"]))[0]["status"] == "Cancelled"
    assert (await tenant.view(view["id"]))["current_snapshot_id"] == str(snapshot_id(first.id, 1))


async def test_what_was_made_from_a_view_that_was_rolled_back_meanwhile_is_not_published(
    database: Database, tenant: Tenant, view: Json
) -> None:
    below, lower = [await tenant.materialized(name, "SELECT 2 AS n") for name in ("below", "lower")]
    async with database.begin() as tx:
        top = await publishing.opened(tx, tenant.project_id, view)
        middle = await publishing.opened(tx, tenant.project_id, below, parents=[UUID(view["id"])])
        last = await publishing.opened(tx, tenant.project_id, lower, parents=[UUID(below["id"])])
        await runs.cancel_running(tx, UUID(view["id"]), "It was rolled back.", "rolled_back")
    made = (result(tenant, view, top), result(tenant, below, middle), result(tenant, lower, last))
    async with database.begin() as tx:
        assert (await publishing.published(tx, *made)).published == ()
    for one in (below, lower):
        run = (await tenant.history(one["id"]))[0]
        assert (run["status"], run["skipped_reason"]) == ("Skipped", '"v" was rolled back while this generation ran.')


async def test_what_was_made_from_a_result_that_its_checks_keep_back_is_not_published(
    database: Database, tenant: Tenant, view: Json
) -> None:
    below, beside = [await tenant.materialized(name, "SELECT 2 AS n") for name in ("below", "beside")]
    failed = CheckResult(
        check_id=uuid4(), label="c", severity=Severity.ERROR, status=CheckStatus.FAILED, failing_rows=1
    )
    async with database.begin() as tx:
        top = await publishing.opened(tx, tenant.project_id, view)
        middle = await publishing.opened(tx, tenant.project_id, below, parents=[UUID(view["id"])])
        other = await publishing.opened(tx, tenant.project_id, beside)
        blocked = Outcome(top.id, 1, result(tenant, view, top), checks=(failed,))
        assert await run_plans.record(tx, [blocked])
        written = (result(tenant, below, middle), result(tenant, beside, other))
        await run_plans.record(tx, [Outcome(one.run_id, 1, one) for one in written])
    async with database.begin() as tx:
        done = await publication.publish(tx, [top.id, middle.id, other.id])
    assert [one.run_id for one in done.published] == [other.id]
    assert {one.run_id: one.status for one in done.refused} == {top.id: "Failed", middle.id: "Skipped"}
    assert (await tenant.history(below["id"]))[0]["skipped_reason"] == '"v" failed.'
    assert (await tenant.view(view["id"]))["current_snapshot_id"] == view["current_snapshot_id"]


async def test_a_view_has_one_open_run_whoever_opens_it(database: Database, tenant: Tenant, view: Json) -> None:
    await begun(database, tenant, view)
    with pytest.raises(IntegrityError):
        await begun(database, tenant, view)
    async with database.begin() as tx:
        await runs.record_started(tx, RunRequest(saved_query_id=UUID(view["id"])), "w", uuid4())
    assert await tenant.recorded(view) == ["Completed", "Running"]
