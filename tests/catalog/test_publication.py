"""Publication at moments that a real run meets only by chance."""

from uuid import UUID, uuid4

import pytest

from orchestrator.catalog import runs, saved_queries
from orchestrator.catalog.database import Database
from orchestrator.model.base import now
from orchestrator.model.errors import RunSuperseded
from orchestrator.model.run import Run, RunRequest, RunStatus
from orchestrator.model.saved_query import SyncFrequency
from orchestrator.model.snapshot import Snapshot, location_of, snapshot_id
from tests.support.tenants import Json, Tenant


async def begun(database: Database, view: Json) -> Run:
    async with database.begin() as tx:
        run = await runs.ensure_run(tx, RunRequest(saved_query_id=UUID(view["id"])), "w", uuid4())
        await runs.claim_attempt(tx, run.id)
        return run


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
    with pytest.raises(RunSuperseded):
        async with database.begin() as tx:
            await runs.publish(tx, snapshot)


async def test_a_run_from_before_a_revert_does_not_publish_after_the_view_is_wanted_again(
    database: Database, tenant: Tenant, view: Json
) -> None:
    run = await begun(database, view)
    async with database.begin() as tx:
        await saved_queries.revert(tx, UUID(view["id"]))
    async with database.begin() as tx:
        await saved_queries.set_frequency(tx, UUID(view["id"]), SyncFrequency.HOUR_1)
    await refused(database, result(tenant, view, run))
    assert (await tenant.view(view["id"]))["current_snapshot_id"] is None


async def test_an_attempt_that_another_one_has_followed_does_not_publish(
    database: Database, tenant: Tenant, view: Json
) -> None:
    run = await begun(database, view)
    async with database.begin() as tx:
        assert await runs.claim_attempt(tx, run.id) == 2
    await refused(database, result(tenant, view, run, attempt=1))
    async with database.begin() as tx:
        await runs.publish(tx, result(tenant, view, run, attempt=2))
    assert (await tenant.view(view["id"]))["current_snapshot_id"] == str(snapshot_id(run.id, 2))


async def test_a_run_that_was_ended_does_not_publish(database: Database, tenant: Tenant, view: Json) -> None:
    run = await begun(database, view)
    async with database.begin() as tx:
        await runs.close(tx, run.id, RunStatus.CANCELLED, None, None)
    await refused(database, result(tenant, view, run))
    assert (await tenant.view(view["id"]))["current_snapshot_id"] == view["current_snapshot_id"]


async def test_publishing_twice_is_publishing_once(database: Database, tenant: Tenant, view: Json) -> None:
    run = await begun(database, view)
    for _ in range(2):
        async with database.begin() as tx:
            await runs.publish(tx, result(tenant, view, run))
    found = await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/snapshots/")
    assert found["results"][0]["id"] == str(snapshot_id(run.id, 1))
    assert found["count"] == 2


async def test_whoever_does_not_decide_the_revision_of_a_run_leaves_it_as_it_is(database: Database, view: Json) -> None:
    request, workflow_run_id, revision = (
        RunRequest(saved_query_id=UUID(view["id"])),
        uuid4(),
        UUID(view["latest_history_id"]),
    )
    for told, known in ((None, None), (revision, revision), (None, revision)):
        async with database.begin() as tx:
            assert (await runs.ensure_run(tx, request, "w", workflow_run_id, told)).revision_id == known
