"""Checks of source tables: made once a refresh, before any view that reads the table."""

import asyncio
from pathlib import Path

import pytest

from tests.acceptance.test_tries import LONG
from tests.checks.test_gate import VIEWS, Orders, versions
from tests.generations.test_refreshing import refreshed, saved, statuses
from tests.support.tenants import Json, Tenant, until

TABLES = "/warehouse_tables/"


@pytest.fixture
def orders(tenant: Tenant, sources: Path) -> Orders:
    return Orders(tenant, sources)


async def table(tenant: Tenant) -> Json:
    (found,) = (await tenant.call("GET", TABLES))["results"]
    return dict(found)


async def add(tenant: Tenant, check_type: str, expect: int = 201, **fields: object) -> Json:
    path = f"{TABLES}{(await table(tenant))['id']}/checks/"
    return await tenant.call("POST", path, {"check_type": check_type, **fields}, expect=expect)


async def results(tenant: Tenant, check: Json) -> list[Json]:
    path = f"{TABLES}{(await table(tenant))['id']}/checks/{check['id']}/runs/"
    found: list[Json] = (await tenant.call("GET", path))["results"]
    return found


async def test_no_view_is_refreshed_from_a_table_that_fails_a_check(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a", "2,b")
    await saved(
        tenant,
        kinds="SELECT DISTINCT kind FROM raw_orders",
        total="SELECT count(*) AS n FROM orders",
        one="SELECT 1 AS n",
    )
    check = await add(tenant, "not_null", column_name="kind")
    assert (await refreshed(tenant))["status"] == "Completed"
    (passed,) = await results(tenant, check)
    assert (passed["status"], passed["run_id"]) == ("passed", None)
    assert passed["generation_id"], "it was made once, and not once a view"

    orders.write("1,a", "2,")
    done = await refreshed(tenant, force=True)
    assert statuses(done) == {"orders": "Failed", "kinds": "Failed", "total": "Skipped", "one": "Completed"}
    (failed,) = [one for one in done["views"] if one["name"] == "kinds"]
    assert failed["run"]["error"] == (
        'Checks of the source table "raw_orders" failed. Not published: not_null of "kind" (1 failing row).'
    )
    assert [one["status"] for one in await results(tenant, check)] == ["failed", "passed"]
    assert len(await versions(tenant, view)) == 1

    orders.write("1,a", "2,c", "3,d")
    assert (await refreshed(tenant))["status"] == "Completed"


async def test_a_run_of_one_view_checks_its_tables_too_and_a_warning_lets_it_go_on(
    tenant: Tenant, orders: Orders
) -> None:
    view = await orders.make("1,a", "1,b")
    await add(tenant, "unique", column_name="id", severity="warn")
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"]))["status"] == "Completed"
    await add(tenant, "row_count", config={"max": 1})
    await tenant.act(view["id"], "run")
    run = await tenant.ended(view["id"], runs=2)
    assert run["status"] == "Failed"
    assert "raw_orders" in run["error"]


async def test_an_edit_that_reads_a_table_that_fails_a_check_has_no_result(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a", "1,b")
    check = await add(tenant, "unique", column_name="id")
    path = f"{VIEWS}{view['id']}/"
    begun = await tenant.call("POST", f"{path}try/", {"query": {"query": "SELECT id FROM raw_orders"}}, expect=202)

    async def ended() -> Json | None:
        found: Json = (await tenant.call("GET", f"{path}tries/"))["results"][0]
        return None if found["status"] == "Running" else found

    found = await until(ended, "the end of a try")
    assert (found["id"], found["status"]) == (begun["id"], "Failed")
    assert "raw_orders" in found["error"]
    assert await results(tenant, check) == []


async def test_an_unchanged_table_is_not_checked_again(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a")
    check = await add(tenant, "unique", column_name="id")
    await refreshed(tenant)
    await saved(tenant, more="SELECT 1 AS n")
    await refreshed(tenant)
    await tenant.act(view["id"], "run", {})
    assert (await tenant.ended(view["id"], runs=3))["status"] == "Skipped"
    (first,) = await results(tenant, check)
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"], runs=4))["status"] == "Completed"
    assert [one["id"] for one in await results(tenant, check)][1:] == [first["id"]]


async def test_a_table_that_changes_while_it_is_checked_is_checked_again(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a", "2,b")
    slow = f"SELECT 1 FROM raw_orders, (SELECT count(*) AS n FROM ({LONG})) WHERE n < 0"
    await add(tenant, "custom_sql", config={"query": slow})
    check = await add(tenant, "not_null", column_name="kind")
    await tenant.act(view["id"], "run")

    async def is_running() -> bool:
        return [one["status"] for one in await tenant.history(view["id"])] == ["Running"]

    await until(is_running, "the run")
    await asyncio.sleep(0.5)
    assert await results(tenant, check) == [], "the first check is in progress"
    orders.write("1,a", "2,")
    run = await tenant.ended(view["id"])
    assert (run["status"], 'not_null of "kind" (1 failing row)' in run["error"]) == ("Failed", True), run
    assert [one["status"] for one in await results(tenant, check)] == ["failed"], "of the old file nothing is stored"
    assert await versions(tenant, view) == []


async def test_a_check_of_a_table_is_shown_changed_made_by_a_person_and_deleted(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a", "2,")
    other = await tenant.create_view("customers", "SELECT 1 AS id")
    config = {"to_subject_type": "view", "to_subject_uuid": other["id"], "to_column": "id"}
    check = await add(tenant, "relationships", column_name="id", config=config, name="known")
    path = f"{TABLES}{(await table(tenant))['id']}/checks/{check['id']}/"
    made = await tenant.call("POST", f"{path}run/", expect=201)
    assert (made["status"], made["failing_rows"]) == ("failed", 1)
    await tenant.act(view["id"], "run")
    assert "relationships" not in (await tenant.ended(view["id"]))["error"]
    changed = await tenant.call("PATCH", path, {"severity": "warn"})
    assert (changed["severity"], changed["latest_run"]["status"]) == ("warn", "failed")
    refused = await tenant.error(
        "POST", f"{path.rpartition('/checks/')[0]}/checks/", {"check_type": "schema_unchanged"}, status=400
    )
    assert refused["attr"] == "check_type"
    await tenant.error("GET", f"{VIEWS}{view['id']}/checks/{check['id']}/", status=404)
    await tenant.call("DELETE", path, expect=204)
    await tenant.error("GET", path, status=404)
