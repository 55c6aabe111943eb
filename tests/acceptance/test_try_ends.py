"""The ends of an edit that is tried with the views that read it: deletion, cancel, loss, expiry, a dead worker."""

from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import CancelledError

from orchestrator.catalog.database import Database
from orchestrator.model.findings import FindingKind
from orchestrator.temporal import contract
from tests.acceptance.reconciling import Reconcile
from tests.acceptance.shops import (
    BELOW,
    EDITED,
    Shop,
    attempts_in_the_catalog,
    leases_in_the_catalog,
    member_ids,
    members_in_the_catalog,
    pins_in_the_catalog,
    statuses,
)
from tests.acceptance.test_tries import KEEP, LONG, expire, path_of
from tests.support.tenants import ENDLESS, Tenant, a_tenant, dev_stack, until


async def test_a_forgotten_try_stops_and_leaves_nothing_of_any_member(
    shop: Shop, tenant: Tenant, temporal: Client, database: Database, reconcile: Reconcile
) -> None:
    files = shop.files()
    await shop.edit("best", f"SELECT customer, amount FROM between, ({ENDLESS})")
    edit = await shop.started(EDITED)

    async def is_endless() -> bool:
        return (await shop.member(edit, "by_customer"))["rows"] is not None and bool(tenant.staged())

    await until(is_endless, "the query of a member that does not end")
    assert (await shop.member(edit, "orders"))["status"] == "Running", "its rows are there, and it runs"
    assert (await shop.refused(edit))["code"] == "try_not_ready"
    assert await pins_in_the_catalog(database, edit) == await leases_in_the_catalog(database, edit) == 1
    handle = temporal.get_workflow_handle(contract.try_workflow_id(edit["id"]))
    await tenant.call("DELETE", path_of(shop.views["orders"], edit), expect=204)
    await tenant.error("GET", path_of(shop.views["orders"], edit), status=404)
    with pytest.raises(WorkflowFailureError) as raised:
        await handle.result()
    assert isinstance(raised.value.cause, CancelledError)
    assert tenant.staged() == []
    assert await pins_in_the_catalog(database, edit) == await leases_in_the_catalog(database, edit) == 0
    for _ in range(2):
        await reconcile(retention=KEEP)
    assert shop.files() == files
    assert await members_in_the_catalog(database, edit) == 0


async def test_a_try_that_an_operator_cancels_cannot_be_promoted(shop: Shop, tenant: Tenant, temporal: Client) -> None:
    await shop.edit("best", f"SELECT customer, amount FROM between, ({ENDLESS})")
    edit = await shop.started(EDITED)

    async def is_endless() -> bool:
        return (await shop.member(edit, "by_customer"))["rows"] is not None and bool(tenant.staged())

    await until(is_endless, "the query of a member that does not end")
    await temporal.get_workflow_handle(contract.try_workflow_id(edit["id"])).cancel()
    ended = await shop.over(edit)
    assert ended["status"] == "Cancelled"
    assert statuses(ended) == {
        "orders": "Ready",
        "by_customer": "Ready",
        "best": "Cancelled",
        "total": "Cancelled",
    }
    assert (await shop.refused(edit))["code"] == "try_not_ready"


async def test_the_members_of_a_terminated_try_are_ended_by_the_reconciler(
    shop: Shop, tenant: Tenant, temporal: Client, database: Database, reconcile: Reconcile
) -> None:
    await shop.edit("best", f"SELECT customer, amount FROM between, ({ENDLESS})")
    edit = await shop.started(EDITED)

    async def is_endless() -> bool:
        return (await shop.member(edit, "by_customer"))["rows"] is not None and bool(tenant.staged())

    await until(is_endless, "the query of a member that does not end")
    await reconcile(retention=KEEP)
    assert (await shop.member(edit, "orders"))["status"] == "Running", "its workflow is open"
    await temporal.get_workflow_handle(contract.try_workflow_id(edit["id"])).terminate()
    lost = {kind for kind, subject in await reconcile(retention=KEEP) if subject in await member_ids(tenant, edit)}
    assert lost == {FindingKind.RUN_ENDED}
    ended = await shop.over(edit)
    assert (ended["status"], statuses(ended)) == (
        "Ready",
        {"orders": "Ready", "by_customer": "Ready", "best": "Failed", "total": "Failed"},
    )
    assert "lost" in {one["name"]: one["error"] for one in ended["members"]}["best"]
    assert await pins_in_the_catalog(database, edit) == await leases_in_the_catalog(database, edit) == 0
    assert sorted((await shop.member(edit, "by_customer"))["rows"]) == shop.expected()["by_customer"]


async def test_a_try_and_its_members_expire_and_their_files_and_rows_go(
    shop: Shop, database: Database, reconcile: Reconcile
) -> None:
    files = shop.files()
    edit = await shop.tried(EDITED)
    await reconcile(retention=KEEP)
    assert shop.files() == files + 4, "until then they stay"
    await expire(database, edit)
    graceful = KEEP.model_copy(update={"grace": timedelta(hours=1)})
    assert (FindingKind.TRY_EXPIRED, edit["id"]) in await reconcile(retention=graceful)
    assert shop.files() == files + 4, "a client may be reading them"
    for _ in range(2):
        await reconcile(retention=KEEP)
    assert shop.files() == files
    assert await members_in_the_catalog(database, edit) == 0


async def test_what_was_written_is_kept_when_the_worker_is_killed(session_folder: Path, sources: Path) -> None:
    async with dev_stack(session_folder / "killed-members", sources) as own_stack, a_tenant(own_stack) as tenant:
        shop = Shop(tenant, sources)
        await shop.make()
        slow = f"SELECT b.* FROM between b WHERE (SELECT count(*) FROM ({LONG})) > 0 ORDER BY amount DESC LIMIT 1"
        await shop.edit("best", slow)
        before = await shop.all()
        edit = await shop.started(EDITED)

        async def is_staged() -> bool:
            folder = tenant.data_dir / "staging" / str(tenant.project_id) / shop.views["best"]["id"]
            return any(folder.glob("*-1"))

        await until(is_staged, "the query of a member")
        own_stack.kill("worker")  # with SIGKILL; the stack starts another
        ended = await shop.over(edit)
        assert statuses(ended) == dict.fromkeys(("orders", *BELOW), "Ready")
        for name, rows in shop.expected().items():
            assert sorted((await shop.member(edit, name))["rows"]) == rows
        assert await attempts_in_the_catalog(tenant, edit) == {"orders": 1, "by_customer": 1, "best": 2, "total": 1}
        assert tenant.staged() == []
        assert await shop.all() == before
