"""Checks over HTTP: added, shown, changed, made by a person and deleted."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.devstack.stack import DevStack
from tests.checks.test_gate import VIEWS, Orders, add, latest, versions
from tests.generations.test_refreshing import refreshed
from tests.support.tenants import Json, Tenant, a_tenant


@pytest.fixture
def orders(tenant: Tenant, sources: Path) -> Orders:
    return Orders(tenant, sources)


async def test_an_equal_check_is_not_added_twice(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a")
    one = await add(tenant, view, "not_null", column_name="kind")
    again = await add(tenant, view, "not_null", expect=200, column_name="KIND", severity="warn")
    assert (again["id"], again["severity"]) == (one["id"], "error")
    other = await add(tenant, view, "not_null", column_name="kind", config={"where": "id > 0"})
    page = await tenant.call("GET", f"{VIEWS}{view['id']}/checks/")
    assert [found["id"] for found in page["results"]] == [one["id"], other["id"]]


async def test_every_field_comes_back_and_can_be_changed(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a")
    sent: Json = {
        "name": "kinds",
        "description": "why",
        "column_name": "kind",
        "config": {"values": ["a", "b"]},
        "severity": "warn",
        "enabled": False,
        "tags": ["x"],
        "created_source": "ai_generated",
        "ai_model": "m",
        "confidence": 0.5,
        "reasoning": "since",
    }
    made = await add(tenant, view, "accepted_values", **sent)
    assert {name: made[name] for name in sent} == sent
    path = f"{VIEWS}{view['id']}/checks/{made['id']}/"
    changed = await tenant.call("PATCH", path, {"enabled": True, "name": "", "config": {"values": ["c"]}})
    assert (changed["enabled"], changed["name"], changed["config"]) == (True, None, {"values": ["c"]})
    assert changed["description"] == "why"
    turned = await tenant.call("PATCH", path, {"check_type": "unique"})
    assert (turned["check_type"], turned["column_name"], turned["config"]) == ("unique", "kind", {})
    assert (await tenant.call("GET", path))["updated_at"] > made["updated_at"]
    names = [entry["activity"] for entry in (await tenant.call("GET", f"{VIEWS}{view['id']}/activity/"))["results"]]
    assert names.count("updated") == 3
    await tenant.call("DELETE", path, expect=204)
    assert (await tenant.error("GET", path, status=404))["detail"] == "There is no such check here."
    await add(tenant, view, "unique", column_name="kind", name="kinds")  # the name and the assertion are free again


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"check_type": "no_such"}, "check_type"),
        ({"check_type": "not_null"}, "column_name"),
        ({"check_type": "not_null", "column_name": "kind", "config": {"columns": ["id"]}}, "column_name"),
        ({"check_type": "not_null", "column_name": "nothing"}, "column_name"),
        ({"check_type": "not_null", "config": {"columns": []}}, "config"),
        ({"check_type": "accepted_values", "column_name": "kind"}, "config"),
        ({"check_type": "accepted_values", "column_name": "kind", "config": {"values": []}}, "config"),
        ({"check_type": "accepted_values", "column_name": "kind", "config": {"valuse": ["a"]}}, "config"),
        ({"check_type": "row_count"}, "config"),
        ({"check_type": "row_count", "column_name": "kind", "config": {"min": 1}}, "column_name"),
        ({"check_type": "row_count", "config": {"min": -1}}, "config"),
        ({"check_type": "row_count", "config": {"min": 2**63}}, "config"),
        ({"check_type": "row_count_change", "config": {"max_drop_percent": -1}}, "config"),
        ({"check_type": "row_count_change", "config": {"max_rise_percent": 1e300}}, "config"),
        ({"check_type": "row_count", "config": {"min": 1, "where": "SELECT"}}, "config"),
        ({"check_type": "row_count", "config": {"min": 1, "where": "id IN (SELECT id FROM raw_orders)"}}, "config"),
        ({"check_type": "custom_sql", "config": {"query": "SELECT * FROM nowhere"}}, "config"),
        ({"check_type": "custom_sql", "config": {"query": "DELETE FROM orders"}}, "config"),
        ({"check_type": "custom_sql", "config": {"query": "SELECT 1; SELECT 2"}}, "config"),
        ({"check_type": "freshness", "column_name": "kind", "config": {"max_age_minutes": 0}}, "config"),
        ({"check_type": "unique", "column_name": "x" * 401}, "column_name"),
        ({"check_type": "unique", "column_name": "id", "name": "1st"}, "name"),
        ({"check_type": "unique", "column_name": "id", "severity": "fatal"}, "severity"),
        ({"check_type": "unique", "column_name": "id", "confidence": 2}, "confidence"),
        (
            {
                "check_type": "relationships",
                "column_name": "id",
                "config": {"to_subject_type": "view", "to_subject_uuid": str(uuid4()), "to_column": "id"},
            },
            "config",
        ),
    ],
)
async def test_what_is_no_check_is_refused(tenant: Tenant, orders: Orders, body: Json, attr: str) -> None:
    view = await orders.make("1,a")
    refused = await tenant.error("POST", f"{VIEWS}{view['id']}/checks/", body, status=400)
    assert refused["attr"] == attr, refused
    assert (await tenant.call("GET", f"{VIEWS}{view['id']}/checks/"))["count"] == 0


async def test_two_who_change_a_check_at_once_lose_nothing(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a")
    check = await add(tenant, view, "not_null", column_name="id")
    path = f"{VIEWS}{view['id']}/checks/{check['id']}/"
    for number in range(5):
        bodies: list[Json] = [
            {"config": {"where": f"id > {number}"}},
            {"description": f"the {number}th"},
            {"column_name": "kind" if number % 2 else "id"},
        ]
        await asyncio.gather(*(tenant.call("PATCH", path, body) for body in bodies))
        shown = await tenant.call("GET", path)
        assert all(shown[name] == value for body in bodies for name, value in body.items()), (number, shown)


async def test_values_that_are_compared_as_the_same_are_one_check(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a")
    first = await add(tenant, view, "accepted_values", column_name="id", config={"values": [1, True]})
    again = await add(tenant, view, "accepted_values", 200, column_name="id", config={"values": ["1", "true"]})
    assert again["id"] == first["id"]
    assert again["config"]["values"] == [1, True]


async def test_a_person_compares_with_what_readers_saw_before(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make(*(f"{n},a" for n in range(10)))
    await refreshed(tenant)
    orders.write("1,a")
    await refreshed(tenant)
    many = (await versions(tenant, view))[1]
    await tenant.act(view["id"], "rollback", {"snapshot_id": many["id"], "pause_schedule": False})
    check = await add(tenant, view, "row_count_change", config={"max_rise_percent": 50})
    made = await tenant.call("POST", f"{VIEWS}{view['id']}/checks/{check['id']}/run/", expect=201)
    assert (made["status"], made["reason"]) == ("failed", "1 rows before, 10 now")


async def test_a_name_is_unique_in_the_project(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a")
    other = await tenant.create_view("other", "SELECT 1 AS id")
    await add(tenant, view, "unique", column_name="id", name="ids")
    body = {"check_type": "unique", "column_name": "id", "name": "IDS"}
    refused = await tenant.error("POST", f"{VIEWS}{other['id']}/checks/", body, status=400)
    assert refused["attr"] == "name"


async def test_a_check_of_another_view_or_project_is_not_there(tenant: Tenant, stack: DevStack, orders: Orders) -> None:
    async with a_tenant(stack) as other:
        await look_from_another_project(tenant, other, orders)


async def look_from_another_project(tenant: Tenant, other_tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a")
    check = await add(tenant, view, "unique", column_name="id")
    theirs = await other_tenant.create_view("theirs", "SELECT 1 AS id")
    await other_tenant.error("GET", f"{VIEWS}{view['id']}/checks/", status=404)
    await other_tenant.error("GET", f"{VIEWS}{theirs['id']}/checks/{check['id']}/", status=404)
    config = {"to_subject_type": "view", "to_subject_uuid": view["id"], "to_column": "id"}
    body = {"check_type": "relationships", "column_name": "id", "config": config}
    await other_tenant.error("POST", f"{VIEWS}{theirs['id']}/checks/", body, status=400)
    query = {"check_type": "custom_sql", "config": {"query": "SELECT * FROM orders"}}
    await other_tenant.error("POST", f"{VIEWS}{theirs['id']}/checks/", query, status=400)


async def test_a_person_makes_a_check_on_what_readers_see(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a", "1,b")
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"])
    check = await add(tenant, view, "unique", column_name="id")
    path = f"{VIEWS}{view['id']}/checks/{check['id']}/"
    made = await tenant.call("POST", f"{path}run/", expect=201)
    assert (made["status"], made["failing_rows"], made["run_id"]) == ("failed", 1, None)
    assert made["snapshot_id"] == (await tenant.view(view["id"]))["current_snapshot_id"]
    assert await latest(tenant, view, check) == made
    await tenant.error("GET", f"{path}runs/{made['id']}/rows/", status=404)
    change = await add(tenant, view, "row_count_change", config={"max_drop_percent": 10})
    path = f"{VIEWS}{view['id']}/checks/{change['id']}/"
    assert (await tenant.call("POST", f"{path}run/", expect=201))["status"] == "passed"
    orders.write("1,a")
    await tenant.call("PATCH", path, {"severity": "warn"})
    await tenant.call("DELETE", f"{VIEWS}{view['id']}/checks/{check['id']}/", expect=204)
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"], runs=2))["status"] == "Completed"
    made = await tenant.call("POST", f"{path}run/", expect=201)
    assert (made["status"], made["reason"]) == ("failed", "2 rows before, 1 now")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM orders WHERE kind = 'b;'",
        "SELECT * FROM orders WHERE kind = 'b;' ; -- every row; without one\n",
        "SELECT * FROM orders WHERE kind = 'b;' -- ;",
        "/* ; */ WITH found AS (FROM orders) SELECT kind, kind FROM found WHERE id = 2;",
    ],
)
async def test_a_statement_says_the_same_to_a_person_and_to_a_run(tenant: Tenant, orders: Orders, query: str) -> None:
    view = await orders.make("1,a", "2,b;")
    check = await add(tenant, view, "custom_sql", config={"query": query}, severity="warn")
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"])
    run = await latest(tenant, view, check)
    assert (run["status"], run["failing_rows"], run["reason"]) == ("failed", 1, None)
    path = f"{VIEWS}{view['id']}/checks/{check['id']}/"
    made = await tenant.call("POST", f"{path}run/", expect=201)
    assert [made[one] for one in ("status", "failing_rows", "reason")] == ["failed", 1, None]
    shown = await tenant.call("POST", "/query/", {"query": {"query": made["sql"]}})
    assert len(shown["results"]) == 1
    rows = await tenant.call("GET", f"{path}runs/{run['id']}/rows/")
    assert len(rows["results"]) == 1


@pytest.mark.parametrize(
    "column", ["occurrences", "select", "count(*)", 'a"b', "a.b", "ä", "checked", "orders", "row_count"]
)
async def test_a_column_of_any_name_is_checked(tenant: Tenant, orders: Orders, column: str) -> None:
    quoted = '"' + column.replace('"', '""') + '"'
    view = await orders.make("1,a", "1,a", "2,", view=f"SELECT id, kind AS {quoted} FROM raw_orders")
    config = {"to_subject_type": "view", "to_subject_uuid": view["id"], "to_column": "id"}
    made = {
        "unique": await add(tenant, view, "unique", column_name=column, severity="warn"),
        "not_null": await add(tenant, view, "not_null", column_name=column, severity="warn"),
        "accepted_values": await add(
            tenant, view, "accepted_values", column_name=column, severity="warn", config={"values": ["b"]}
        ),
        "both": await add(tenant, view, "unique", severity="warn", config={"columns": ["id", column]}),
        "relationships": await add(tenant, view, "relationships", column_name="id", severity="warn", config=config),
    }
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"]))["status"] == "Completed"
    expected = {"unique": 1, "not_null": 1, "accepted_values": 2, "both": 1, "relationships": 0}
    for name, check in made.items():
        path = f"{VIEWS}{view['id']}/checks/{check['id']}/"
        found = await latest(tenant, view, check)
        assert (name, found["failing_rows"], found["reason"]) == (name, expected[name], None)
        again = await tenant.call("POST", f"{path}run/", expect=201)
        assert (name, again["failing_rows"], again["reason"]) == (name, expected[name], None)
        if expected[name]:
            assert (await tenant.call("GET", f"{path}runs/{found['id']}/rows/"))["results"]


async def test_a_check_of_what_was_deleted_says_so_and_blocks(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a")
    other = await tenant.create_view("other", "SELECT 1 AS id")
    config = {"to_subject_type": "view", "to_subject_uuid": other["id"], "to_column": "id"}
    check = await add(tenant, view, "relationships", column_name="id", config=config)
    await tenant.call("DELETE", f"{VIEWS}{other['id']}/", expect=204)
    await tenant.act(view["id"], "run")
    run = await tenant.ended(view["id"])
    assert run["error"] == (
        'Not published: relationships of "id" could not be run: The view or table that it refers to was deleted.'
    )
    made = await tenant.call("POST", f"{VIEWS}{view['id']}/checks/{check['id']}/run/", expect=201)
    assert made["status"] == "error"


async def test_the_checks_of_a_deleted_view_go_with_it(tenant: Tenant) -> None:
    view = await tenant.create_view("gone", "SELECT 1 AS id")
    await add(tenant, view, "unique", column_name="id", name="ids")
    await tenant.call("DELETE", f"{VIEWS}{view['id']}/", expect=204)
    again = await tenant.create_view("gone", "SELECT 1 AS id")
    await add(tenant, again, "unique", column_name="id", name="ids")


async def test_each_type_says_what_its_config_is(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a")
    types: Any = await tenant.call("GET", f"{VIEWS}{view['id']}/checks/check_types/")
    assert {one["check_type"] for one in types} >= {"not_null", "unique", "custom_sql", "row_count_change"}
    assert all(one["config_schema"]["type"] == "object" and one["description"] for one in types)


async def test_no_view_has_very_many_checks(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a")
    for number in range(50):
        await add(tenant, view, "row_count", config={"min": number})
    body = {"check_type": "row_count", "config": {"min": 50}}
    refused = await tenant.error("POST", f"{VIEWS}{view['id']}/checks/", body, status=400)
    assert "50 checks" in refused["detail"]
