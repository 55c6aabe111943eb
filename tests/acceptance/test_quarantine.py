"""Rows that a run left out and quarantined: a key that may read the view can read them while the version is kept."""

import json
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.catalog.database import Database
from orchestrator.catalog.diagnostics import list_current_snapshots
from orchestrator.devstack.stack import DevStack
from orchestrator.model.base import now
from orchestrator.model.principal import Scope
from orchestrator.model.snapshot import Manifest, ResolvedInput, Snapshot, SnapshotFile, location_of, snapshot_id
from orchestrator.stores.local import LocalStore
from tests.support import publishing
from tests.support.tenants import Json, Tenant, a_tenant, quarantined, write_quarantine

VIEWS = "/warehouse_saved_queries/"


async def published(database: Database, tenant: Tenant, view: Json, **rejected: int | None) -> Snapshot:
    """Publish a version whose run left out rows of these tables. With None, three were skipped and not kept."""
    store, view_id = LocalStore(tenant.data_dir), UUID(view["id"])
    async with database.begin() as tx:
        run = await publishing.opened(tx, tenant.project_id, view)
    location = location_of(tenant.project_id, view_id, run.id, 1)
    folder = (await store.stage(location)).folder
    pq.write_table(pa.table({"n": [1, 2]}), folder / "data_0.parquet")
    result = SnapshotFile(name="data_0.parquet", rows=2, bytes=(folder / "data_0.parquet").stat().st_size)
    resolved_inputs, kept = [], []
    for number, (table, count) in enumerate(rejected.items()):
        pin = ResolvedInput(name=table, kind="source", id=uuid4(), skipped_rows=3 if count is None else count)
        if count is not None:
            name = f"quarantine/{number}.parquet"
            size = write_quarantine(folder / name, quarantined(count)).stat().st_size
            kept.append(SnapshotFile(name=name, rows=count, bytes=size))
            pin = pin.model_copy(update={"quarantine": name})
        resolved_inputs.append(pin)
    measured = await store.measure(location, [result, *kept])
    snapshot = Snapshot(
        id=snapshot_id(run.id, 1),
        run_id=run.id,
        saved_query_id=view_id,
        revision_id=UUID(view["latest_history_id"]),
        attempt=1,
        location=location,
        files=measured[:1],
        quarantine=measured[1:],
        rows=2,
        bytes=result.bytes,
        columns=(),
        inputs=tuple(resolved_inputs),
        engine_version="by hand",
        created_at=now(),
    )
    manifest = Manifest(project_id=tenant.project_id, name="v", sql="SELECT 1", snapshot=snapshot)
    await store.seal(location, measured, manifest.model_dump_json().encode())
    async with database.begin() as tx:
        await publishing.published(tx, snapshot)
    return snapshot


def path_of(view: Json, snapshot: Snapshot, query: str = "") -> str:
    return f"{VIEWS}{view['id']}/snapshots/{snapshot.id}/quarantine/{query}"


@pytest.fixture
async def view(tenant: Tenant) -> Json:
    return await tenant.materialized("v", "SELECT 1 AS n")


async def test_rows_that_were_kept_apart_are_read_a_page_at_a_time(
    database: Database, tenant: Tenant, view: Json
) -> None:
    snapshot = await published(database, tenant, view, orders=2_500)
    page = await tenant.call("GET", path_of(view, snapshot))
    assert (page["count"], page["results"]) == (2_500, quarantined(2_500)[:100])
    page = await tenant.call("GET", path_of(view, snapshot, "?table=ORDERS&limit=1000&offset=2000"))
    assert (page["count"], page["results"]) == (2_500, quarantined(2_500)[2_000:])
    page = await tenant.call("GET", path_of(view, snapshot, "?offset=2500"))
    assert page == {"count": 2_500, "results": []}


async def test_a_version_says_how_many_rows_were_left_out_and_lists_their_files_apart(
    database: Database, tenant: Tenant, view: Json
) -> None:
    snapshot = await published(database, tenant, view, orders=5, customers=None)
    shown = (await tenant.call("GET", f"{VIEWS}{view['id']}/snapshots/"))["results"][0]
    inputs = [(pin["name"], pin["kind"], pin["skipped_rows"], pin["quarantine"]) for pin in shown["inputs"]]
    assert inputs == [("orders", "source", 5, "quarantine/0.parquet"), ("customers", "source", 3, None)]
    assert [file["name"] for file in shown["files"]] == ["data_0.parquet"]
    assert [(file["name"], file["rows"]) for file in shown["quarantine"]] == [("quarantine/0.parquet", 5)]
    assert shown["quarantine"][0]["digest"].startswith("xxh128:")
    assert (shown["row_count"], shown["size_bytes"]) == (2, snapshot.bytes)
    manifest = json.loads((tenant.data_dir / "snapshots" / snapshot.location / "manifest.json").read_text())
    assert [file["name"] for file in manifest["snapshot"]["files"]] == ["data_0.parquet"]
    assert manifest["snapshot"]["quarantine"] == shown["quarantine"]
    assert await tenant.rows(view) == [{"n": 1}, {"n": 2}]


async def test_doctor_looks_for_the_files_of_rows_left_out_too(database: Database, tenant: Tenant, view: Json) -> None:
    snapshot = await published(database, tenant, view, orders=5)
    async with database.begin() as tx:
        (found,) = [one for one in await list_current_snapshots(tx) if one.location == snapshot.location]
    assert [file.name for file in found.files] == ["data_0.parquet", "quarantine/0.parquet"]


async def test_of_several_tables_one_is_to_be_named(database: Database, tenant: Tenant, view: Json) -> None:
    snapshot = await published(database, tenant, view, orders=5, customers=7)
    refused = await tenant.error("GET", path_of(view, snapshot), status=400)
    assert (refused["attr"], "orders, customers" in refused["detail"]) == ("table", True)
    assert (await tenant.call("GET", path_of(view, snapshot, "?table=customers")))["count"] == 7


async def test_where_no_rows_were_kept_there_is_nothing_to_find(database: Database, tenant: Tenant, view: Json) -> None:
    plain = await published(database, tenant, view)
    assert "No rows were quarantined" in (await tenant.error("GET", path_of(view, plain), status=404))["detail"]
    skipped = await published(database, tenant, view, orders=None)
    assert "3 were skipped, and not kept" in (await tenant.error("GET", path_of(view, skipped), status=404))["detail"]
    kept = await published(database, tenant, view, orders=1)
    await tenant.error("GET", path_of(view, kept, "?table=others"), status=404)
    await tenant.error("GET", f"{VIEWS}{view['id']}/snapshots/{uuid4()}/quarantine/", status=404)
    await tenant.error("GET", f"{VIEWS}{view['id']}/snapshots/latest/quarantine/", status=404)


async def test_a_version_whose_files_were_swept_at_this_moment_is_not_found(
    database: Database, tenant: Tenant, view: Json
) -> None:
    snapshot = await published(database, tenant, view, orders=1)
    await LocalStore(tenant.data_dir).discard(snapshot.location)
    assert "no longer kept" in (await tenant.error("GET", path_of(view, snapshot), status=404))["detail"]


@pytest.mark.parametrize(
    ("query", "attr"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("offset=-1", "offset"),
        ("offset=x", "offset"),
        (f"offset={10**30}", "offset"),
    ],
)
async def test_a_page_that_is_none_is_refused(
    database: Database, tenant: Tenant, view: Json, query: str, attr: str
) -> None:
    snapshot = await published(database, tenant, view, orders=1)
    assert (await tenant.error("GET", path_of(view, snapshot, f"?{query}"), status=400))["attr"] == attr


async def test_a_key_that_may_not_read_views_may_not_read_what_they_left_out(
    stack: DevStack, database: Database, tenant: Tenant, view: Json
) -> None:
    snapshot = await published(database, tenant, view, orders=1)
    async with a_tenant(stack, Scope.TABLE_WRITE) as other:
        url = f"{other.http.base_url}".rstrip("/") + path_of(view, snapshot)
        answer = await other.http.get(url)
        assert (answer.status_code, "warehouse_view:read" in answer.text) == (httpx.codes.FORBIDDEN, True)
    async with a_tenant(stack) as stranger:
        await stranger.error("GET", path_of(view, snapshot), status=404)


async def test_a_damaged_file_is_not_taken_for_a_passing_fault(database: Database, tenant: Tenant, view: Json) -> None:
    snapshot = await published(database, tenant, view, orders=1)
    Path(tenant.data_dir / "snapshots" / snapshot.location / "quarantine" / "0.parquet").write_bytes(b"PAR1")
    refused = await tenant.error("GET", path_of(view, snapshot), status=500)
    assert refused["code"] == "file_damaged"
