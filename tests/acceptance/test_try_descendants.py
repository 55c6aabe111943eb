"""An edit is tried together with the views that read the edited one, and promoted with them as one act."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import CancelledError

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.edit_try import MOST_MEMBERS
from orchestrator.model.findings import FindingKind
from orchestrator.temporal import contract
from tests.acceptance.reconciling import Reconcile
from tests.acceptance.test_tries import KEEP, LONG, ROUNDS, all_of, expire, over, path_of, rows_in_the_catalog
from tests.reading.support import rows_of
from tests.support.commands import run_matview
from tests.support.tenants import ENDLESS, Json, Tenant, a_tenant, dev_stack, until, write_parquet

ORDERS = "SELECT id, customer, amount FROM raw_orders"
EDITED = "SELECT id, customer, amount * 2 AS amount, 'EUR' AS currency FROM raw_orders WHERE id > 1"
# Those that read `orders`: `by_customer` and `total` directly, `best` through `between`, which is not materialized.
BELOW = {
    "by_customer": "SELECT customer, sum(amount) AS amount, count(*) AS n FROM orders GROUP BY ALL",
    "best": "SELECT * FROM between ORDER BY amount DESC LIMIT 1",
    "total": "SELECT (SELECT sum(amount) FROM orders) AS direct, (SELECT sum(amount) FROM best) AS of_best, rate "
    "FROM rates",
}
BETWEEN = "SELECT customer, amount FROM by_customer WHERE n > 0"


class Shop:
    """A project of views over a source table: `orders`, three that read it, and two that do not."""

    def __init__(self, tenant: Tenant, folder: Path) -> None:
        self.tenant = tenant
        self.file = folder / f"try-descendants-{tenant.project_id}" / "orders.parquet"
        self.views: dict[str, Json] = {}

    async def make(self) -> None:
        write_parquet(self.file, id=[1, 2, 3, 4], customer=["a", "b", "a", "c"], amount=[5, 7, 11, 13])
        await self.tenant.add_table("raw_orders", self.file)
        await self._materialized("orders", ORDERS)
        await self._materialized("rates", "SELECT 3 AS rate")
        await self._materialized("beside", "SELECT sum(amount) AS amount FROM raw_orders")
        await self._materialized("by_customer", BELOW["by_customer"])
        self.views["between"] = await self.tenant.create_view("between", BETWEEN)
        await self._materialized("best", BELOW["best"])
        await self._materialized("total", BELOW["total"])

    async def _materialized(self, name: str, sql: str) -> None:
        self.views[name] = await self.tenant.materialized(name, sql)
        assert self.views[name]["status"] == "Completed", self.views[name]

    async def started(self, sql: str) -> Json:
        edit = {"query": {"query": sql}, "descendants": True}
        return await self.tenant.call("POST", path_of(self.views["orders"]), edit, expect=202)

    async def over(self, edit: Json, parameters: str = "") -> Json:
        return await over(self.tenant, self.views["orders"], edit, parameters)

    async def tried(self, sql: str, parameters: str = "") -> Json:
        return await self.over(await self.started(sql), parameters)

    async def member(self, edit: Json, name: str, parameters: str = "") -> Json:
        return await self.tenant.call("GET", path_of(self.views["orders"], edit) + f"?member={name}{parameters}")

    async def promote(self, edit: Json) -> Json:
        return await self.tenant.call("POST", path_of(self.views["orders"], edit, "promote/"))

    async def refused(self, edit: Json) -> Json:
        return await self.tenant.error("POST", path_of(self.views["orders"], edit, "promote/"), status=400)

    async def edit(self, name: str, sql: str) -> None:
        body = {"query": {"query": sql}, "soft_update": True}
        await self.tenant.call("PATCH", f"/warehouse_saved_queries/{self.views[name]['id']}/", body)

    async def refresh(self, name: str) -> None:
        runs = len(await self.tenant.history(self.views[name]["id"]))
        await self.tenant.act(self.views[name]["id"], "run")
        await self.tenant.ended(self.views[name]["id"], runs + 1)

    async def all(self) -> Json:
        """Everything that clients see of the materialized views."""
        return {name: await all_of(self.tenant, view) for name, view in self.views.items() if name != "between"}

    async def rows(self, name: str) -> list[list[Any]]:
        rows: list[list[Any]] = (await rows_of(self.tenant, self.views[name])).json()["results"]
        return rows

    def files(self) -> int:
        return sum(len(self.tenant.files(view)) for view in self.views.values())

    def expected(self, orders: str = EDITED, rate: int = 3) -> dict[str, list[list[Any]]]:
        """The rows of all views as DuckDB computes them from the texts."""
        with duckdb.connect() as plain:
            plain.execute(f"CREATE VIEW raw_orders AS FROM '{self.file}'")
            plain.execute(f"CREATE VIEW rates AS SELECT {rate} AS rate")
            plain.execute(f"CREATE VIEW orders AS {orders}")
            plain.execute(f"CREATE VIEW by_customer AS {BELOW['by_customer']}")
            plain.execute(f"CREATE VIEW between AS {BETWEEN}")
            plain.execute(f"CREATE VIEW best AS {BELOW['best']}")
            plain.execute(f"CREATE VIEW total AS {BELOW['total']}")
            names = ("orders", *BELOW)
            return {name: sorted(map(list, plain.sql(f"FROM {name}").fetchall())) for name in names}


@pytest.fixture
async def shop(tenant: Tenant, sources: Path) -> Shop:
    made = Shop(tenant, sources)
    await made.make()
    return made


def statuses(edit: Json) -> dict[str, str]:
    return {one["name"]: one["status"] for one in edit["members"]}


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


async def member_ids(tenant: Tenant, edit: Json) -> list[str]:
    return [row[0] for row in await _asked(tenant, f"SELECT id::text FROM tries WHERE member_of = '{edit['id']}'")]


async def attempts_in_the_catalog(tenant: Tenant, edit: Json) -> dict[str, int]:
    query = f"SELECT plan->>'name', attempt FROM tries WHERE '{edit['id']}' IN (id, member_of)"
    return {row[0]: row[1] for row in await _asked(tenant, query)}


async def _asked(tenant: Tenant, query: str) -> list[Any]:
    database = Database(tenant.database_url, pool_size=1)
    try:
        async with database.begin() as tx:
            return list(await tx.exec_driver_sql(query))
    finally:
        await database.close()


async def members_in_the_catalog(database: Database, edit: Json) -> int:
    return await _count(database, f"SELECT count(*) FROM tries WHERE '{edit['id']}' IN (id, member_of)")


async def pins_in_the_catalog(database: Database, edit: Json) -> int:
    return await _count(database, f"SELECT count(*) FROM source_pins WHERE generation_id = '{edit['id']}'")


async def leases_in_the_catalog(database: Database, edit: Json) -> int:
    return await _count(database, f"SELECT count(*) FROM read_leases WHERE read_id = '{edit['id']}'")


async def _count(database: Database, query: str) -> int:
    async with database.begin() as tx:
        return int((await tx.exec_driver_sql(query)).scalar_one())
