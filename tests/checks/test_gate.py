"""A result on which an `error` check fails is never seen by readers."""

from pathlib import Path
from uuid import UUID

import pytest

from orchestrator.catalog import failure_streaks
from orchestrator.catalog.database import Database
from tests.generations.test_refreshing import refreshed, saved, statuses
from tests.support.tenants import Json, Tenant, until

VIEWS = "/warehouse_saved_queries/"


async def add(tenant: Tenant, view: Json, check_type: str, expect: int = 201, **fields: object) -> Json:
    return await tenant.call(
        "POST", f"{VIEWS}{view['id']}/checks/", {"check_type": check_type, **fields}, expect=expect
    )


async def latest(tenant: Tenant, view: Json, check: Json) -> Json:
    found: Json = (await tenant.call("GET", f"{VIEWS}{view['id']}/checks/{check['id']}/"))["latest_run"]
    return found


async def versions(tenant: Tenant, view: Json) -> list[Json]:
    found: list[Json] = (await tenant.call("GET", f"{VIEWS}{view['id']}/snapshots/"))["results"]
    return found


class Orders:
    """A source table of orders, and a view of them."""

    def __init__(self, tenant: Tenant, sources: Path) -> None:
        self.tenant = tenant
        self.path = sources / f"orders-{tenant.project_id}.csv"

    async def make(self, *rows: str, view: str = "SELECT id, kind FROM raw_orders") -> Json:
        self.write(*rows)
        await self.tenant.add_table("raw_orders", self.path, "CSVWithNames")
        self.view = (await saved(self.tenant, orders=view))["orders"]
        return self.view

    def write(self, *rows: str) -> None:
        self.path.write_text("id,kind\n" + "".join(f"{row}\n" for row in rows))


@pytest.fixture
def orders(tenant: Tenant, sources: Path) -> Orders:
    return Orders(tenant, sources)


async def test_a_result_that_fails_a_check_is_kept_from_readers(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a", "2,b")
    check = await add(tenant, view, "not_null", column_name="kind")
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"]))["status"] == "Completed"
    assert (await latest(tenant, view, check))["status"] == "passed"
    before = await tenant.rows(await tenant.view(view["id"]))

    orders.write("1,a", "2,", "3,")
    await tenant.act(view["id"], "run")
    run = await tenant.ended(view["id"], runs=2)
    assert run["status"] == "Failed"
    assert run["error"] == 'Not published: not_null of "kind" (2 failing rows).'
    shown = await tenant.view(view["id"])
    assert shown["status"] == "Failed"
    assert await tenant.rows(shown) == before
    found = await latest(tenant, view, check)
    assert (found["status"], found["failing_rows"], found["run_id"]) == ("failed", 2, run["id"])

    newest, published = await versions(tenant, view)
    assert (newest["is_blocked"], newest["is_current"], newest["row_count"]) == (True, False, 3)
    assert (published["is_blocked"], published["is_current"]) == (False, True)
    rows = await tenant.call("GET", f"{VIEWS}{view['id']}/checks/{check['id']}/runs/{found['id']}/rows/")
    assert [column["name"] for column in rows["columns"]] == ["id", "kind"]
    assert sorted(rows["results"]) == [[2, None], [3, None]]

    orders.write("1,a", "5,c")
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"], runs=3))["status"] == "Completed"
    assert sorted(row["id"] for row in await tenant.rows(await tenant.view(view["id"]))) == [1, 5]


async def test_a_warning_is_shown_and_the_result_published(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a", "1,b")
    check = await add(tenant, view, "unique", column_name="id", severity="warn")
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"]))["status"] == "Completed"
    found = await latest(tenant, view, check)
    assert (found["status"], found["severity"], found["failing_rows"]) == ("failed", "warn", 1)
    again = await tenant.call("POST", "/query/", {"query": {"query": found["sql"]}})
    assert again["results"] == [[1, 2]]


async def test_a_check_that_cannot_be_run_blocks_too(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a")
    await add(tenant, view, "not_null", column_name="kind")
    edited = {"query": {"query": "SELECT id FROM raw_orders"}, "soft_update": True}
    await tenant.call("PATCH", f"{VIEWS}{view['id']}/", edited)
    await tenant.act(view["id"], "run")
    run = await tenant.ended(view["id"])
    assert run["status"] == "Failed"
    assert run["error"].startswith('Not published: not_null of "kind" could not be run: ')
    assert "kind" in run["error"]


async def test_one_broken_input_of_a_check_fails_no_other_check(tenant: Tenant, orders: Orders, sources: Path) -> None:
    view = await orders.make("1,a", "2,b")
    path = sources / f"other-{tenant.project_id}.csv"
    path.write_text("id\n1\n")
    await tenant.add_table("other", path, "CSVWithNames")
    gone = await tenant.create_view("gone", "SELECT id FROM other")
    checks = [
        await add(tenant, view, "custom_sql", config={"query": "SELECT * FROM gone"}, severity="warn"),
        await add(tenant, view, "custom_sql", config={"query": "SELECT * FROM other"}, severity="warn"),
        await add(tenant, view, "not_null", column_name="kind"),
    ]
    path.unlink()
    await tenant.call("DELETE", f"{VIEWS}{gone['id']}/", expect=204)
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"]))["status"] == "Completed"
    found = [await latest(tenant, view, check) for check in checks]
    assert [one["status"] for one in found] == ["error", "error", "passed"], found
    assert "has no files" in found[1]["reason"]


async def test_a_check_that_only_warns_lets_no_view_wait_for_another(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a")
    broken = "SELECT 1 AS id WHERE error('no') IS NULL"
    await saved(tenant, other=broken)
    await add(tenant, view, "custom_sql", config={"query": "SELECT * FROM other"}, severity="warn")
    assert statuses(await refreshed(tenant)) == {"orders": "Completed", "other": "Failed"}
    await add(tenant, view, "custom_sql", config={"query": "SELECT id FROM other"})
    assert statuses(await refreshed(tenant, force=True)) == {"orders": "Skipped", "other": "Failed"}


async def test_a_blocked_version_is_published_on_a_persons_word(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a", "1,b")
    await add(tenant, view, "unique", column_name="id")
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"]))["status"] == "Failed"
    (blocked,) = await versions(tenant, view)
    path = f"{VIEWS}{view['id']}/"
    refused = await tenant.error("POST", f"{path}rollback/", {"snapshot_id": blocked["id"]}, status=400)
    assert refused["code"] == "version_blocked"
    promoted = await tenant.call("POST", f"{path}snapshots/{blocked['id']}/promote/", {"reason": "known double"})
    assert promoted["current_snapshot_id"] == blocked["id"]
    assert len(await tenant.rows(await tenant.view(view["id"]))) == 2
    entry = (await tenant.call("GET", f"{path}activity/"))["results"][0]
    assert entry["activity"] == "promoted"
    assert "known double" in str(entry["detail"])
    again = await tenant.error("POST", f"{path}snapshots/{blocked['id']}/promote/", status=400)
    assert "Roll back" in again["detail"]


async def test_what_is_computed_from_a_blocked_result_does_not_run(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a", "1,b")
    more = await saved(tenant, total="SELECT count(*) AS n FROM orders", beside="SELECT 1 AS n")
    await add(tenant, view, "unique", column_name="id")
    done = await refreshed(tenant)
    assert statuses(done) == {"orders": "Failed", "total": "Skipped", "beside": "Completed"}
    (skipped,) = [one for one in done["views"] if one["name"] == "total"]
    assert skipped["run"]["skipped_reason"] == '"orders" failed.'
    assert not await versions(tenant, more["total"])


async def test_relationships_are_judged_within_the_generation(tenant: Tenant, sources: Path) -> None:
    path = sources / f"both-{tenant.project_id}.csv"
    path.write_text("id\n1\n2\n")
    await tenant.add_table("raw", path, "CSVWithNames")
    views = await saved(tenant, orders="SELECT id AS customer FROM raw", customers="SELECT id FROM raw")
    config = {"to_subject_type": "view", "to_subject_uuid": views["customers"]["id"], "to_column": "id"}
    check = await add(tenant, views["orders"], "relationships", column_name="customer", config=config)
    assert (await refreshed(tenant))["status"] == "Completed"
    path.write_text("id\n1\n2\n3\n")  # as of before, customer 3 is not there
    assert statuses(await refreshed(tenant)) == {"orders": "Completed", "customers": "Completed"}
    assert (await latest(tenant, views["orders"], check))["status"] == "passed"
    path.write_text("id\n1\n2\n3\n4\n")
    await tenant.act(views["orders"]["id"], "run")  # alone: against the customers of before
    runs = await tenant.history(views["orders"]["id"])
    assert len(runs) >= 2
    run = await tenant.ended(views["orders"]["id"], runs=len(runs))
    assert run["error"].startswith("Not published: relationships of")


async def test_a_check_reads_what_is_computed_from_its_view_as_it_is_now(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a", "2,b")
    await saved(tenant, total="SELECT count(*) AS n FROM orders")
    assert (await refreshed(tenant))["status"] == "Completed"
    # There is no order in which each would be checked against the other's new result.
    await add(tenant, view, "custom_sql", config={"query": "SELECT * FROM total WHERE n <> 2"})
    orders.write("1,a", "2,b", "3,c")
    assert statuses(await refreshed(tenant)) == {"orders": "Completed", "total": "Completed"}
    orders.write("1,a")
    assert statuses(await refreshed(tenant)) == {"orders": "Failed", "total": "Skipped"}, "3 by now"


async def test_a_blocked_run_does_not_pause_the_schedule(tenant: Tenant, orders: Orders, database: Database) -> None:
    view = await orders.make("1,a", "1,b")
    await add(tenant, view, "unique", column_name="id")
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"]))["status"] == "Failed"
    async with database.begin() as tx:
        run = (await tenant.history(view["id"]))[0]
        context = await failure_streaks.load_run_context(tx, UUID(run["id"]))
    assert context.failures_since_reset == 0


async def test_an_edit_whose_result_fails_a_check_is_not_promoted(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a", "2,b")
    more = (await saved(tenant, kinds="SELECT kind FROM orders"))["kinds"]
    await refreshed(tenant)
    await add(tenant, view, "unique", column_name="id")
    await add(tenant, more, "row_count_change", config={"max_rise_percent": 50})
    path = f"{VIEWS}{view['id']}/"

    async def tried(sql: str, **body: object) -> Json:
        begun = await tenant.call("POST", f"{path}try/", {"query": {"query": sql}, **body}, expect=202)

        async def ask() -> Json | None:
            listed = (await tenant.call("GET", f"{path}tries/"))["results"]
            found: Json = next(one for one in listed if one["id"] == begun["id"])
            return found if found["status"] != "Running" else None

        return await until(ask, "the end of a try")

    double = "SELECT id, kind FROM raw_orders UNION ALL SELECT id, kind FROM raw_orders"
    failed = await tried(double)
    assert failed["status"] == "Failed"
    assert failed["error"] == 'Not published: unique of "id" (2 failing rows).'
    refused = await tenant.error("POST", f"{path}tries/{failed['id']}/promote/", status=400)
    assert refused["code"] == "try_not_ready"
    assert len(await tenant.rows(await tenant.view(view["id"]))) == 2
    ready = await tried("SELECT id, upper(kind) AS kind FROM raw_orders")
    assert ready["status"] == "Ready"
    await tenant.call("POST", f"{path}tries/{ready['id']}/promote/")
    assert {row["kind"] for row in await tenant.rows(await tenant.view(view["id"]))} == {"A", "B"}


async def test_nothing_is_checked_again_when_nothing_has_changed(tenant: Tenant, orders: Orders) -> None:
    view = await orders.make("1,a")
    check = await add(tenant, view, "unique", column_name="id")
    for runs in (1, 2):
        await tenant.act(view["id"], "run", {})
        await tenant.ended(view["id"], runs=runs)
    assert [run["status"] for run in await tenant.history(view["id"])] == ["Skipped", "Completed"]
    found = await tenant.call("GET", f"{VIEWS}{view['id']}/checks/{check['id']}/runs/")
    assert found["count"] == 1
