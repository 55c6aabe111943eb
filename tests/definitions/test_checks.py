"""Checks of views as parts of their definitions: planned and changed with them, as a whole or not at all."""

import asyncio
from typing import Any

import pytest

from orchestrator.devstack.stack import DevStack
from tests.checks.test_gate import add
from tests.definitions.project import apply, plan, view
from tests.definitions.test_activity import ids
from tests.support.tenants import Json, Tenant, a_tenant

VIEWS = "/warehouse_saved_queries/"
ORDERS = "SELECT range AS id, 'paid' AS kind, range // 2 AS customer FROM range(6)"
CUSTOMERS = "SELECT range AS id FROM range(3)"
CHECKS: list[Json] = [
    {"check_type": "unique", "column_name": "id", "name": "order_ids", "description": "One row an order"},
    {"check_type": "not_null", "config": {"columns": ["id", "kind"], "where": "customer > 0"}, "tags": ["core"]},
    {"check_type": "accepted_values", "column_name": "kind", "config": {"values": ["paid", 1]}, "severity": "warn"},
    {"check_type": "relationships", "column_name": "customer", "config": {"to": "Customers", "to_column": "id"}},
    {"check_type": "row_count", "config": {"min": 1}, "enabled": False},
    {"check_type": "custom_sql", "config": {"query": "SELECT * FROM orders JOIN customers USING (id) WHERE false;"}},
    {"check_type": "row_count_change", "config": {"max_drop_percent": 50}},
    {"check_type": "schema_unchanged"},
]


def orders(checks: list[Json] | None, sql: str = ORDERS, every: str | None = "24hour") -> Json:
    more = {} if checks is None else {"checks": checks}
    return view("orders", sql, every, **more)


def project(checks: list[Json] | None = CHECKS, sql: str = ORDERS) -> Json:
    return {"views": [orders(checks, sql), view("customers", CUSTOMERS)], "refresh": False}


async def stored(tenant: Tenant, name: str = "orders") -> list[Json]:
    view_id = (await ids(tenant))[name]
    found: list[Json] = (await tenant.call("GET", f"{VIEWS}{view_id}/checks/?limit=100"))["results"]
    return found


async def entries(tenant: Tenant, name: str = "orders") -> list[list[Json]]:
    """The changes of checks of each entry of a view's activity, newest first."""
    view_id = (await ids(tenant))[name]
    found = (await tenant.call("GET", f"{VIEWS}{view_id}/activity/"))["results"]
    changes = ([one for one in entry["detail"]["changes"] if one["field"].startswith("checks.")] for entry in found)
    return [some for some in changes if some]


async def shown(tenant: Tenant, name: str = "orders") -> list[Json]:
    found = (await tenant.call("GET", "/definitions/"))["views"]
    checks: list[Json] = next(one["checks"] for one in found if one["name"] == name)
    return checks


def planned(found: Json, name: str = "orders") -> list[tuple[str, str]]:
    checks: list[Json] = next((one["checks"] for one in found["changes"] if one["name"] == name), [])
    return [(one["action"], one["label"]) for one in checks]


async def test_checks_are_created_with_their_views_and_what_is_read_back_defines_the_same(
    stack: DevStack, tenant: Tenant
) -> None:
    found = await plan(tenant, project())
    assert [label for _, label in planned(found)][:2] == ["order_ids", 'not_null of "id", "kind"']
    await apply(tenant, project())
    made = await stored(tenant)
    assert [one["check_type"] for one in made] == [one["check_type"] for one in CHECKS]
    assert made[3]["config"]["to_subject_uuid"] == (await ids(tenant))["customers"]
    assert (made[1]["tags"], made[2]["severity"], made[4]["enabled"]) == (["core"], "warn", False)
    assert made[0]["created_source"] == "user"
    definitions = await tenant.call("GET", "/definitions/")
    for body in (project(), {**definitions, "prune": True}):
        again = await plan(tenant, body)
        assert (again["changes"], again["problems"]) == ([], [])
    assert (await stored(tenant)) == made
    async with a_tenant(stack) as other:
        await apply(other, {**definitions, "refresh": False})
        assert (await other.call("GET", "/definitions/")) == definitions


async def test_checks_of_an_apply_are_made_by_the_runs_that_it_starts(tenant: Tenant) -> None:
    body = project([{"check_type": "unique", "column_name": "customer", "name": "one_order_each"}])
    await apply(tenant, {**body, "refresh": True})
    found = await ids(tenant)
    run = await tenant.ended(found["orders"])
    assert (run["status"], run["error"]) == ("Failed", "Not published: one_order_each (3 failing rows).")
    assert (await tenant.ended(found["customers"]))["status"] == "Completed"


async def test_a_definition_without_a_check_deletes_it_and_views_without_a_definition_keep_theirs(
    tenant: Tenant,
) -> None:
    await apply(tenant, project())
    other = await tenant.create_view("other", "SELECT 1 AS n")
    await add(tenant, other, "not_null", column_name="n")
    kept = (await stored(tenant))[0]
    left = {**CHECKS[0], "severity": "warn", "description": ""}
    new = {"check_type": "not_null", "column_name": "customer"}
    found = await plan(tenant, project([left, new]))
    assert [one["name"] for one in found["changes"]] == ["orders"]
    assert found["changes"][0]["fields"] == ["checks"]
    assert found["changes"][0]["checks"][1] == {
        "action": "update",
        "label": "order_ids",
        "fields": ["description", "severity"],
    }
    assert planned(found)[:2] == [("create", 'not_null of "customer"'), ("update", "order_ids")]
    assert {action for action, _ in planned(found)[2:]} == {"delete"}
    assert len(planned(found)) == 2 + len(CHECKS) - 1
    await apply(tenant, project([left, new]))
    made = await stored(tenant)
    assert [one["id"] for one in made][:1] == [kept["id"]]
    assert (made[0]["severity"], made[1]["check_type"]) == ("warn", "not_null")
    await apply(tenant, project(None))
    assert await stored(tenant) == []
    assert len(await stored(tenant, "other")) == 1


async def test_only_a_change_of_checks_refreshes_nothing(tenant: Tenant) -> None:
    await apply(tenant, {**project(), "refresh": True})
    for name, view_id in (await ids(tenant)).items():
        assert (await tenant.ended(view_id))["status"] == "Completed", name
    done = await apply(tenant, {**project(CHECKS[:1]), "refresh": True})
    assert (done["generation_id"], done["plan"]["runs"]) == (None, [])
    assert [one["name"] for one in await stored(tenant)] == ["order_ids"]


async def test_names_and_assertions_are_exchanged_and_move_between_views(tenant: Tenant) -> None:
    one: Json = {"check_type": "not_null", "column_name": "id", "name": "first"}
    two: Json = {"check_type": "unique", "column_name": "id", "name": "second"}
    await apply(tenant, project([one, two]))
    before = {check["name"]: check["id"] for check in await stored(tenant)}
    exchanged = [{**two, "name": "first"}, {**one, "name": "second"}]
    await apply(tenant, project(exchanged))
    after = await stored(tenant)
    assert {check["name"]: check["id"] for check in after} == before
    assert {check["name"]: check["check_type"] for check in after} == {"first": "unique", "second": "not_null"}
    # The other view gets a name in the same transaction in which this one gives it up.
    moved = [view("customers", CUSTOMERS, checks=[one]), orders([{**two, "name": "third"}])]
    await apply(tenant, {"views": moved, "refresh": False})
    assert [check["name"] for check in await stored(tenant, "customers")] == ["first"]
    assert [check["name"] for check in await stored(tenant)] == ["third"]


async def test_a_check_that_is_renamed_keeps_its_results(tenant: Tenant) -> None:
    await apply(tenant, project(CHECKS[:1]))
    (before,) = await stored(tenant)
    found = await plan(tenant, project([{**CHECKS[0], "name": "ids"}]))
    assert planned(found) == [("update", "ids")]
    await apply(tenant, project([{**CHECKS[0], "name": "ids"}]))
    (after,) = await stored(tenant)
    assert (after["id"], after["name"]) == (before["id"], "ids")


async def test_the_activity_says_the_same_as_of_changes_of_single_checks(tenant: Tenant) -> None:
    alone = await tenant.create_view("alone", ORDERS)
    checks: list[Json] = [
        {"check_type": "unique", "column_name": "id"},
        {"check_type": "not_null", "column_name": "kind"},
    ]
    made = [await add(tenant, alone, **one) for one in checks]
    path = f"{VIEWS}{alone['id']}/checks/"
    await tenant.call("PATCH", f"{path}{made[0]['id']}/", {"severity": "warn"})
    await tenant.call("DELETE", f"{path}{made[1]['id']}/", expect=204)
    one_by_one = [entry for some in await entries(tenant, "alone") for entry in some]

    await apply(tenant, {"views": [orders(checks)], "refresh": False})
    await apply(tenant, {"views": [orders([{**checks[0], "severity": "warn"}])], "refresh": False})
    changed, created = await entries(tenant)
    assert [*changed[::-1], *created[::-1]] == one_by_one


async def test_a_check_is_bound_to_the_views_as_they_will_be(tenant: Tenant) -> None:
    await apply(tenant, project())
    renamed = ORDERS.replace("AS customer", "AS buyer")
    problems = (await plan(tenant, project(sql=renamed)))["problems"]
    assert [(one["name"], one["check"]) for one in problems] == [("orders", 1), ("orders", 3)]
    assert all('"customer"' in one["message"] for one in problems)
    refused = await tenant.error("POST", "/definitions/apply/", project(sql=renamed), status=400)
    assert "The check cannot be run: Invalid query: Binder Error" in refused["detail"]
    edited: list[Json] = [CHECKS[0], {"check_type": "not_null", "column_name": "buyer"}]
    await apply(tenant, project(edited, renamed))
    # The view itself stays as it is, and what it reads has other columns.
    top = view("top", "SELECT * FROM orders", None, checks=[{"check_type": "not_null", "column_name": "buyer"}])
    await apply(tenant, {**project(edited, renamed), "views": [*project(edited, renamed)["views"], top]})
    (problem,) = (await plan(tenant, {"views": [orders([]), top]}))["problems"]
    assert (problem["name"], problem["check"]) == ("top", 0)
    # A statement that reads another view, which changes.
    reading: Json = {"check_type": "custom_sql", "config": {"query": "SELECT buyer FROM orders WHERE false"}}
    other = view("other", "SELECT 1 AS n", None, checks=[reading])
    await apply(tenant, {"views": [other]})
    found = await plan(tenant, {"views": [orders([]), other], "delete": ["top"]})
    (problem,) = found["problems"]
    assert (problem["name"], problem["check"], problem["position"]["column"]) == ("other", 0, 8)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ({"check_type": "not_null", "column_name": "kid"}, 'Table "orders" does not have a column named "kid"'),
        ({"check_type": "not_null"}, "Name one column in column_name, or several"),
        ({"check_type": "row_count", "config": {"min": "many"}}, "config.min: Input should be a valid integer"),
        ({"check_type": "not_null", "column_name": "id", "name": "1st"}, "name: at most 128 letters"),
        (
            {"check_type": "relationships", "column_name": "id", "config": {"to": "customer", "to_column": "id"}},
            'Table with name customer does not exist! Did you mean "customers"?',
        ),
        (
            {"check_type": "relationships", "column_name": "id", "config": {"to": "customers", "to_column": "key"}},
            '"key"',
        ),
        ({"check_type": "relationships", "column_name": "id", "config": {"to_column": "id"}}, "config.to: the name"),
        (
            {
                "check_type": "relationships",
                "column_name": "id",
                "config": {"to": "customers", "to_column": "id", "to_subject_type": "view"},
            },
            "config.to_subject_type: name the view or table in config.to",
        ),
        (
            {
                "check_type": "not_null",
                "column_name": "id",
                "config": {"where": "id IN (SELECT id FROM customers)"},
            },
            "the condition reads customers, and may only read orders itself",
        ),
        ({"check_type": "custom_sql", "config": {"query": "SELEC 1"}}, "syntax error"),
        ({"check_type": "custom_sql", "config": {"query": "DELETE FROM orders"}}, "The check cannot be run"),
        ({"check_type": "unique", "column_name": "ID", "config": {}}, "asserts the same"),
        ({"check_type": "row_count", "name": "ORDER_IDS", "config": {"min": 1}}, "has the name ORDER_IDS"),
        ({"check_type": "row_count", "name": "of_other", "config": {"min": 1}}, "one of other"),
    ],
)
async def test_a_check_that_cannot_be_is_said_by_its_place_and_nothing_is_changed(
    tenant: Tenant, check: Json, said: str
) -> None:
    other = await tenant.create_view("other", "SELECT 1 AS n")
    await add(tenant, other, "not_null", column_name="n", name="of_other")
    body = project([CHECKS[0], check])
    (problem,) = (await plan(tenant, body))["problems"]
    assert said in problem["message"]
    assert (problem["kind"], problem["name"], problem["check"]) == ("view", "orders", 1)
    refused = await tenant.error("POST", "/definitions/apply/", body, status=400)
    assert refused["detail"].startswith("Nothing was changed.\nview orders: ")
    assert set(await ids(tenant)) == {"other"}


async def test_a_view_has_fifty_checks_at_the_most(tenant: Tenant) -> None:
    many: list[Json] = [{"check_type": "row_count", "config": {"min": n}} for n in range(51)]
    (problem,) = (await plan(tenant, project(many)))["problems"]
    assert (problem["message"], problem["check"]) == ("A view has 50 checks at the most.", 50)


async def test_a_problem_of_a_view_is_no_problem_of_its_checks(tenant: Tenant) -> None:
    (problem,) = (await plan(tenant, project(sql="SELECT missing FROM customers")))["problems"]
    assert (problem["name"], problem["check"]) == ("orders", None)


async def test_a_check_refers_to_what_has_the_name_after_the_apply(tenant: Tenant) -> None:
    await apply(tenant, project(CHECKS[3:4]))
    gone = (await ids(tenant))["customers"]
    # Its target is deleted and made again: the check is changed with it, though it says the same.
    await tenant.call("DELETE", f"{VIEWS}{gone}/", expect=204)
    alone: Json = {"views": [orders(CHECKS[3:4])], "refresh": False}
    assert (await plan(tenant, alone))["changes"] == []
    found = await apply(tenant, project(CHECKS[3:4]))
    assert planned(found["plan"]) == [("update", 'relationships of "customer"')]
    (check,) = await stored(tenant)
    assert check["config"]["to_subject_uuid"] == (await ids(tenant))["customers"] != gone
    (problem,) = (await plan(tenant, {**alone, "delete": ["customers"]}))["problems"]
    assert "Table with name" in problem["message"]


async def test_a_check_that_is_changed_after_the_plan_makes_it_outdated(tenant: Tenant) -> None:
    await apply(tenant, project(CHECKS[:2]))
    before = await plan(tenant, project(CHECKS[:1]))
    path = f"{VIEWS}{(await ids(tenant))['orders']}/checks/"
    await tenant.call("PATCH", f"{path}{(await stored(tenant))[0]['id']}/", {"severity": "warn"})
    body = {**project(CHECKS[:1]), "base": before["base"]}
    refused = await tenant.error("POST", "/definitions/apply/", body, status=400)
    assert refused["code"] == "plan_outdated"
    assert len(await stored(tenant)) == 2


async def test_applies_and_single_edits_at_the_same_time_leave_what_one_of_them_says(tenant: Tenant) -> None:
    await apply(tenant, project([]))
    wanted = [CHECKS[:n] for n in (1, 2, 3, 1, 2, 3)]
    other: Json = {"check_type": "not_null", "column_name": "customer"}
    orders_view = {"id": (await ids(tenant))["orders"]}

    async def one_apply(checks: list[Json]) -> Any:
        return await tenant.http.request("POST", "/definitions/apply/", json=project(checks))

    answers = await asyncio.gather(*map(one_apply, wanted), add(tenant, orders_view, **other))
    assert {one.status_code for one in answers[:-1]} <= {200, 400}
    assert 200 in {one.status_code for one in answers[:-1]}
    found = [(one["check_type"], one["column_name"]) for one in await stored(tenant)]
    left = [one for one in found if one != ("not_null", "customer")]
    said = [(one["check_type"], one.get("column_name", "")) for one in CHECKS]
    assert left in (said[:1], said[:2], said[:3])
