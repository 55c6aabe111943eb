"""A run is skipped if and only if its query would give the current result again."""

import os
from pathlib import Path

import duckdb
import pytest
from temporalio.client import Client

from tests.support.operator import Operator
from tests.support.tenants import Json, Tenant, write_parquet

UNCHANGED = "Nothing that it reads has changed since its current version was made."


async def refresh(tenant: Tenant, view: Json, **body: object) -> Json:
    """The run that a client asks for, once it has ended."""
    before = len(await tenant.history(view["id"]))
    await tenant.act(view["id"], "run", body)
    return await tenant.closed(await tenant.ended(view["id"], before + 1))


async def ran(tenant: Tenant, view: Json) -> bool:
    """Whether a run that a client asks for runs its query."""
    run = await refresh(tenant, view)
    assert (run["status"], run["skipped_reason"]) in {("Completed", None), ("Skipped", UNCHANGED)}
    return bool(run["status"] == "Completed")


def folder_of(sources: Path, tenant: Tenant) -> Path:
    folder = sources / f"skip-{tenant.project_id}"
    folder.mkdir(exist_ok=True)
    return folder


def replace(path: Path, content: bytes | str) -> None:
    """Another file in its place, with the modification time of before."""
    status = path.stat()
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    new.replace(path)


async def test_a_run_is_skipped_while_nothing_has_changed_and_says_so(tenant: Tenant) -> None:
    before = await tenant.materialized("v", "SELECT 1 AS n")
    run = await refresh(tenant, before)
    assert (run["status"], run["skipped_reason"]) == ("Skipped", UNCHANGED)
    assert (run["rows"], run["bytes"], run["snapshot_id"], run["error"]) == (None, None, None, None)
    after = await tenant.view(before["id"])
    assert after.pop("data_as_of") == run["started_at"] > before.pop("data_as_of")
    assert after == before
    assert (await tenant.view(before["id"]))["status"] == "Completed"
    assert len((await tenant.call("GET", f"/warehouse_saved_queries/{before['id']}/snapshots/"))["results"]) == 1
    assert await tenant.rows(before) == [{"n": 1}]

    run = await refresh(tenant, before, full_refresh=True)
    assert (run["status"], run["rows"]) == ("Completed", 1)
    assert (await tenant.view(before["id"]))["data_as_of"] == run["started_at"]


async def test_a_tick_of_the_schedule_is_skipped_and_stays_a_success(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await Operator(temporal).tick(view["id"], times=2)
    history = await tenant.history(view["id"])
    assert [(run["status"], run["trigger"]) for run in history] == [
        *[("Skipped", "schedule")] * 2,
        ("Completed", "first"),
    ]
    shown = await tenant.view(view["id"])
    assert (shown["status"], shown["latest_error"], shown["schedule_paused"]) == ("Completed", None, False)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_only_the_content_of_source_files_counts(tenant: Tenant, sources: Path, kind: str) -> None:
    folder = folder_of(sources, tenant)
    path = folder / f"a.{kind}"

    def write(target: Path, value: int) -> None:
        if kind == "csv":
            target.write_text(f"n\n{value}\n")
        else:
            write_parquet(target, n=[value])

    write(path, 1)
    await tenant.add_table("t", folder / f"*.{kind}", "CSVWithNames" if kind == "csv" else "Parquet")
    view = await tenant.materialized("v", "SELECT n FROM t ORDER BY n")
    assert not await ran(tenant, view)
    path.touch()
    assert not await ran(tenant, view)
    replace(path, path.read_bytes())  # another inode
    assert not await ran(tenant, view)

    write(folder / f"other.{kind}", 2)
    assert await ran(tenant, view)
    assert await tenant.rows(view) == [{"n": 1}, {"n": 2}]
    assert not await ran(tenant, view)
    write(path, 3)  # as many bytes
    assert await ran(tenant, view)
    (folder / f"other.{kind}").rename(folder / f"renamed.{kind}")
    assert await ran(tenant, view)
    (folder / f"renamed.{kind}").unlink()
    assert await ran(tenant, view)
    assert await tenant.rows(view) == [{"n": 3}]
    assert not await ran(tenant, view)


async def test_one_changed_byte_runs_also_with_the_modification_time_of_before(tenant: Tenant, sources: Path) -> None:
    path = folder_of(sources, tenant) / "a.csv"
    path.write_text("n,s\n" + "".join(f"{i},row\n" for i in range(1000)))
    await tenant.add_table("t", path, "CSVWithNames")
    view = await tenant.materialized("v", "SELECT count(*) AS n, count(*) FILTER (s = 'rox') AS x FROM t")
    replace(path, path.read_text().replace("500,row", "500,rox"))
    assert await ran(tenant, view)
    assert await tenant.rows(view) == [{"n": 1000, "x": 1}]


@pytest.mark.parametrize(
    "sql",
    ["SELECT now() AS t", "SELECT current_date AS d", "SELECT random() AS r", "SELECT uuid() AS u", "FROM w"],
)
async def test_a_query_that_depends_on_the_moment_or_on_chance_always_runs(tenant: Tenant, sql: str) -> None:
    await tenant.create_view("w", "SELECT * FROM range(10) t(i) WHERE random() < 0.5")
    view = await tenant.materialized("v", sql)
    assert await ran(tenant, view)


async def test_a_view_whose_input_gives_the_same_rows_in_another_order_is_skipped(
    tenant: Tenant, sources: Path
) -> None:
    path = folder_of(sources, tenant) / "a.csv"
    path.write_text("n,s\n1,a\n2,b\n2,b\n,\n")
    await tenant.add_table("t", path, "CSVWithNames")
    parent = await tenant.materialized("parent", "SELECT n, s FROM t")
    child = await tenant.materialized("child", "SELECT count(*) AS rows, sum(n) AS total FROM parent")
    path.write_text("n,s\n,\n2,b\n1,a\n2,b\n")
    assert await ran(tenant, parent)
    assert not await ran(tenant, child)
    path.write_text("n,s\n,\n2,b\n1,a\n1,a\n")  # as many rows, one of them twice instead of another one
    assert await ran(tenant, parent)
    assert await ran(tenant, child)
    assert await tenant.rows(child) == [{"rows": 4, "total": 4}]
    path.write_text("n,s\n,\n2,b\n1,a\n2,b\n")
    assert await ran(tenant, parent)
    assert await ran(tenant, child)
    path.write_text("n,s\n1,a\n")
    assert await ran(tenant, parent)
    assert await ran(tenant, child)


async def test_a_change_of_the_query_of_an_input_or_of_a_table_runs(tenant: Tenant, sources: Path) -> None:
    path = folder_of(sources, tenant) / "a.csv"
    path.write_text("n\n1\n2\n")
    table = await tenant.add_table("t", path, "CSVWithNames")
    plain = await tenant.create_view("plain", "SELECT n FROM t")
    view = await tenant.materialized("v", "SELECT n FROM plain ORDER BY n")
    assert not await ran(tenant, view)

    async def edit(changed: Json, sql: str) -> None:
        path = f"/warehouse_saved_queries/{changed['id']}/"
        shown = await tenant.view(changed["id"])
        body = {"query": {"kind": "HogQLQuery", "query": sql}, "edited_history_id": shown["latest_history_id"]}
        await tenant.call("PATCH", path, body)

    await edit(plain, "SELECT n + 1 AS n FROM t")
    assert await ran(tenant, view)
    await edit(view, "SELECT n FROM plain ORDER BY n DESC")
    assert await ran(tenant, view)
    assert not await ran(tenant, view)
    await tenant.call("PATCH", f"/warehouse_tables/{table['id']}/", {"null_text": "1"})
    assert await ran(tenant, view)
    assert await tenant.rows(view) == [{"n": 3}, {"n": None}]
    assert not await ran(tenant, view)


async def test_a_view_runs_after_a_run_that_did_not_complete(tenant: Tenant, sources: Path) -> None:
    path = folder_of(sources, tenant) / "a.csv"
    path.write_text("n\n1\n")
    await tenant.add_table("t", path, "CSVWithNames")
    view = await tenant.materialized("v", "SELECT n FROM t")
    hidden = path.rename(path.with_suffix(".hidden"))
    assert (await refresh(tenant, view))["status"] == "Failed"
    hidden.rename(path)
    assert await ran(tenant, view)
    assert (await tenant.view(view["id"]))["status"] == "Completed"
    assert not await ran(tenant, view)


async def test_a_result_whose_files_are_damaged_is_made_again(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    (stored,) = (tenant.data_dir / "snapshots").glob(f"{tenant.project_id}/*/*/*.parquet")
    stored.unlink()
    assert await ran(tenant, view)
    assert await tenant.rows(view) == [{"n": 1}]


async def test_a_damaged_result_that_others_read_is_made_again(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await tenant.create_view("reader", "SELECT n FROM v")
    (stored,) = (tenant.data_dir / "snapshots").glob(f"{tenant.project_id}/*/*/*.parquet")
    stored.unlink()
    assert await ran(tenant, view)
    assert await tenant.rows(view) == [{"n": 1}]
    (stored,) = (tenant.data_dir / "snapshots").glob(f"{tenant.project_id}/*/*/*.parquet")
    # Nothing that runs reads it, but for the comparison with the next version.
    stored.write_bytes(b"PAR1" + bytes(stored.stat().st_size - 8) + b"PAR1")
    assert (await refresh(tenant, view, full_refresh=True))["status"] == "Completed"


async def test_a_link_that_leads_to_another_partition_is_a_change(tenant: Tenant, sources: Path) -> None:
    folder = folder_of(sources, tenant)
    for day in ("2024-05-01", "2024-05-02"):
        (folder / f"d={day}").mkdir()
        write_parquet(folder / f"d={day}" / "a.parquet", n=[1])
    latest = folder / "latest"
    latest.symlink_to(folder / "d=2024-05-01")
    body = {
        "name": "t",
        "format": "Parquet",
        "url_pattern": f"{folder}/latest/*.parquet",
        "hive_partitioning": True,
    }
    await tenant.call("POST", "/warehouse_tables/", body, expect=201)
    view = await tenant.materialized("v", "SELECT d::VARCHAR AS d, n FROM t")
    assert await tenant.rows(view) == [{"d": "2024-05-01", "n": 1}]
    latest.unlink()
    latest.symlink_to(folder / "d=2024-05-02")
    assert await ran(tenant, view)
    assert await tenant.rows(view) == [{"d": "2024-05-02", "n": 1}]


async def test_the_rows_of_a_skipped_view_equal_those_of_its_query(tenant: Tenant, sources: Path) -> None:
    path = folder_of(sources, tenant) / "a.parquet"
    write_parquet(path, n=[1, 2, 3])
    await tenant.add_table("t", path)
    view = await tenant.materialized("v", "SELECT sum(n) AS n FROM t")
    assert not await ran(tenant, view)
    with duckdb.connect() as connection:
        (expected,) = connection.execute(f"SELECT sum(n) FROM '{path}'").fetchone() or (None,)
    assert await tenant.rows(view) == [{"n": expected}]
