"""A change of a project's definitions is made as a whole or not at all, and what it concerns is refreshed as one."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from benchmarks.journey.project import PLAIN, VIEWS
from tests.definitions.project import apply, definitions, names, plan, view
from tests.generations.test_refreshing import finished, statuses
from tests.support.tenants import Json, Tenant


async def applied(tenant: Tenant, body: Json) -> Json:
    """Apply a change and wait for its refresh; returns the plan."""
    done = await apply(tenant, body)
    if done["generation_id"]:
        ended = await finished(tenant, {"id": done["generation_id"]})
        assert ended["status"] == "Completed", ended
        assert set(statuses(ended)) == {one["name"] for one in done["plan"]["runs"]}
    found: Json = done["plan"]
    return found


async def rows(tenant: Tenant, name: str) -> list[Json]:
    (found,) = (await tenant.call("GET", f"/warehouse_saved_queries/?search={name}"))["results"]
    return await tenant.rows(found)


async def test_ten_views_over_three_sources_are_there_after_one_call_and_a_second_changes_nothing(
    tenant: Tenant, folder: Path
) -> None:
    body = definitions(folder)
    made = await applied(tenant, body)
    assert len(made["changes"]) == 13
    assert {one["action"] for one in made["changes"]} == {"create"}
    levels = {one["name"]: one["level"] for one in made["runs"]}
    assert levels == {
        "stg_orders": 0,
        "stg_customers": 0,
        "orders_by_day": 1,
        "orders_by_customer": 1,
        "total": 2,
        "buyers": 2,
        "countries": 2,
        "best": 3,
    }
    assert await rows(tenant, "best") == [{"name": "GRACE"}]
    again = await apply(tenant, body)
    assert again["generation_id"] is None
    assert (again["plan"]["changes"], again["plan"]["runs"], again["plan"]["unchanged"]) == ([], [], 13)


async def test_schedules_are_there_after_an_apply(tenant: Tenant, folder: Path) -> None:
    await applied(tenant, definitions(folder))
    found = (await tenant.call("GET", "/warehouse_saved_queries/"))["results"]
    for one in found:
        shown = await tenant.view(one["id"])
        assert (shown["next_run_at"] is None) is (one["name"] in PLAIN)
        assert (await tenant.call("GET", f"/warehouse_saved_queries/{one['id']}/activity/"))["results"]


async def test_one_wrong_view_keeps_all_others_from_being_made(tenant: Tenant, folder: Path) -> None:
    body = definitions(folder)
    body["views"].append(view("wrong", "SELECT nothing FROM stg_orders"))
    refused = await tenant.error("POST", "/definitions/apply/", body, status=400)
    assert "view wrong: Invalid query: Binder Error" in refused["detail"]
    assert await names(tenant) == set()
    planned = await plan(tenant, body)
    assert [one["name"] for one in planned["problems"]] == ["wrong"]


async def test_an_edit_that_breaks_a_reader_is_refused_and_with_its_reader_it_is_made(
    tenant: Tenant, folder: Path
) -> None:
    await applied(tenant, definitions(folder))
    edit = view("orders_by_customer", VIEWS["orders_by_customer"].replace("AS amount", "AS revenue"))
    planned = await plan(tenant, {"views": [edit]})
    (change,) = planned["changes"]
    assert change["columns"]["added"] == [{"name": "revenue", "duckdb_type": "DECIMAL(38,2)"}]
    assert [one["name"] for one in change["columns"]["removed"]] == ["amount"]
    assert {one["name"]: one["reads"] for one in planned["broken"]} == {
        "buyers": ["orders_by_customer"],
        "countries": ["orders_by_customer"],
    }
    assert 'does not have a column named "amount"' in planned["broken"][0]["message"]
    refused = await tenant.error("POST", "/definitions/apply/", {"views": [edit]}, status=400)
    assert refused["code"] == "readers_break"
    assert "buyers (reads orders_by_customer)" in refused["detail"]

    readers = [view(name, VIEWS[name].replace("o.amount", "o.revenue AS amount")) for name in ("buyers",)]
    readers.append(view("countries", VIEWS["countries"].replace("o.amount", "o.revenue")))
    done = await applied(tenant, {"views": [edit, *readers]})
    assert {one["name"] for one in done["runs"]} == {"orders_by_customer", "buyers", "countries", "best"}
    assert all(one["last_seconds"] is not None for one in done["runs"])
    assert await rows(tenant, "best") == [{"name": "GRACE"}]


async def test_readers_may_be_broken_on_purpose(tenant: Tenant, folder: Path) -> None:
    await applied(tenant, definitions(folder))
    edit = view("stg_returns", "SELECT order_id AS id FROM returns", None)
    done = await apply(tenant, {"views": [edit], "break_dependents": True})
    assert "kept_orders" in {one["name"] for one in done["plan"]["broken"]}
    ended = await finished(tenant, {"id": done["generation_id"]})
    assert ended["status"] == "Failed"
    views = (await tenant.call("GET", "/warehouse_saved_queries/"))["results"]
    edited = next(one for one in views if one["name"] == "stg_returns")
    newest = (await tenant.call("GET", f"/warehouse_saved_queries/{edited['id']}/activity/"))["results"][0]
    recorded = {one["field"]: one["after"] for one in newest["detail"]["changes"]}
    assert recorded["break_dependents"] == sorted(one["name"] for one in done["plan"]["broken"])


async def test_plain_views_have_the_columns_of_their_inputs_at_once(tenant: Tenant) -> None:
    chain = [view("par", "SELECT '1' AS c", None), view("chi", "SELECT c FROM par", None)]
    await apply(tenant, {"views": [*chain, view("gra", "SELECT c FROM chi", None)]})
    await apply(tenant, {"views": [view("par", "SELECT 1 AS c", None), view("n", "SELECT c + 1 AS x FROM gra", None)]})
    found = (await tenant.call("GET", "/warehouse_saved_queries/"))["results"]
    assert {one["name"]: one["columns"][0]["duckdb_type"] for one in found} == dict.fromkeys(
        ("par", "chi", "gra", "n"), "INTEGER"
    )


async def test_pruning_deletes_what_is_not_named(tenant: Tenant, folder: Path) -> None:
    body = definitions(folder)
    await applied(tenant, body)
    kept = {"tables": body["tables"][:1], "views": [one for one in body["views"] if one["name"] == "stg_orders"]}
    planned = await plan(tenant, {**kept, "prune": True})
    gone = [one["name"] for one in planned["changes"] if one["action"] == "delete"]
    assert len(gone) == 11
    await apply(tenant, {**kept, "prune": True})
    assert await names(tenant) == {"orders", "stg_orders"}


async def test_a_view_that_others_read_is_not_deleted_without_them(tenant: Tenant, folder: Path) -> None:
    await applied(tenant, definitions(folder))
    refused = await tenant.error("POST", "/definitions/apply/", {"delete": ["buyers"]}, status=400)
    assert "best (reads buyers)" in refused["detail"]
    await apply(tenant, {"delete": ["buyers", "best"]})
    assert {"buyers", "best"}.isdisjoint(await names(tenant))


async def test_a_table_may_take_the_place_of_a_view(tenant: Tenant, folder: Path) -> None:
    await applied(tenant, definitions(folder))
    (folder / "by_day.csv").write_text("day,orders,amount\n2026-01-01,1,7\n")
    body = await tenant.call("GET", "/definitions/")
    body["views"] = [one for one in body["views"] if one["name"] != "orders_by_day"]
    table = {"name": "orders_by_day", "format": "CSVWithNames", "url_pattern": str(folder / "by_day.csv")}
    done = await applied(tenant, {**body, "tables": [*body["tables"], table], "prune": True})
    assert {one["name"]: one["action"] for one in done["changes"] if one["name"] == "orders_by_day"} != {}
    again = await apply(tenant, {"views": [view("total", "SELECT sum(amount) AS amount, 1 AS n FROM orders_by_day")]})
    await finished(tenant, {"id": again["generation_id"]})
    assert await rows(tenant, "total") == [{"amount": 7, "n": 1}]


async def test_a_plan_of_an_earlier_state_is_not_applied(tenant: Tenant) -> None:
    first = {"views": [view("a", "SELECT 1 AS n", None)]}
    second = {"views": [view("b", "SELECT 1 AS n", None)]}
    bases = [(await plan(tenant, body))["base"] for body in (first, second)]
    await apply(tenant, {**first, "base": bases[0]})
    refused = await tenant.error("POST", "/definitions/apply/", {**second, "base": bases[1]}, status=400)
    assert refused["code"] == "plan_outdated"
    assert await names(tenant) == {"a"}


async def test_of_two_at_once_with_one_base_one_wins(tenant: Tenant) -> None:
    base = (await plan(tenant, {}))["base"]
    bodies = [{"views": [view(f"v_{n}", "SELECT 1 AS n", None)], "base": base} for n in range(4)]
    answers = await asyncio.gather(*(tenant.http.post("/definitions/apply/", json=body) for body in bodies))
    assert sorted(one.status_code for one in answers) == [200, 400, 400, 400]
    assert len(await names(tenant)) == 1


async def test_views_that_would_read_one_another_are_refused(tenant: Tenant) -> None:
    body = {"views": [view("a", "SELECT n FROM b"), view("b", "SELECT n FROM a")]}
    (problem,) = (await plan(tenant, body))["problems"]
    assert problem["message"].startswith("Model contains a cycle: ")


async def test_a_change_of_spaces_and_comments_is_said_to_be_one(tenant: Tenant) -> None:
    await apply(tenant, {"views": [view("v", "SELECT 1 AS n", None)]})
    for sql, same in (("select 1  as n -- one", True), ("SELECT 2 AS n", False)):
        (change,) = (await plan(tenant, {"views": [view("v", sql, None)]}))["changes"]
        assert (change["text_only"], change["before"], change["after"]) == (same, "SELECT 1 AS n", sql)


async def test_what_is_read_back_defines_the_same_again(tenant: Tenant, folder: Path) -> None:
    body = definitions(folder)
    meant = {"name": "Of the buyer", "gone": "not there at the moment"}
    body["views"][0] |= {"description": 'It\'s "best"\n', "freshness": "upstream", "max_staleness": "6hour"}
    body["views"][0]["column_descriptions"] = meant
    body["tables"][0] |= {"null_text": "-", "columns": [{"name": "id", "type": "BIGINT"}]}
    body["tables"][0] |= {"description": "All of them", "column_descriptions": {"id": "Of the shop"}}
    await applied(tenant, body)
    shown = await tenant.call("GET", "/definitions/")
    assert (await plan(tenant, {**shown, "prune": True}))["changes"] == []
    assert meant in [one["column_descriptions"] for one in shown["views"]]
    shown["tables"][-1]["column_descriptions"] = {"ID": "Of the shop"}
    for one in shown["views"]:
        one["column_descriptions"] = {}
    await apply(tenant, {**shown, "refresh": False})
    again = await tenant.call("GET", "/definitions/")
    assert [one["column_descriptions"] for one in again["views"]] == [{}] * len(shown["views"])


async def test_a_cron_expression_is_applied_paused_and_read_back(tenant: Tenant) -> None:
    zone = {"cron": "0 6 * * 1-5", "time_zone": "Europe/Berlin"}
    views = [view("v", "SELECT 1 AS n", None, **zone), view("w", "SELECT 1 AS n", "never", **zone)]
    await apply(tenant, {"views": views, "refresh": False})
    body = await tenant.call("GET", "/definitions/")
    assert [one["cron"] for one in body["views"]] == ["0 6 * * 1-5"] * 2
    assert [one["sync_frequency"] for one in body["views"]] == ["24hour", "never"]
    assert (await plan(tenant, body))["changes"] == (await plan(tenant, {"views": views}))["changes"] == []
    found = (await tenant.call("GET", "/warehouse_saved_queries/"))["results"]
    paused = {one["name"]: (await tenant.view(one["id"]))["schedule_paused"] for one in found}
    assert paused == {"v": False, "w": True}
    wrong = await tenant.error("POST", "/definitions/plan/", {"views": [view("v", "SELECT 1", cron="x")]}, status=400)
    assert wrong["detail"].startswith("v: ")


async def test_an_edit_of_one_view_is_planned_by_its_name(tenant: Tenant, folder: Path) -> None:
    await applied(tenant, definitions(folder))
    body = {"name": "stg_returns", "query": {"query": "SELECT 1 AS order_id"}}
    planned = await tenant.call("POST", "/warehouse_saved_queries/plan/", body)
    assert planned["broken"] == []
    assert planned["changes"][0]["columns"]["retyped"] == [{"name": "order_id", "before": "BIGINT", "after": "INTEGER"}]
    gone = await tenant.call("POST", "/warehouse_saved_queries/plan/", {"name": "buyers", "deleted": True})
    assert [one["name"] for one in gone["broken"]] == ["best"]


async def test_a_view_that_is_no_longer_materialized_loses_its_result(tenant: Tenant) -> None:
    await applied(tenant, {"views": [view("v", "SELECT 1 AS n")]})
    done = await apply(tenant, {"views": [view("v", "SELECT 1 AS n", None)]})
    assert done["plan"]["changes"][0]["fields"] == ["timing"]
    (shown,) = (await tenant.call("GET", "/warehouse_saved_queries/"))["results"]
    assert (shown["is_materialized"], (await tenant.view(shown["id"]))["next_run_at"]) == (False, None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"views": [view("a b", "SELECT 1 AS n")]}, "a b is not a valid view name"),
        ({"views": [view("a", "SELECT 1 AS n"), view("A", "SELECT 2 AS n")]}, "have this name"),
        ({"views": [view("a", "SELECT 1 AS n; SELECT 2")]}, "exactly one statement"),
        ({"views": [view("a", "")]}, "must hold a SELECT statement"),
        ({"views": [view("a", "SELECT n FROM unknown")]}, "unknown does not exist"),
        ({"delete": [f"no_{uuid4().hex}"]}, "There is no view or table of this name"),
        ({"tables": [{"name": "t", "format": "Parquet", "url_pattern": "/etc/*.parquet"}]}, "table t: "),
        ({"tables": [{"name": "t", "format": "Parquet", "url_pattern": "x", "quote": "'"}]}, "means nothing"),
        ({"views": [view("a", "SELECT 1 AS n", max_staleness="never")]}, "cannot be older than"),
    ],
)
async def test_what_cannot_be_is_said_by_name(tenant: Tenant, body: Json, said: str) -> None:
    problems = (await plan(tenant, body))["problems"]
    assert any(said in f"{one['kind']} {one['name']}: {one['message']}" for one in problems), problems
    refused = await tenant.error("POST", "/definitions/apply/", body, status=400)
    assert refused["detail"].startswith("Nothing was changed.")
    assert await names(tenant) == set()


async def test_more_views_than_one_transaction_can_change_are_refused_at_once(tenant: Tenant) -> None:
    views = [view(f"v_{n}", f"SELECT {n} AS n", None) for n in range(2001)]
    await apply(tenant, {"views": views})
    refused = await tenant.error("POST", "/definitions/plan/", {"prune": True}, status=400)
    assert "deletes 2,001 views; 2,000 are the most at a time" in refused["detail"]
    await apply(tenant, {"views": views[:1], "delete": [f"v_{n}" for n in range(1, 20)]})
