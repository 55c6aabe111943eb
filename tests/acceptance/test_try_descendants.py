"""An edit is tried together with the views that read the edited one: what is written, and what fails."""

import asyncio

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.edit_try import MOST_MEMBERS
from tests.acceptance.shops import (
    BELOW,
    EDITED,
    Shop,
    leases_in_the_catalog,
    member_ids,
    pins_in_the_catalog,
    statuses,
)
from tests.acceptance.test_tries import LONG, all_of, path_of
from tests.support.commands import run_matview
from tests.support.tenants import Tenant, a_tenant, until, write_parquet


async def test_the_views_that_read_an_edited_one_are_written_from_its_result_and_readers_see_nothing(
    shop: Shop, database: Database
) -> None:
    before = await shop.all()
    edit = await shop.tried(EDITED, "?key=id")
    assert await pins_in_the_catalog(database, edit) == await leases_in_the_catalog(database, edit) == 0
    assert (edit["status"], edit["descendant_count"], edit["member"]) == ("Ready", 3, "orders")
    names = [one["name"] for one in edit["members"]]
    assert sorted(names) == ["best", "by_customer", "orders", "total"]
    assert names[0] == "orders"
    assert names.index("by_customer") < names.index("best") < names.index("total")
    expected = shop.expected()
    for one in edit["members"]:
        found = await shop.member(edit, one["name"])
        assert (one["status"], one["error"], found["member"]) == ("Ready", None, one["name"])
        assert sorted(found["rows"]) == expected[one["name"]]
        assert one["row_count"] == len(expected[one["name"]])
        assert one["base_snapshot_id"] == shop.views[one["name"]]["current_snapshot_id"]
        assert found["diff"]["from"]["snapshot_id"] == one["base_snapshot_id"]
        assert found["diff_error"] is None
    by_customer = await shop.member(edit, shop.views["by_customer"]["id"], "&key=customer")
    assert by_customer["diff"]["rows"] == {"added": 0, "removed": 0, "changed": 3, "unchanged": 0}
    assert edit["diff"]["schema"]["added"] == [{"name": "currency", "type": "VARCHAR"}]
    assert await shop.all() == before
    (listed,) = (await shop.tenant.call("GET", f"/warehouse_saved_queries/{shop.views['orders']['id']}/tries/"))[
        "results"
    ]
    assert (listed["id"], listed["status"], listed["descendant_count"]) == (edit["id"], "Ready", 3)
    for name in BELOW:
        of_member = await shop.tenant.call("GET", f"/warehouse_saved_queries/{shop.views[name]['id']}/tries/")
        assert of_member["results"] == []


async def test_what_is_published_while_a_try_runs_is_not_read(shop: Shop) -> None:
    slow = f"{EDITED} AND (SELECT count(*) FROM ({LONG})) > 0"
    edit = await shop.started(slow)
    await shop.edit("rates", "SELECT 4 AS rate")
    await shop.refresh("rates")
    await shop.edit("by_customer", "SELECT 'x' AS customer, 0 AS amount, 1 AS n FROM orders LIMIT 1")
    await shop.refresh("by_customer")
    edit = await shop.over(edit)
    expected = shop.expected()
    for name in ("orders", *BELOW):
        assert sorted((await shop.member(edit, name))["rows"]) == expected[name]
    assert await shop.rows("rates") == [[4]]


async def test_a_member_that_fails_is_named_and_those_below_it_are_skipped(shop: Shop, tenant: Tenant) -> None:
    before = await shop.all()
    # `by_customer` does not bind any more without `amount`; `best` and `total` are below it, `flags` is not.
    flags = shop.views["flags"] = await tenant.materialized("flags", "SELECT id > 2 AS flag FROM orders")
    before["flags"] = await all_of(tenant, flags)
    edit = await shop.tried("SELECT id, customer FROM raw_orders")
    assert edit["status"] == "Ready"
    assert statuses(edit) == {
        "orders": "Ready",
        "flags": "Ready",
        "by_customer": "Failed",
        "best": "Skipped",
        "total": "Skipped",
    }
    errors = {one["name"]: one["error"] for one in edit["members"]}
    assert "amount" in errors["by_customer"]
    assert errors["best"] == errors["total"] == '"by_customer" failed.'
    failed = await shop.member(edit, "by_customer")
    assert (failed["rows"], failed["diff"]) == (None, None)
    assert await shop.all() == before
    # Saving such an edit is refused, and so is this.
    assert (await shop.refused(edit))["code"] == "readers_break"
    assert await shop.all() == before


async def test_if_the_edited_query_fails_its_members_are_skipped(shop: Shop) -> None:
    before, files = await shop.all(), shop.files()
    edit = await shop.tried("SELECT id, customer, amount, error('never') AS e FROM raw_orders")
    assert edit["status"] == "Failed"
    assert statuses(edit) == {"orders": "Failed"} | dict.fromkeys(BELOW, "Skipped")
    assert {one["error"] for one in edit["members"][1:]} == {'"orders" failed.'}
    assert await shop.all() == before
    assert shop.files() == files
    assert (await shop.refused(edit))["code"] == "try_not_ready"


async def test_a_source_file_that_changes_has_all_readers_of_its_table_written_again(
    shop: Shop, tenant: Tenant
) -> None:
    # `beside` reads the table itself, and so does the edited view: both are of the same files in the end.
    await shop.edit("total", "SELECT (SELECT sum(amount) FROM orders) AS direct, sum(amount) AS raw FROM raw_orders")
    edit = await shop.started(f"SELECT id, customer, amount FROM raw_orders WHERE (SELECT count(*) FROM ({LONG})) > 0")

    async def is_pinned() -> bool:
        staged = tenant.data_dir / "staging" / str(tenant.project_id) / shop.views["orders"]["id"]
        return any(staged.glob(f"{edit['id']}-*"))

    await until(is_pinned, "the query of the try")
    write_parquet(shop.file, id=[1, 2], customer=["a", "b"], amount=[100, 200])
    edit = await shop.over(edit)
    assert edit["status"] == "Ready", edit
    assert (await shop.member(edit, "total"))["rows"] == [[300, 300]]
    assert len(edit["rows"]) == 2


async def test_the_number_of_members_of_a_try_is_bounded(tenant: Tenant) -> None:
    wrong = {"query": {"query": "SELECT 1 AS n"}, "descendants": "all of them"}
    root = await tenant.materialized("root", "SELECT 1 AS n")
    error = await tenant.error("POST", path_of(root), wrong, status=400)
    assert error["attr"] == "descendants"
    views = [
        {
            "name": f"reader_{number}",
            "query": {"kind": "SQLQuery", "query": f"SELECT n + {number} AS n FROM root"},
            "sync_frequency": "24hour",
        }
        for number in range(MOST_MEMBERS)
    ]
    await tenant.call("POST", "/definitions/apply/", {"views": views, "refresh": False})
    edit = {"query": {"query": "SELECT 2 AS n"}}
    error = await tenant.error("POST", path_of(root), edit | {"descendants": True}, status=400)
    assert (error["attr"], "500 materialized views read this one" in error["detail"]) == ("descendants", True)
    await tenant.call("POST", path_of(root), edit, expect=202)


async def test_members_of_another_project_or_try_are_not_found(stack: DevStack, shop: Shop, tenant: Tenant) -> None:
    edit = await shop.tried(EDITED)
    url = path_of(shop.views["orders"], edit)
    for name in ("beside", "nothing", shop.views["rates"]["id"], "between"):
        await tenant.error("GET", f"{url}?member={name}", status=404)
    for one in edit["members"][1:]:
        found = await member_ids(tenant, edit)
        for method, action in (("GET", ""), ("DELETE", ""), ("POST", "promote/")):
            for view in (shop.views["orders"], shop.views[one["name"]]):
                for which in found:
                    await tenant.error(method, path_of(view, {"id": which}, action), status=404)
    async with a_tenant(stack) as stranger:
        await stranger.error("GET", f"{url}?member=by_customer", status=404)
        await stranger.error(
            "POST", path_of(shop.views["orders"]), {"query": {"query": EDITED}, "descendants": True}, status=404
        )
        theirs = await stranger.materialized("orders", "SELECT 1 AS id, 'a' AS customer, 2 AS amount")
        mine = await stranger.call(
            "POST", path_of(theirs), {"query": {"query": "SELECT 2 AS id"}, "descendants": True}, expect=202
        )
        assert [one["name"] for one in mine["members"]] == ["orders"], "the same names of another project mean nothing"
    assert (await shop.over(edit))["status"] == "Ready"


async def test_the_command_tries_an_edit_with_its_descendants(stack: DevStack, shop: Shop, tenant: Tenant) -> None:
    env = {
        "MATVIEW_API_URL": stack.info["api_url"],
        "MATVIEW_API_KEY": tenant.token,
        "MATVIEW_PROJECT_ID": str(tenant.project_id),
    }

    async def typed(*arguments: str, status: int = 0) -> list[str]:
        result = await asyncio.to_thread(run_matview, "view", *arguments, env=env)
        assert result.returncode == status, result.stderr
        return (result.stdout + result.stderr).splitlines()

    lines = await typed("try", "orders", EDITED, "--descendants")
    start = lines.index("views, each compared with its current version by whole rows:")
    table = [line.split() for line in lines[start + 1 : start + 6]]
    assert table[0] == ["VIEW", "STATUS", "ROWS", "ADDED", "REMOVED", "COLUMNS", "ERROR"]
    assert sorted(table[1:]) == [
        ["best", "Ready", "1", "1", "1", "-", "-"],
        ["by_customer", "Ready", "3", "3", "3", "-", "-"],
        ["orders", "Ready", "3", "3", "4", "+currency", "-"],
        ["total", "Ready", "1", "1", "1", "-", "-"],
    ]
    broken = "SELECT id, customer FROM raw_orders"
    lines = await typed("try", "orders", broken, "--descendants", status=1)
    assert any(line.split()[:2] == ["by_customer", "Failed"] for line in lines if line)
    lines = await typed("try", "orders", broken, "--descendants", "--promote", status=1)
    assert lines[-1].startswith("error: not saved, since these have no result: by_customer, best, total. ")
    assert "saved and published" in (await typed("try", "orders", EDITED, "--descendants", "--promote"))[-1]
    assert sorted(await shop.rows("by_customer")) == shop.expected()["by_customer"]
