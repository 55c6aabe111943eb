"""An edit is promoted together with the views that read the edited one, as one act."""

import asyncio

import pytest

from orchestrator.catalog.database import Database
from tests.acceptance.reconciling import Reconcile
from tests.acceptance.shops import (
    BELOW,
    BETWEEN,
    EDITED,
    ORDERS,
    Shop,
    members_in_the_catalog,
    statuses,
)
from tests.acceptance.test_tries import KEEP, ROUNDS, expire, path_of, rows_in_the_catalog
from tests.support.tenants import Tenant, until


async def test_a_try_is_promoted_with_all_that_it_has_written_as_one_act(
    shop: Shop, tenant: Tenant, database: Database
) -> None:
    reader = await tenant.create_view("reader", "SELECT orders.* FROM orders")
    old, new = shop.expected(ORDERS), shop.expected()
    edit = await shop.tried(EDITED)
    together = (
        "SELECT (SELECT sum(amount) FROM orders), (SELECT sum(amount) FROM by_customer), (SELECT direct FROM total)"
    )
    seen: list[list[int]] = []

    async def poll() -> None:
        while True:
            answer = await tenant.call("POST", "/query/", {"query": {"query": together}})
            if answer["results"][0] not in seen:
                seen.append(answer["results"][0])

    polling = asyncio.create_task(poll())
    try:
        promoted = await shop.promote(edit)

        async def is_seen() -> bool:
            return len(seen) > 1

        await until(is_seen, "a reader that sees it")
    finally:
        polling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await polling
    assert seen == [[36, 36, 36], [62, 62, 62]], "a reader sees all of it or none"
    assert old["orders"] != new["orders"]
    assert promoted["query"]["query"] == EDITED
    members = {one["name"]: one for one in edit["members"]}
    for name in ("orders", *BELOW):
        assert sorted(await shop.rows(name)) == new[name]
        shown = await tenant.view(shop.views[name]["id"])
        assert (shown["status"], shown["data_as_of"]) == ("Completed", edit["created_at"])
        assert (shown["latest_history_id"] == shop.views[name]["latest_history_id"]) is (name != "orders")
        newest = (await tenant.call("GET", f"/warehouse_saved_queries/{shown['id']}/snapshots/"))["results"][0]
        assert newest["row_count"] == members[name]["row_count"]
        link = tenant.data_dir / "current" / str(tenant.project_id) / name
        assert link.resolve() == (tenant.data_dir / "snapshots" / newest["location"]).resolve()
        journal = (await tenant.call("GET", f"/warehouse_saved_queries/{shown['id']}/activity/"))["results"]
        changes = [
            (one["field"], one["before"], one["after"]) for entry in journal for one in entry["detail"]["changes"]
        ]
        version = (shop.views[name]["current_snapshot_id"], shown["current_snapshot_id"])
        assert ("current_snapshot_id", *version) in changes
        # It is the result of the saved query over what is published now.
        await tenant.act(shown["id"], "run", {})
        assert (await tenant.ended(shown["id"], 3))["status"] == "Skipped"
    assert [one["name"] for one in (await tenant.view(reader["id"]))["columns"]][-1] == "currency"
    assert await rows_in_the_catalog(database, edit) == 1
    assert (await shop.refused(edit))["code"] == "try_not_ready"


@pytest.mark.parametrize("name", ["orders", "by_customer", "best", "total"])
async def test_a_try_is_not_promoted_if_one_of_its_views_was_refreshed(shop: Shop, name: str) -> None:
    edit = await shop.tried(EDITED)
    await shop.refresh(name)
    before = await shop.all()
    error = await shop.refused(edit)
    assert error["code"] == "try_outdated"
    assert name == "orders" or f'"{name}" was refreshed or rolled back' in error["detail"]
    assert await shop.all() == before


async def test_a_try_is_not_promoted_if_a_text_has_changed_that_it_was_computed_from(
    shop: Shop, tenant: Tenant
) -> None:
    for name, sql, word in (
        ("total", "SELECT count(*) AS direct, 3 AS rate FROM orders", "edited"),
        ("between", f"{BETWEEN} AND n < 100", "edited"),
    ):
        edit = await shop.tried(EDITED)
        await shop.edit(name, sql)
        before = await shop.all()
        error = await shop.refused(edit)
        assert (error["code"], f'"{name}" was {word}' in error["detail"]) == ("try_outdated", True), error
        assert await shop.all() == before
    edit = await shop.tried(EDITED)
    await tenant.act(shop.views["total"]["id"], "revert_materialization")
    assert 'The materialization of "total" was undone' in (await shop.refused(edit))["detail"]
    # A view that is read beside the tried ones may be refreshed: the result stays right for the moment of the try.
    edit = await shop.tried(EDITED)
    await shop.refresh("rates")
    await shop.promote(edit)


async def test_a_try_is_not_promoted_while_a_run_of_a_member_is_in_progress(shop: Shop, tenant: Tenant) -> None:
    await shop.edit("total", "SELECT sum(sqrt(a.rate * b.rate))::INT AS n FROM orders, rates a, rates b")
    edit = await shop.tried("SELECT * FROM raw_orders WHERE id < 3")
    await shop.edit("rates", "SELECT range AS rate FROM range(3000000)")  # over these rows its query does not end
    await shop.refresh("rates")
    await tenant.act(shop.views["total"]["id"], "run")
    await tenant.running(shop.views["total"]["id"])
    error = await shop.refused(edit)
    assert (error["code"], 'A run of "total" is in progress' in error["detail"]) == ("run_in_progress", True)
    await tenant.act(shop.views["total"]["id"], "cancel")
    await shop.promote(edit)
    assert await shop.rows("total") == [[6]]


async def test_what_is_written_is_promoted_though_a_member_failed_when_it_ran(shop: Shop, tenant: Tenant) -> None:
    broken = "SELECT id, customer, amount * 2 AS amount FROM raw_orders"
    careful = await tenant.materialized(
        "careful", "SELECT CASE WHEN max(amount) > 20 THEN error('big') END x FROM orders"
    )
    edit = await shop.tried(broken)
    found = statuses(edit)
    assert found == dict.fromkeys(("orders", *BELOW), "Ready") | {"careful": "Failed"}
    await shop.promote(edit)
    for name, rows in shop.expected(broken).items():
        assert sorted(await shop.rows(name)) == rows
    assert (await tenant.view(careful["id"]))["current_snapshot_id"] == careful["current_snapshot_id"]


async def test_promoted_members_stay_when_their_try_expires(
    shop: Shop, database: Database, reconcile: Reconcile
) -> None:
    edit = await shop.tried(EDITED)
    await shop.promote(edit)
    await expire(database, edit)
    for _ in range(2):
        await reconcile(retention=KEEP)
    for name, rows in shop.expected().items():
        assert sorted(await shop.rows(name)) == rows
    assert await members_in_the_catalog(database, edit) == 0


async def test_of_two_promotions_at_once_one_wins_with_all_of_its_members(shop: Shop) -> None:
    for n in range(1, ROUNDS + 1):
        texts = [f"SELECT id, customer, amount * {n * 10 + i} AS amount FROM raw_orders" for i in range(2)]
        edits = [await shop.tried(text) for text in texts]
        answers = await asyncio.gather(
            *(shop.tenant.http.post(path_of(shop.views["orders"], one, "promote/")) for one in edits)
        )
        assert sorted(answer.status_code for answer in answers) == [200, 400]
        (won,) = [text for text, answer in zip(texts, answers, strict=True) if answer.status_code == 200]
        for name, rows in shop.expected(won).items():
            assert sorted(await shop.rows(name)) == rows
        for one in edits:
            await shop.tenant.http.delete(path_of(shop.views["orders"], one))
