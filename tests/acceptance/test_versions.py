"""Every successful run publishes a version, and any version that is kept can be read or rolled back to."""

import asyncio
import json
from pathlib import Path
from uuid import UUID, uuid4

import duckdb
import pyarrow.parquet as pq
import xxhash
from temporalio.client import Client

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.snapshot import Manifest
from tests.contract.support import schedule_of
from tests.support.commands import run_matview
from tests.support.tenants import ENDLESS, Json, Tenant, write_parquet


async def versions(tenant: Tenant, view: Json) -> list[Json]:
    found: list[Json] = (await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/snapshots/"))["results"]
    return found


async def rolled_back(tenant: Tenant, view: Json, version: Json, **more: object) -> Json:
    return await tenant.act(view["id"], "rollback", {"snapshot_id": version["id"], **more})


async def rerun(tenant: Tenant, view: Json, sql: str, runs: int) -> Json:
    """The view, after an edit and a run of it."""
    body = {"query": {"query": sql}, "soft_update": True}
    await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", body)
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"], runs))["status"] == "Completed"
    return await tenant.view(view["id"])


async def test_every_successful_run_is_a_version_that_says_what_it_was_made_from(tenant: Tenant, sources: Path) -> None:
    await tenant.add_table("numbers", write_parquet(sources / "versions" / "numbers.parquet", n=[1, 2, 3]))
    base = await tenant.materialized("base", "SELECT n FROM numbers")
    view = await tenant.materialized("v", "SELECT n, n * 2 AS twice FROM base")
    (version,) = await versions(tenant, view)
    (of_base,) = await versions(tenant, base)
    (run,) = await tenant.history(view["id"])

    assert (version["id"], version["run_id"]) == (view["current_snapshot_id"], run["id"])
    assert version["history_id"] == view["latest_history_id"]
    assert (version["is_current"], version["superseded_at"], version["pinned"]) == (True, None, False)
    assert (version["row_count"], version["size_bytes"]) == (3, sum(file["bytes"] for file in version["files"]))
    assert [column["name"] for column in version["columns"]] == ["n", "twice"]
    assert version["engine_version"] == f"duckdb {duckdb.__version__}"
    expected = {"name": "base", "kind": "snapshot", "id": base["id"], "snapshot_id": of_base["id"]}
    expected |= {"skipped_rows": 0, "quarantine": None}
    assert [{name: pin[name] for name in expected} for pin in version["inputs"]] == [expected]
    assert version["inputs"][0]["files"] == []


async def test_a_manifest_beside_the_files_says_the_same_without_the_catalog(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT i FROM range(1000) t(i)")
    (version,) = await versions(tenant, view)
    folder = tenant.data_dir / "snapshots" / version["location"]
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())

    assert (str(manifest.snapshot.id), manifest.sql) == (version["id"], "SELECT i FROM range(1000) t(i)")
    assert [json.loads(file.model_dump_json()) for file in manifest.snapshot.files] == version["files"]
    for file in manifest.snapshot.files:
        content = (folder / file.name).read_bytes()
        assert (file.bytes, file.digest) == (len(content), f"xxh128:{xxhash.xxh3_128_hexdigest(content)}")
        assert file.rows == pq.read_metadata(folder / file.name).num_rows
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *(f.name for f in manifest.snapshot.files)}


async def test_a_rollback_shows_the_earlier_result_at_once_and_runs_nothing(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await rerun(tenant, view, "SELECT 'two' AS text", 2)
    newest, first = await versions(tenant, view)

    now = await rolled_back(tenant, view, first)

    assert (now["current_snapshot_id"], now["row_count"]) == (first["id"], 1)
    assert await tenant.rows(view) == [{"n": 1}]
    assert len(await tenant.history(view["id"])) == 2
    assert [version["is_current"] for version in await versions(tenant, view)] == [False, True]
    assert now["schedule_paused"]
    assert "tester@example.com" in now["paused_reason"]
    schedule = await schedule_of(temporal, view["id"])
    assert schedule is not None
    assert schedule.schedule.state.paused
    journal = await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/activity/")
    assert [entry["activity"] for entry in journal["results"][:2]] == ["sync_paused", "rolled_back"]
    (change,) = journal["results"][1]["detail"]["changes"]
    assert (change["field"], change["before"], change["after"]) == ("current_snapshot_id", newest["id"], first["id"])


async def test_a_rollback_can_leave_the_schedule_alone_and_the_next_run_replaces_it(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await rerun(tenant, view, "SELECT 2 AS n", 2)
    _, first = await versions(tenant, view)
    assert not (await rolled_back(tenant, view, first, pause_schedule=False))["schedule_paused"]
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 3)
    assert await tenant.rows(view) == [{"n": 2}]


async def test_a_view_that_was_rolled_back_is_resumed_as_any_paused_one(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    (only,) = await versions(tenant, view)
    await rolled_back(tenant, view, only)
    body = {"view_ids": [view["id"]]}
    assert await tenant.call("POST", "/warehouse_saved_queries/resume_schedules/", body) == {"resumed": [view["id"]]}
    assert not (await tenant.view(view["id"]))["schedule_paused"]


async def test_a_run_that_is_in_progress_does_not_replace_what_was_rolled_back_to(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    (first,) = await versions(tenant, view)
    body = {"query": {"query": ENDLESS}, "soft_update": True}
    await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", body)
    await tenant.act(view["id"], "run")
    await tenant.running(view["id"])
    await rolled_back(tenant, view, first)
    run = await tenant.ended(view["id"], 2)
    assert (run["status"], run["snapshot_id"]) == ("Cancelled", None)
    assert "rolled back" in run["error"]
    assert await tenant.rows(view) == [{"n": 1}]


async def test_what_reads_a_view_that_was_rolled_back_reads_the_earlier_result(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await rerun(tenant, view, "SELECT 2 AS n", 2)
    _, first = await versions(tenant, view)
    await rolled_back(tenant, view, first)
    reader = await tenant.materialized("reader", "SELECT n FROM v")
    assert await tenant.rows(reader) == [{"n": 1}]
    assert (await versions(tenant, reader))[0]["inputs"][0]["snapshot_id"] == first["id"]


async def test_only_a_version_of_the_view_itself_that_is_still_kept_can_be_chosen(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    other = await tenant.materialized("other", "SELECT 2 AS n")
    (foreign,) = await versions(tenant, other)
    path = f"/warehouse_saved_queries/{view['id']}/rollback/"
    for wrong in (foreign["id"], str(uuid4())):
        assert (await tenant.error("POST", path, {"snapshot_id": wrong}, status=404))["code"] == "not_found"
    await tenant.error("POST", path, {}, status=400)
    await tenant.error("POST", path, status=400)
    for odd in ("x", 1, None, ["a"]):
        error = await tenant.error("POST", path, {"snapshot_id": odd}, status=400)
        assert error["detail"].startswith("This is no id of a version.")
        assert error["attr"] == "snapshot_id"
    assert await tenant.rows(view) == [{"n": 1}]
    assert not (await tenant.view(view["id"]))["schedule_paused"]


async def test_a_view_that_is_not_materialized_has_no_versions(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    (version,) = await versions(tenant, view)
    await tenant.act(view["id"], "revert_materialization")
    assert await versions(tenant, view) == []
    path = f"/warehouse_saved_queries/{view['id']}/rollback/"
    await tenant.error("POST", path, {"snapshot_id": version["id"]}, status=404)
    await tenant.act(view["id"], "materialize")
    await tenant.ended(view["id"], 2)
    (new,) = await versions(tenant, view)
    assert new["id"] != version["id"], "what was undone does not come back"


async def test_a_workers_clock_does_not_decide_which_versions_there_are(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await tenant.act(view["id"], "revert_materialization")
    await tenant.act(view["id"], "materialize")
    await tenant.ended(view["id"], 2)
    database = Database(tenant.database_url, pool_size=1)
    try:
        async with database.begin() as tx:
            await tx.exec_driver_sql(
                "UPDATE snapshots SET created_at = created_at - interval '1 hour' "
                f"WHERE saved_query_id = '{view['id']}'"
            )
    finally:
        await database.close()
    (version,) = await versions(tenant, view)
    assert version["is_current"]


async def test_of_many_rollbacks_and_runs_at_once_the_pointer_is_one_of_the_versions(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    for number in (2, 3):
        await rerun(tenant, view, f"SELECT {number} AS n", number)
    made = await versions(tenant, view)
    await asyncio.gather(
        *(rolled_back(tenant, view, version, pause_schedule=bool(n % 2)) for n, version in enumerate(made * 4)),
        *(tenant.act(view["id"], "run") for _ in range(4)),
    )
    await tenant.ended(view["id"], 3)
    now = await versions(tenant, view)
    assert sum(version["is_current"] for version in now) == 1
    assert [version["superseded_at"] is None for version in now] == [version["is_current"] for version in now]
    assert UUID((await tenant.view(view["id"]))["current_snapshot_id"])


async def test_versions_are_listed_pinned_and_rolled_back_to_on_the_command_line(
    stack: DevStack, tenant: Tenant, tmp_path: Path
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await rerun(tenant, view, "SELECT 2 AS n", 2)
    newest, first = await versions(tenant, view)
    own = {
        "MATVIEW_API_URL": stack.info["api_url"],
        "MATVIEW_API_KEY": tenant.token,
        "MATVIEW_PROJECT_ID": str(tenant.project_id),
    }

    def matview(*arguments: str) -> list[str]:
        ended = run_matview("view", *arguments, cwd=tmp_path, env=own)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.splitlines()

    assert "is kept regardless of its age" in matview("pin", "v", first["id"])[0]
    lines = matview("versions", "v")
    assert [line.split()[1:3] for line in lines[1:]] == [["yes", "-"], ["-", "yes"]]
    assert [line.split()[5] for line in lines[1:]] == [newest["id"], first["id"]]
    (line,) = matview("rollback", "v", first["id"])
    assert line.startswith(f"v: readers see version {first['id']}, and the schedule is paused; to resume it: ")
    assert line.endswith("view resume v")
    assert "is kept as any other" in matview("unpin", "v", first["id"])[0]
    assert await tenant.rows(view) == [{"n": 1}]


async def test_versions_come_in_pages_newest_first(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await rerun(tenant, view, "SELECT 2 AS n", 2)
    path = f"/warehouse_saved_queries/{view['id']}/snapshots/?page_size=1"
    first = await tenant.call("GET", path)
    second = await tenant.call("GET", path + "&page=2")
    assert (first["count"], first["previous"], second["next"]) == (2, None, None)
    newest, oldest = await versions(tenant, view)
    assert (first["results"], second["results"]) == ([newest], [oldest])
    await tenant.error("GET", path + "&page=3", status=404)
