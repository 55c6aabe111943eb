"""An edit is tried before it is saved: nothing that readers or the failure policy see changes until it is promoted."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import CancelledError

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.findings import FindingKind
from orchestrator.model.principal import Scope
from orchestrator.model.snapshot import Retention
from orchestrator.temporal import contract
from tests.acceptance.reconciling import Reconcile
from tests.reading.support import rows_of
from tests.support.commands import run_matview
from tests.support.tenants import ENDLESS, Json, Tenant, a_tenant, until, write_parquet

LONG = "SELECT a.n % 97 AS k, sum(sqrt(a.n * b.n)) AS s FROM range(40000) a(n), range(6000) b(n) GROUP BY 1"
KEEP = Retention(count=1000, age=timedelta(days=1000), grace=timedelta(0))
ROUNDS = int(os.environ.get("MATVIEW_RACE_ROUNDS", "3"))


def path_of(view: Json, edit: Json | None = None, action: str = "") -> str:
    base = f"/warehouse_saved_queries/{view['id']}/"
    return f"{base}try/" if edit is None else f"{base}tries/{edit['id']}/{action}"


async def started(tenant: Tenant, view: Json, sql: str) -> Json:
    return await tenant.call("POST", path_of(view), {"query": {"query": sql}}, expect=202)


async def over(tenant: Tenant, view: Json, edit: Json, parameters: str = "") -> Json:
    """The try, once it has ended."""

    async def ask() -> Json | None:
        found = await tenant.call("GET", path_of(view, edit) + parameters)
        return found if found["status"] != "Running" else None

    return await until(ask, "the end of the try")


async def tried(tenant: Tenant, view: Json, sql: str, parameters: str = "") -> Json:
    return await over(tenant, view, await started(tenant, view, sql), parameters)


async def all_of(tenant: Tenant, view: Json) -> Json:
    """Everything that clients see of a view."""
    base = f"/warehouse_saved_queries/{view['id']}"
    shown = await tenant.view(view["id"])
    del shown["next_run_at"]
    return {
        "view": shown,
        "history": await tenant.history(view["id"]),
        "versions": await tenant.call("GET", f"{base}/snapshots/"),
        "activity": await tenant.call("GET", f"{base}/activity/"),
        "rows": (await rows_of(tenant, view)).json()["results"],
    }


@asynccontextmanager
async def polled(tenant: Tenant, view: Json) -> AsyncIterator[list[Json]]:
    """Reads rows and state of a view again and again during the context; the list gets all different answers."""
    seen: list[Json] = []

    async def poll() -> None:
        while True:
            answer = await rows_of(tenant, view)
            shown = await tenant.view(view["id"])
            one = {
                "rows": answer.json()["results"],
                "version": answer.headers["X-Snapshot-Id"],
                "view": {name: shown[name] for name in ("status", "latest_error", "query", "current_snapshot_id")},
            }
            if one not in seen:
                seen.append(one)

    polling = asyncio.create_task(poll())
    try:
        yield seen
    finally:
        polling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await polling


async def test_a_try_shows_its_rows_and_what_differs_and_changes_nothing_that_readers_see(
    tenant: Tenant, sources: Path
) -> None:
    await tenant.add_table("orders", write_parquet(sources / "tries" / "orders.parquet", id=[1, 2, 3], x=[10, 20, 30]))
    view = await tenant.materialized("v", "SELECT id, x FROM orders")
    before = await all_of(tenant, view)
    async with polled(tenant, view) as seen:
        edit = await tried(tenant, view, "SELECT id, x + (id = 2)::INT AS x, 'new' AS y FROM orders", "?key=id")
    assert (edit["status"], edit["error"], edit["row_count"], edit["diff_error"]) == ("Ready", None, 3, None)
    assert edit["rows"] == [[1, 10, "new"], [2, 21, "new"], [3, 30, "new"]]
    assert [column["name"] for column in edit["columns"]] == ["id", "x", "y"]
    assert edit["diff"]["from"]["snapshot_id"] == view["current_snapshot_id"] == edit["base_snapshot_id"]
    assert edit["diff"]["rows"] == {"added": 0, "removed": 0, "changed": 1, "unchanged": 2}
    assert edit["diff"]["schema"]["added"] == [{"name": "y", "type": "VARCHAR"}]
    assert edit["diff"]["changed"] == [{"columns": ["x"], "from": [2, 20], "to": [2, 21]}]
    assert await all_of(tenant, view) == before
    assert len(seen) == 1, "a reader saw nothing of it"
    listed = await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/tries/")
    assert [(one["id"], one["status"]) for one in listed["results"]] == [(edit["id"], "Ready")]
    error = await tenant.http.get(f"/warehouse_saved_queries/{view['id']}/data/?snapshot_id={edit['id']}")
    assert error.status_code == 404


async def test_a_promoted_try_is_an_edit_and_a_version_as_one_act(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    reader = await tenant.create_view("reader", "SELECT * FROM v")
    edit = await tried(tenant, view, "SELECT 2 AS n, 'b' AS text")
    async with polled(tenant, view) as seen:
        promoted = await tenant.call("POST", path_of(view, edit, "promote/"))

        async def is_seen() -> bool:
            return any(one["version"] == promoted["current_snapshot_id"] for one in seen)

        await until(is_seen, "a reader that sees it")
    assert promoted["query"]["query"] == "SELECT 2 AS n, 'b' AS text"
    assert promoted["latest_history_id"] != view["latest_history_id"]
    assert (promoted["status"], promoted["row_count"]) == ("Completed", 1)
    assert promoted["data_as_of"] == edit["created_at"]
    for one in seen:
        is_new = one["version"] == promoted["current_snapshot_id"]
        assert one["rows"] == ([[2, "b"]] if is_new else [[1]])
    run, _ = await tenant.history(view["id"])
    assert (run["id"], run["status"], run["trigger"]) == (edit["id"], "Completed", "api")
    assert run["snapshot_id"] == promoted["current_snapshot_id"]
    newest, first = (await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/snapshots/"))["results"]
    assert (newest["is_current"], newest["history_id"]) == (True, promoted["latest_history_id"])
    assert (first["is_current"], first["id"]) == (False, view["current_snapshot_id"])
    link = tenant.data_dir / "current" / str(tenant.project_id) / "v"
    assert link.resolve() == (tenant.data_dir / "snapshots" / newest["location"]).resolve()
    manifest = json.loads((link / "manifest.json").read_text())
    assert manifest["snapshot"]["revision_id"] == promoted["latest_history_id"]
    assert [one["name"] for one in (await tenant.view(reader["id"]))["columns"]] == ["n", "text"]
    await tenant.act(view["id"], "run", {})
    assert (await tenant.ended(view["id"], 3))["status"] == "Skipped", "it is the result of the saved query"
    error = await tenant.error("POST", path_of(view, edit, "promote/"), status=400)
    assert error["code"] == "try_not_ready"


async def test_a_promoted_try_stays_when_tries_expire(tenant: Tenant, database: Database, reconcile: Reconcile) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    edit = await tried(tenant, view, "SELECT 2 AS n")
    await tenant.call("POST", path_of(view, edit, "promote/"))
    await expire(database, edit)
    for _ in range(2):
        await reconcile(retention=KEEP)
    assert await tenant.rows(view) == [{"n": 2}]
    assert await rows_in_the_catalog(database, edit) == 0


async def test_a_try_is_not_promoted_over_an_edit_a_refresh_or_a_rollback(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    url = f"/warehouse_saved_queries/{view['id']}/"

    async def edited() -> None:
        await tenant.call("PATCH", url, {"query": {"query": "SELECT 3 AS n"}, "soft_update": True})

    async def refreshed() -> None:
        await tenant.act(view["id"], "run")
        await tenant.ended(view["id"], 2)

    async def rolled_back() -> None:
        await tenant.act(view["id"], "rollback", {"snapshot_id": view["current_snapshot_id"]})

    for change in (edited, refreshed, rolled_back):
        edit = await tried(tenant, view, "SELECT 2 AS n")
        await change()
        before = await all_of(tenant, view)
        error = await tenant.error("POST", path_of(view, edit, "promote/"), status=400)
        assert error["code"] == "try_outdated"
        assert "Try it again" in error["detail"]
        assert await all_of(tenant, view) == before


async def test_of_two_promotions_at_once_one_wins(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 0 AS n")
    for n in range(1, ROUNDS + 1):
        edits = [await tried(tenant, view, f"SELECT {n * 10 + i} AS n") for i in range(2)]
        paths = [path_of(view, edit, "promote/") for edit in (*edits, edits[0])]
        answers = await asyncio.gather(*(tenant.http.post(path) for path in paths))
        assert sorted(answer.status_code for answer in answers) == [200, 400, 400]
        assert {answer.json().get("code") for answer in answers} <= {None, "try_outdated", "try_not_ready"}
        (won,) = [answer.json() for answer in answers if answer.status_code == 200]
        assert await tenant.rows(view) == [{"n": int(won["query"]["query"].split()[1])}]
        assert (await tenant.view(view["id"]))["latest_history_id"] == won["latest_history_id"]
        for edit in edits:
            await tenant.http.delete(path_of(view, edit))


async def test_a_try_is_not_promoted_while_a_run_of_the_older_query_is_in_progress(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    url = f"/warehouse_saved_queries/{view['id']}/"
    await tenant.call("PATCH", url, {"query": {"query": ENDLESS}, "soft_update": True})
    edit = await tried(tenant, view, "SELECT 2 AS n")
    await tenant.act(view["id"], "run")
    await tenant.running(view["id"])
    assert (await tenant.error("POST", path_of(view, edit, "promote/"), status=400))["code"] == "run_in_progress"
    await tenant.act(view["id"], "cancel")
    promoted = await tenant.call("POST", path_of(view, edit, "promote/"))
    assert (promoted["query"]["query"], promoted["status"]) == ("SELECT 2 AS n", "Completed")


async def test_an_edit_whose_query_fails_says_why_and_leaves_view_and_schedule_alone(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    before = await all_of(tenant, view)
    edit = await tried(tenant, view, "SELECT 'x'::INTEGER AS n")
    assert (edit["status"], edit["rows"], edit["diff"]) == ("Failed", None, None)
    assert "Could not convert string 'x' to INT32" in edit["error"]
    assert await all_of(tenant, view) == before
    assert len(tenant.files(view)) == 1
    assert (await tenant.error("POST", path_of(view, edit, "promote/"), status=400))["code"] == "try_not_ready"
    for sql, code in (("SELEC 1", "invalid_query"), ("SELECT * FROM v", "invalid_query")):
        error = await tenant.error("POST", path_of(view), {"query": {"query": sql}}, status=400)
        assert (error["code"], error["attr"]) == (code, "query")
    plain = await tenant.create_view("plain", "SELECT 1 AS n")
    error = await tenant.error("POST", path_of(plain), {"query": {"query": "SELECT 2 AS n"}}, status=400)
    assert error["code"] == "not_materialized"


async def test_a_try_that_is_forgotten_while_it_runs_is_cancelled_and_leaves_nothing(
    tenant: Tenant, temporal: Client, database: Database, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    edit = await started(tenant, view, ENDLESS)
    handle = temporal.get_workflow_handle(contract.try_workflow_id(edit["id"]))

    async def works() -> bool:
        description = await handle.describe()
        return any(one.activity_id == edit["id"] for one in description.raw_description.pending_activities)

    await until(works, "the query of the try")
    description = await handle.describe()
    assert await description.static_summary() == f"Try of an edit of v (project {tenant.project_id})"
    await tenant.call("DELETE", path_of(view, edit), expect=204)
    await tenant.error("GET", path_of(view, edit), status=404)
    with pytest.raises(WorkflowFailureError) as raised:
        await handle.result()
    assert isinstance(raised.value.cause, CancelledError)
    assert len(tenant.files(view)) == 1
    assert tenant.staged() == []
    await reconcile(retention=KEEP)
    assert await rows_in_the_catalog(database, edit) == 0
    await tenant.error("DELETE", path_of(view, edit), status=404)


async def test_a_try_expires_and_its_files_and_rows_go(
    tenant: Tenant, database: Database, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    edit = await tried(tenant, view, "SELECT 2 AS n")
    await reconcile(retention=KEEP)
    assert len(tenant.files(view)) == 2, "until then it stays"
    await expire(database, edit)
    await tenant.error("GET", path_of(view, edit), status=404)
    await tenant.error("POST", path_of(view, edit, "promote/"), status=404)
    graceful = KEEP.model_copy(update={"grace": timedelta(hours=1)})
    assert (FindingKind.TRY_EXPIRED, edit["id"]) in await reconcile(retention=graceful)
    assert len(tenant.files(view)) == 2, "a client may be reading it"
    await reconcile(retention=KEEP)
    assert len(tenant.files(view)) == 1
    await reconcile(retention=KEEP)
    assert await rows_in_the_catalog(database, edit) == 0
    assert await tenant.rows(view) == [{"n": 1}]


async def test_the_versions_that_a_try_reads_are_kept_while_it_runs(tenant: Tenant, reconcile: Reconcile) -> None:
    base = await tenant.materialized("base", "SELECT 1 AS n")
    view = await tenant.materialized("v", "SELECT 1 AS n")
    edit = await started(tenant, view, f"SELECT base.n FROM base, ({ENDLESS})")
    await tenant.act(base["id"], "run")
    await tenant.ended(base["id"], 2)
    one = Retention(count=1, age=timedelta(days=1), grace=timedelta(0))
    assert (FindingKind.VERSION_EXPIRED, base["current_snapshot_id"]) not in await reconcile(retention=one)
    await tenant.call("DELETE", path_of(view, edit), expect=204)

    async def is_free() -> bool:
        return (FindingKind.VERSION_EXPIRED, base["current_snapshot_id"]) in await reconcile(retention=one)

    await until(is_free, "the end of the lease")


async def test_a_view_has_five_tries_at_most(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    edits = [await started(tenant, view, f"SELECT {n} AS n") for n in range(5)]
    error = await tenant.error("POST", path_of(view), {"query": {"query": "SELECT 9 AS n"}}, status=400)
    assert error["code"] == "too_many_tries"
    await tenant.call("DELETE", path_of(view, edits[0]), expect=204)
    await started(tenant, view, "SELECT 9 AS n")


async def test_a_try_of_another_view_or_project_is_not_found(stack: DevStack, tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    other = await tenant.materialized("other", "SELECT 1 AS n")
    edit = await tried(tenant, view, "SELECT 2 AS n")
    calls = [("GET", ""), ("DELETE", ""), ("POST", "promote/")]
    async with a_tenant(stack) as stranger, a_tenant(stack, Scope.VIEW_READ) as reader:
        theirs = await stranger.materialized("v", "SELECT 1 AS n")
        for method, action in calls:
            for caller, of, which in (
                (tenant, other, edit),
                (tenant, view, {"id": str(uuid4())}),
                (stranger, theirs, edit),
                (stranger, view, edit),
            ):
                await caller.error(method, path_of(of, which, action), status=404)
        await stranger.error("POST", path_of(view), {"query": {"query": "SELECT 2 AS n"}}, status=404)
        await stranger.error("GET", f"/warehouse_saved_queries/{view['id']}/tries/", status=404)
        for method, action in calls[1:]:
            await reader.error(method, path_of(view, edit, action), status=403)
        await reader.error("POST", path_of(view), {"query": {"query": "SELECT 2 AS n"}}, status=403)
    assert (await over(tenant, view, edit))["status"] == "Ready"


async def test_a_try_whose_worker_is_killed_is_completed_by_the_next_one(stack: DevStack, tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS k, 1.0 AS s")
    before = await all_of(tenant, view)
    edit = await started(tenant, view, LONG)

    async def is_staged() -> bool:
        return await asyncio.to_thread((tenant.data_dir / "staging").exists) and any(
            (tenant.data_dir / "staging" / str(tenant.project_id) / view["id"]).glob(f"{edit['id']}-*")
        )

    await until(is_staged, "the query of the try")
    stack.kill("worker")  # with SIGKILL; the stack starts another
    ended = await over(tenant, view, edit)
    assert (ended["status"], ended["row_count"]) == ("Ready", 97)
    assert tenant.staged() == []
    assert len(tenant.files(view)) == 2
    assert await all_of(tenant, view) == before


async def test_the_command_tries_an_edit_shows_what_differs_and_promotes_it(stack: DevStack, tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT i AS id, i * 2 AS x FROM range(3) t(i)")
    env = {
        "MATVIEW_API_URL": stack.info["api_url"],
        "MATVIEW_API_KEY": tenant.token,
        "MATVIEW_PROJECT_ID": str(tenant.project_id),
    }

    async def typed(*arguments: str, status: int = 0) -> list[str]:
        result = await asyncio.to_thread(run_matview, "view", *arguments, env=env)
        assert result.returncode == status, result.stderr
        return (result.stdout or result.stderr).splitlines()

    lines = await typed("try", "v", "SELECT i AS id, i * 3 AS x FROM range(3) t(i)", "--key", "id")
    assert lines[0] == "v, as edited: 3 rows"
    assert "0 added, 0 removed, 2 changed, 1 unchanged" in lines
    assert "~   1  2 → 3" in lines
    assert lines[-1].startswith("not saved. To save and publish it: ")
    assert "matview view promote v " in lines[-1]
    assert await tenant.rows(view) == [{"id": n, "x": n * 2} for n in range(3)]
    (listed,) = (await typed("tries", "v"))[1:]
    edit = listed.split()[4]
    assert (await typed("promote", "v", edit))[0].startswith("v: saved and published; readers see version ")
    assert await tenant.rows(view) == [{"id": n, "x": n * 3} for n in range(3)]
    assert "saved and published" in (await typed("try", "v", "SELECT 1 AS id", "--promote"))[-1]
    failed = await typed("try", "v", "SELECT 'x'::INTEGER AS id", status=1)
    assert failed[0].startswith("error: v: Conversion Error")
    edit = (await typed("tries", "v"))[1].split()[4]
    assert await typed("forget", "v", edit) == ["v: the try is forgotten"]


async def expire(database: Database, edit: Json) -> None:
    async with database.begin() as tx:
        await tx.exec_driver_sql(f"UPDATE tries SET expires_at = now() - interval '1 s' WHERE id = '{edit['id']}'")


async def rows_in_the_catalog(database: Database, edit: Json) -> int:
    async with database.begin() as tx:
        found = await tx.exec_driver_sql(f"SELECT count(*) FROM tries WHERE id = '{edit['id']}'")
        return int(found.scalar_one())
