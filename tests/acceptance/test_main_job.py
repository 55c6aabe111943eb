"""Materializing views and reading their results over HTTP, on real servers."""

import asyncio
import itertools
import json
import subprocess
import sysconfig
from pathlib import Path

import pyarrow.parquet as pq

from orchestrator.devstack.stack import DevStack
from tests.support.tenants import ENDLESS, Tenant, until, write_parquet

TEMPORAL = Path(sysconfig.get_path("scripts")) / "temporal"


def printed_by(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def test_a_materialized_view_is_run_at_once_and_its_result_is_published(tenant: Tenant, sources: Path) -> None:
    folder = sources / "published"
    write_parquet(folder / "1.parquet", a=[1, 2], b=["x", "y"])
    write_parquet(folder / "2.parquet", a=[3], b=["x"])
    await tenant.add_table("t", folder / "*.parquet")
    view = await tenant.create_view("sums", "SELECT b, sum(a) AS total, count(*) AS n FROM t GROUP BY b ORDER BY b")
    assert (view["is_materialized"], view["status"], view["sync_frequency"]) == (False, None, None)

    view = await tenant.act(view["id"], "materialize")
    assert (view["is_materialized"], view["sync_frequency"]) == (True, "24hour")
    run = await tenant.ended(view["id"])

    assert (run["status"], run["trigger"], run["rows"], run["error"]) == ("Completed", "first", 2, None)
    view = await tenant.view(view["id"])
    assert (view["status"], view["row_count"], view["latest_error"]) == ("Completed", 2, None)
    assert view["current_snapshot_id"] == run["snapshot_id"]
    assert view["size_bytes"] == run["bytes"] == sum(file.stat().st_size for file in tenant.files(view))
    assert view["last_run_at"] == run["timestamp"] == run["finished_at"]
    assert await tenant.rows(view) == [{"b": "x", "total": 4, "n": 2}, {"b": "y", "total": 2, "n": 1}]


async def test_views_read_tables_snapshots_and_plain_views(tenant: Tenant, sources: Path) -> None:
    write_parquet(sources / "inputs" / "t.parquet", a=[1, 2, 3])
    await tenant.add_table("t", sources / "inputs" / "t.parquet")
    await tenant.materialized("kept", "SELECT a FROM t")
    await tenant.create_view("plain", "SELECT a * 10 AS a FROM kept")
    write_parquet(sources / "inputs" / "t.parquet", a=[7])

    top = await tenant.materialized("top", "SELECT (SELECT list(a ORDER BY a) FROM plain) AS p, a FROM t")

    # The plain view reads the snapshot, which is older than the table is now.
    assert await tenant.rows(top) == [{"p": [10, 20, 30], "a": 7}]


async def test_temporal_lists_one_schedule_of_24_hours_for_each_materialized_view(
    stack: DevStack, tenant: Tenant
) -> None:
    views = [await tenant.materialized(f"v{number}", f"SELECT {number} AS n") for number in range(3)]
    await tenant.create_view("plain", "SELECT 1 AS n")
    for view in views:
        await tenant.act(view["id"], "materialize")  # a second time makes no second schedule

    at = ["--address", stack.info["temporal_address"], "--output", "json"]

    async def ours() -> list[str] | None:
        ids = {f"materialize/{view['id']}" for view in views}
        listed = json.loads(await asyncio.to_thread(printed_by, TEMPORAL, "schedule", "list", *at))
        found = [schedule["scheduleId"] for schedule in listed if schedule["scheduleId"] in ids]
        return found if len(found) >= 3 else None

    assert sorted(await until(ours, "three schedules")) == sorted(f"materialize/{view['id']}" for view in views)
    for view in views:
        arguments = ["schedule", "describe", *at, "--schedule-id", f"materialize/{view['id']}"]
        schedule = json.loads(await asyncio.to_thread(printed_by, TEMPORAL, *arguments))["schedule"]
        (interval,) = schedule["spec"]["interval"]
        assert interval["interval"] == "86400s"
        assert schedule["policies"]["overlapPolicy"] == "SCHEDULE_OVERLAP_POLICY_SKIP"
        assert view["name"] in schedule["state"]["notes"]
        assert view["next_run_at"] is not None
        assert view["schedule_paused"] is False


async def test_two_runs_asked_for_at_once_are_one_run(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    slow = await tenant.create_view("slow", ENDLESS)
    await tenant.act(slow["id"], "materialize")
    await tenant.running(slow["id"])
    answers = await asyncio.gather(*(tenant.act(slow["id"], "run") for _ in range(20)))
    assert {answer["status"] for answer in answers} == {"Running"}
    assert len(await tenant.history(slow["id"])) == 1
    await tenant.act(slow["id"], "cancel")

    await asyncio.gather(*(tenant.act(view["id"], "run") for _ in range(20)))
    history = await until(lambda: _all_ended(tenant, view["id"]), "the runs to end")
    spans = sorted((run["started_at"], run["finished_at"]) for run in history)
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(spans)), "two runs overlapped"


async def _all_ended(tenant: Tenant, view_id: str) -> list[dict[str, str]] | None:
    history = await tenant.history(view_id)
    return history if all(run["status"] != "Running" for run in history) else None


async def test_a_run_shows_as_running_the_moment_it_was_asked_for(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    for runs in range(2, 7):
        await tenant.act(view["id"], "run")
        assert len(await tenant.history(view["id"])) == runs
        await tenant.ended(view["id"], runs)


async def test_a_failing_query_keeps_the_last_good_result_and_its_schedule(tenant: Tenant, sources: Path) -> None:
    path = write_parquet(sources / "failing" / "t.parquet", a=[1, 2], b=[3, 4])
    await tenant.add_table("t", path)
    view = await tenant.materialized("v", "SELECT a, b FROM t ORDER BY a")
    good = await tenant.rows(view)
    write_parquet(path, a=[5])

    await tenant.act(view["id"], "run")
    run = await tenant.ended(view["id"], 2)

    assert run["status"] == "Failed"
    assert '"b"' in run["error"]
    failed = await tenant.view(view["id"])
    assert (failed["status"], failed["latest_error"]) == ("Failed", run["error"])
    assert failed["current_snapshot_id"] == view["current_snapshot_id"]
    assert await tenant.rows(failed) == good
    assert failed["next_run_at"] is not None
    assert failed["schedule_paused"] is False
    assert len(tenant.files(view)) == 1, "a failed run leaves nothing behind"

    write_parquet(path, a=[5], b=[6])
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"], 3))["status"] == "Completed"
    assert (await tenant.view(view["id"]))["latest_error"] is None


async def test_a_query_that_raises_an_error_fails_once_and_says_why(tenant: Tenant) -> None:
    view = await tenant.materialized(
        "v", "SELECT CASE WHEN n = 3 THEN error('no threes') ELSE n END AS n FROM range(5) t(n)"
    )
    (run,) = await tenant.history(view["id"])
    assert run["status"] == "Failed"
    assert "no threes" in run["error"]
    assert view["latest_error"] == run["error"]
    assert view["current_snapshot_id"] is None


async def test_a_cancel_answers_once_the_query_has_stopped_and_publishes_nothing(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    await tenant.running(view["id"])

    cancelled = await tenant.act(view["id"], "cancel")

    assert cancelled["status"] == "Cancelled"
    (run,) = await tenant.history(view["id"])
    assert (run["status"], run["rows"], run["snapshot_id"], run["error"]) == ("Cancelled", None, None, None)
    assert tenant.files(view) == []
    assert tenant.staged() == []
    refused = await tenant.error("POST", f"/warehouse_saved_queries/{view['id']}/cancel/", status=400)
    assert refused["detail"] == "Cannot cancel a query that is not running"


async def test_a_run_that_is_cancelled_before_it_began_is_recorded_as_cancelled(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    assert (await tenant.act(view["id"], "cancel"))["status"] == "Cancelled"
    (run,) = await tenant.history(view["id"])
    assert run["status"] == "Cancelled"


async def test_an_empty_result_is_a_success_with_the_right_columns(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1::DECIMAL(9,2) AS d, uuid() AS u WHERE false")
    assert (view["status"], view["row_count"]) == ("Completed", 0)
    (file,) = tenant.files(view)
    assert pq.read_table(file).column_names == ["d", "u"]
    assert [column["type"] for column in view["columns"]] == ["decimal", "uuid"]


async def test_a_sum_of_integers_keeps_every_digit(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT sum(n) AS total FROM (VALUES (9007199254740993), (0)) t(n)")
    assert await tenant.rows(view) == [{"total": 9007199254740993}]
    assert view["columns"][0]["duckdb_type"] == "HUGEINT"


async def test_a_view_that_is_inlined_has_the_types_of_one_that_is_materialized(tenant: Tenant) -> None:
    sql = "SELECT sum(n) AS total FROM range(10) t(n)"
    await tenant.create_view("plain", sql)
    await tenant.materialized("kept", sql)
    over = "SELECT total, typeof(total) AS t FROM "
    plain, kept = await tenant.materialized("a", over + "plain"), await tenant.materialized("b", over + "kept")
    assert plain["columns"] == kept["columns"]
    assert await tenant.rows(plain) == await tenant.rows(kept)


async def test_an_edited_view_serves_its_old_result_until_the_next_run(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    edited = await tenant.create_view("v", "SELECT 2 AS n", expect=200, edited_history_id=view["latest_history_id"])
    assert edited["status"] == "Modified"
    assert edited["current_snapshot_id"] == view["current_snapshot_id"]
    assert await tenant.rows(view) == [{"n": 1}]
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)
    assert (await tenant.view(view["id"]))["status"] == "Completed"
    assert await tenant.rows(view) == [{"n": 2}]


async def test_run_history_is_newest_first_and_shows_five_unless_asked_for_more(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    for runs in range(2, 8):
        await tenant.act(view["id"], "run")
        await tenant.ended(view["id"], runs)
    path = f"/warehouse_saved_queries/{view['id']}/run_history/"
    five, seven = (await tenant.call("GET", path))["run_history"], await tenant.history(view["id"])
    assert (len(five), len(seven)) == (5, 7)
    assert seven[:5] == five
    assert [run["started_at"] for run in seven] == sorted((run["started_at"] for run in seven), reverse=True)
    assert [run["trigger"] for run in seven] == ["api"] * 6 + ["first"]
    for run in seven:
        assert run["workflow_id"] == f"materialize/{view['id']}"
        assert run["duration_seconds"] >= 0
    await tenant.error("GET", path + "?limit=101", status=400)
