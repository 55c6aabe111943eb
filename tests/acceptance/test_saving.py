"""Saving and listing views."""

import asyncio

from tests.support import Tenant

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


async def test_of_many_at_once_who_create_one_name_one_creates_it(tenant: Tenant) -> None:
    body = {"name": "v", "query": {"query": "SELECT 1 AS n"}}
    answers = await asyncio.gather(*(tenant.http.post(VIEWS, json=body) for _ in range(30)))
    assert sorted(answer.status_code for answer in answers) == [200] * 29 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


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


async def test_of_many_at_once_who_materialize_one_view_all_get_the_same_schedule(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    await asyncio.gather(*(tenant.act(view["id"], "materialize") for _ in range(30)))
    await tenant.ended(view["id"])
    assert len(await tenant.history(view["id"])) == 1
    assert (await tenant.view(view["id"]))["next_run_at"]


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
