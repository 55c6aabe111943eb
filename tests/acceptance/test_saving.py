"""Saving and listing views."""

import asyncio
from uuid import UUID

from temporalio.client import Client

from orchestrator.devstack.stack import DevStack
from orchestrator.temporal import contract
from tests.support.tenants import Tenant

VIEWS = "/warehouse_saved_queries/"


async def test_a_new_view_is_shown_whole(tenant: Tenant) -> None:
    view = await tenant.create_view("a.b", "SELECT 1 AS zebra, 'x' AS mm, {'k': 1} AS a", description="why")
    assert {
        key: view[key] for key in ("name", "description", "deleted", "origin", "status", "managed_viewset_kind")
    } == {
        "name": "a.b",
        "description": "why",
        "deleted": False,
        "origin": "data_warehouse",
        "status": None,
        "managed_viewset_kind": None,
    }
    assert view["query"] == {"kind": "HogQLQuery", "query": "SELECT 1 AS zebra, 'x' AS mm, {'k': 1} AS a"}
    assert [column["name"] for column in view["columns"]] == ["zebra", "mm", "a"]
    assert view["columns"][0] == {
        "key": "zebra",
        "name": "zebra",
        "type": "integer",
        "schema_valid": True,
        "fields": None,
        "table": None,
        "chain": None,
        "duckdb_type": "INTEGER",
        "description": None,
    }
    assert view["created_by"]["email"] == "tester@example.com"
    assert view["created_at"].endswith("Z")
    assert "edited_history_id" not in view
    assert "soft_update" not in view


async def test_unknown_fields_of_a_request_are_ignored(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n", folder_id="x", is_test=True, sync_frequency="1hour")
    assert view["sync_frequency"] is None, "creating schedules nothing"


async def test_creating_a_name_that_exists_is_an_edit_that_needs_the_latest_history_id(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    same = await tenant.create_view("v", "SELECT 1 AS n", expect=200)
    assert same == view

    body = {"name": "v", "query": {"query": "SELECT 2 AS n"}}
    for token in ({}, {"edited_history_id": None}, {"edited_history_id": "nope"}, {"edited_history_id": view["id"]}):
        refused = await tenant.error("POST", VIEWS, body | token, status=400)
        assert refused["detail"] == "The query was modified by someone else."
    token = view["latest_history_id"].upper().replace("-", "")
    edited = await tenant.create_view("v", "SELECT 2 AS n", expect=200, edited_history_id=token)
    assert edited["id"] == view["id"]
    assert edited["status"] == "Modified"
    assert edited["latest_history_id"] != view["latest_history_id"]
    await tenant.error("POST", VIEWS, {**body, "query": {"query": "SELECT 3"}, "edited_history_id": token}, status=400)
    soft = await tenant.create_view("v", "SELECT 3 AS m", expect=200, soft_update=True)
    assert [column["name"] for column in soft["columns"]] == ["m"]


async def test_a_cycle_is_refused_with_its_path(tenant: Tenant) -> None:
    await tenant.create_view("a", "SELECT 1 AS n")
    await tenant.create_view("b", "SELECT n FROM a")
    await tenant.create_view("c", "SELECT n FROM b")
    body = {"name": "a", "query": {"query": "SELECT n FROM c"}, "soft_update": True}
    refused = await tenant.error("POST", VIEWS, body, status=400)
    assert refused["detail"] == "Model contains a cycle: a -> c -> b -> a"
    body["query"] = {"query": "SELECT n FROM a"}
    assert "Model contains a cycle: a -> a" in (await tenant.error("POST", VIEWS, body, status=400))["detail"]


async def test_of_many_at_once_who_edit_with_one_token_one_wins(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 0 AS n")
    answers = await asyncio.gather(
        *(
            tenant.http.post(
                VIEWS,
                json={
                    "name": "v",
                    "query": {"query": f"SELECT {number} AS n"},
                    "edited_history_id": view["latest_history_id"],
                },
            )
            for number in range(1, 31)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 29


async def test_of_many_at_once_who_want_different_frequencies_the_last_ones_wish_is_the_schedule(
    tenant: Tenant, stack: DevStack
) -> None:
    temporal = await Client.connect(stack.info["temporal_address"])
    seconds = {"1hour": 3600, "6hour": 21600, "12hour": 43200}
    for number in range(8):
        view = await tenant.create_view(f"v{number}", "SELECT 1 AS n")
        path = f"{VIEWS}{view['id']}/materialize/"
        await asyncio.gather(
            *(tenant.http.post(path, json={"sync_frequency": frequency}) for frequency in list(seconds) * 3)
        )
        handle = temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"])))
        (interval,) = (await handle.describe()).schedule.spec.intervals
        assert interval.every.total_seconds() == seconds[(await tenant.view(view["id"]))["sync_frequency"]]


async def test_a_graph_of_very_many_ways_is_checked_for_cycles_at_once(tenant: Tenant) -> None:
    above = ["SELECT 1 AS n", "SELECT 1 AS n"]
    for layer in range(24):
        for side in range(2):
            view = await tenant.create_view(f"l{layer}_{side}", above[side])
            if layer % 8 == 7:  # Otherwise one query with all these views inlined would read too much.
                await tenant.act(view["id"], "materialize")
                await tenant.ended(view["id"])
        above = [f"SELECT a.n FROM l{layer}_0 a JOIN l{layer}_1 b USING (n)"] * 2
    await tenant.create_view("l23_0", above[0].replace("l23", "l22") + " WHERE n > 0", expect=200, soft_update=True)
    body = {"name": "l0_0", "query": {"query": "SELECT n FROM l23_1"}, "soft_update": True}
    assert "cycle" in (await tenant.error("POST", VIEWS, body, status=400))["detail"]


async def test_another_kind_around_the_same_sql_is_echoed_and_is_no_new_revision(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    body = {"name": "v", "query": {"kind": "SQLQuery", "query": "SELECT 1 AS n"}}
    same = await tenant.call("POST", VIEWS, body)
    assert (same["query"]["kind"], same["latest_history_id"]) == ("SQLQuery", view["latest_history_id"])


async def test_a_views_columns_follow_what_it_reads_once_it_has_run(tenant: Tenant) -> None:
    below = await tenant.create_view("below", "SELECT 1 AS a")
    top = await tenant.materialized("top", "SELECT * FROM below")
    await tenant.create_view(
        "below", "SELECT 'x' AS a, 2 AS b", expect=200, edited_history_id=below["latest_history_id"]
    )
    await tenant.act(top["id"], "run")
    await tenant.ended(top["id"], 2)
    columns = (await tenant.view(top["id"]))["columns"]
    assert [(column["name"], column["type"]) for column in columns] == [("a", "string"), ("b", "integer")]
    await tenant.create_view("over", "SELECT b FROM top")


async def test_lists_are_pages_newest_first_without_the_query(tenant: Tenant) -> None:
    for number in range(5):
        await tenant.create_view(f"view_{number}", f"SELECT {number} AS n")
    page = await tenant.call("GET", VIEWS + "?page_size=2&page=2")
    assert (page["count"], [view["name"] for view in page["results"]]) == (5, ["view_2", "view_1"])
    assert "page=3" in page["next"]
    assert "page=1" in page["previous"]
    assert (await tenant.http.get(page["next"])).json()["next"] is None
    assert not {"query", "latest_history_id", "edited_history_id"} & set(page["results"][0])
    found = await tenant.call("GET", VIEWS + "?search=EW_3")
    assert [view["name"] for view in found["results"]] == ["view_3"]
    assert (await tenant.call("GET", VIEWS + "?search=%25"))["count"] == 0, "a wildcard of SQL is a letter here"


async def test_names_with_dots_and_any_case_are_found_by_queries(tenant: Tenant) -> None:
    await tenant.create_view("Sales.Daily", "SELECT 1 AS n")
    await tenant.create_view("sales.daily.top", "SELECT n FROM sales.daily")
    view = await tenant.materialized(
        "v", 'SELECT a.n + b.n + c.n AS n FROM "SALES.DAILY" a, Sales.Daily b, sales.daily.top c'
    )
    assert await tenant.rows(view) == [{"n": 3}]
