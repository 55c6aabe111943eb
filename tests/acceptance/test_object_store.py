"""The product with its results in an object store: what holds on a disk holds there."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx
import obstore
import pyarrow.parquet as pq
import pytest
from obstore.store import ObjectStore

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.stores.objects import open_objects
from tests.generations.test_refreshing import refreshed
from tests.reading.iceberg_clients import in_pyiceberg
from tests.support.commands import run_matview
from tests.support.faulty_proxy import QUICK, FaultyProxy
from tests.support.s3_server import BUCKET, S3Server
from tests.support.secret_search import assert_not_in_files, assert_not_in_queries, has_in_memory
from tests.support.tenants import ENDLESS, Tenant, dev_stack, until


@pytest.fixture(scope="module")
def url() -> str:
    return f"s3://{BUCKET}/{uuid4()}"


@pytest.fixture(scope="module")
def objects(s3: S3Server, url: str) -> ObjectStore:
    """The bucket, as its owner sees it."""
    return open_objects(url, s3.options)


@pytest.fixture(scope="module")
async def proxy(s3: S3Server) -> AsyncIterator[FaultyProxy]:
    """The network between the stack and the bucket, without faults at first."""
    async with FaultyProxy(s3.endpoint, seed=11).running() as running:
        yield running


@pytest.fixture(scope="module")
async def stack(
    s3: S3Server, proxy: FaultyProxy, url: str, tmp_path_factory: pytest.TempPathFactory, sources: Path
) -> AsyncIterator[DevStack]:
    """A stack whose results are in the bucket."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.settings(url, proxy.endpoint).items():
            patch.setenv(name, value)
        async with dev_stack(tmp_path_factory.mktemp("s3") / "home", sources) as running:
            yield running


@pytest.fixture(scope="module")
async def shared_catalog(stack: DevStack) -> AsyncIterator[Database]:
    opened = Database(stack.info["database_url"], pool_size=1)
    yield opened
    await opened.close()


def keys_of(objects: ObjectStore, tenant: Tenant) -> list[str]:
    found = (one["path"] for some in obstore.list(objects) for one in some)
    return sorted(path for path in found if f"/{tenant.project_id}/" in path)


async def read(tenant: Tenant, sql: str) -> list[list[object]]:
    found: list[list[object]] = (await tenant.call("POST", "/query/", {"query": {"query": sql}}))["results"]
    return found


async def test_results_go_to_the_bucket_and_are_read_from_there(
    tenant: Tenant, objects: ObjectStore, folder: Path
) -> None:
    file = folder / "t.csv"
    file.write_text("k,n\na,1\na,2\nb,3\n")
    await tenant.add_table("t", file, "CSVWithNames")
    base = await tenant.materialized("base", "SELECT k, n FROM t")
    sums = await tenant.materialized("sums", "SELECT k, sum(n)::BIGINT AS s FROM base GROUP BY k ORDER BY k")
    assert (base["status"], sums["status"]) == ("Completed", "Completed")
    keys = keys_of(objects, tenant)
    assert [key.rpartition("/")[2] for key in keys] == ["data_0.parquet", "manifest.json"] * 2
    assert list((tenant.data_dir / "snapshots").glob("*")) == [], "nothing stays on the disk"
    assert tenant.staged() == []
    (key,) = [key for key in keys if sums["id"] in key and key.endswith(".parquet")]
    stored = pq.read_table(io.BytesIO(bytes(obstore.get(objects, key).bytes()))).to_pylist()
    assert stored == [{"k": "a", "s": 3}, {"k": "b", "s": 3}]
    assert await read(tenant, "SELECT * FROM sums ORDER BY k") == [["a", 3], ["b", 3]]
    page = await tenant.call("GET", f"/warehouse_saved_queries/{sums['id']}/data/")
    assert page["results"] == [["a", 3], ["b", 3]]
    whole = await tenant.http.get(f"/warehouse_saved_queries/{sums['id']}/data/?format=parquet")
    assert pq.read_table(io.BytesIO(whole.content)).to_pylist() == stored


async def test_a_graph_is_refreshed_as_one_skipped_when_nothing_changed_and_rolled_back(
    tenant: Tenant, folder: Path
) -> None:
    file = folder / "t.csv"
    file.write_text("n\n1\n2\n")
    await tenant.add_table("t", file, "CSVWithNames")
    views = [await tenant.materialized("a", "SELECT n FROM t")]
    views.append(await tenant.materialized("b", "SELECT sum(n)::BIGINT AS s FROM a"))

    assert (await refreshed(tenant))["status"] == "Skipped"
    first = (await tenant.view(views[1]["id"]))["current_snapshot_id"]
    file.write_text("n\n1\n2\n30\n")
    assert (await refreshed(tenant))["counts"] == {"Completed": 2}
    assert await read(tenant, "SELECT s FROM b") == [[33]]
    diff = await tenant.call("GET", f"/warehouse_saved_queries/{views[1]['id']}/snapshots/{first}/diff/")
    assert diff["rows"] == {"added": 1, "removed": 1, "changed": 0, "unchanged": 0}
    await tenant.act(views[1]["id"], "rollback", {"snapshot_id": first})
    assert await read(tenant, "SELECT s FROM b") == [[3]]


async def test_what_a_killed_worker_has_uploaded_is_no_result_and_goes(
    stack: DevStack, tenant: Tenant, objects: ObjectStore, proxy: FaultyProxy, shared_catalog: Database
) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    proxy.rate = 1.0
    try:
        await tenant.act(view["id"], "materialize")

        async def uploaded() -> bool:  # with its answer lost, so that the worker does not know
            return bool(keys_of(objects, tenant))

        await until(uploaded, "an upload")
        assert not [key for key in keys_of(objects, tenant) if key.endswith("/manifest.json")]
        stack.kill("worker")
    finally:
        proxy.rate = 0.0
    assert (await tenant.ended(view["id"]))["status"] == "Completed"
    async with shared_catalog.begin() as tx:
        attempts = await tx.exec_driver_sql(f"SELECT attempt FROM runs WHERE saved_query_id = '{view['id']}'")
        assert [row.attempt for row in attempts] == [2]
    assert [key.rpartition("/")[2] for key in keys_of(objects, tenant)] == ["data_0.parquet", "manifest.json"]
    assert await read(tenant, "SELECT n FROM v") == [[1]]


async def test_a_cancelled_query_leaves_nothing(tenant: Tenant, objects: ObjectStore) -> None:
    slow = await tenant.create_view("slow", ENDLESS)
    await tenant.act(slow["id"], "materialize")
    await tenant.running(slow["id"])
    await tenant.act(slow["id"], "cancel")
    assert (await tenant.ended(slow["id"]))["status"] == "Cancelled"
    assert (keys_of(objects, tenant), tenant.staged()) == ([], [])


async def test_readers_see_views_of_one_moment_over_a_network_that_fails(
    tenant: Tenant, objects: ObjectStore, proxy: FaultyProxy, folder: Path
) -> None:
    file = folder / "t.csv"
    file.write_text("n\n0\n")
    await tenant.add_table("t", file, "CSVWithNames")
    for name, sql in {"base": "SELECT n FROM t", "one": "SELECT n FROM base", "two": "SELECT n FROM base"}.items():
        await tenant.materialized(name, sql)
    seen: list[int] = []
    is_over = asyncio.Event()

    async def reader() -> None:
        while not is_over.is_set():
            body = {"query": {"query": "SELECT one.n, two.n AS m FROM one, two"}}
            answer = await tenant.http.post("/query/", json=body)
            if answer.status_code == 200:
                ((n, m),) = answer.json()["results"]
                assert n == m
                seen.append(n)
            else:
                assert answer.status_code == 503, answer.text

    reading = asyncio.create_task(reader())
    proxy.rate = 0.2
    try:
        for number in range(1, 9):
            file.write_text(f"n\n{number}\n")
            assert (await refreshed(tenant))["status"] == "Completed"
    finally:
        proxy.rate = 0.0
        is_over.set()
        await reading
    assert seen == sorted(seen), "no reader goes back in time"
    assert await read(tenant, "SELECT one.n, two.n AS m FROM one, two") == [[8, 8]]
    assert set(proxy.faults) == set(QUICK)
    found = keys_of(objects, tenant)
    sealed = {key.rpartition("/")[0] for key in found if key.endswith("/manifest.json")}
    whole = {key.rpartition("/")[0] for key in found if key.endswith(".parquet")}
    assert len(sealed) >= 3 * 9
    assert sealed <= whole


async def test_quarantined_rows_are_read_from_the_bucket(tenant: Tenant, folder: Path) -> None:
    file = folder / "t.csv"
    file.write_text("n\n1\nx\n")
    rules = {"columns": [{"name": "n", "type": "BIGINT"}], "on_bad_row": "quarantine"}
    body = {"name": "t", "format": "CSVWithNames", "url_pattern": str(file), **rules}
    await tenant.call("POST", "/warehouse_tables/", body, expect=201)
    view = await tenant.materialized("v", "SELECT n FROM t")
    path = f"/warehouse_saved_queries/{view['id']}/snapshots/{view['current_snapshot_id']}/quarantine/"
    assert (await tenant.call("GET", path))["count"] == 1


async def test_an_iceberg_client_reads_from_the_bucket_with_keys_of_its_own(tenant: Tenant, s3: S3Server) -> None:
    await tenant.materialized("v", "SELECT i AS n FROM range(3) t(i)")
    own = {
        "s3.endpoint": s3.endpoint,
        "s3.region": "us-east-1",
        "s3.access-key-id": s3.access_key_id,
        "s3.secret-access-key": s3.secret_access_key,
    }
    catalog = await asyncio.to_thread(lambda: in_pyiceberg(tenant, None, **own))
    table = await asyncio.to_thread(lambda: catalog.load_table("default.v"))
    assert table.location().startswith("s3://")
    rows = await asyncio.to_thread(lambda: table.scan().to_arrow().to_pylist())
    assert sorted(row["n"] for row in rows) == [0, 1, 2]
    assert s3.secret_access_key not in str(table.metadata) + str(table.config)


async def test_a_client_may_fetch_a_parquet_file_from_the_bucket_itself(tenant: Tenant, s3: S3Server) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    path = f"/warehouse_saved_queries/{view['id']}/data/"
    asked = {"format": "parquet", "redirect": "true"}
    moved = await tenant.http.get(path, params=asked)
    assert (moved.status_code, moved.headers["cache-control"]) == (307, "no-store")
    url = moved.headers["location"]
    assert s3.secret_access_key not in url
    assert 0 < int(httpx.URL(url).params["X-Amz-Expires"]) <= 15 * 60
    async with httpx.AsyncClient() as http:
        fetched = await http.get(url)
        assert pq.read_table(io.BytesIO(fetched.content)).to_pylist() == [{"n": 1}]
        assert (await http.get(url.partition("?")[0])).status_code == 403, "without the signature"
    rows = await tenant.http.get(path, params={"format": "json", "redirect": "true"})
    assert rows.json()["results"] == [[1]], "rows that are made on the way come from the API"


async def test_the_doctor_looks_at_the_bucket(stack: DevStack, tenant: Tenant, s3: S3Server, url: str) -> None:
    await tenant.materialized("v", "SELECT 1 AS n")
    own = s3.settings(url) | {
        "MATVIEW_DATABASE_URL": stack.info["database_url"],
        "MATVIEW_DATA_DIR": stack.info["data_dir"],
        "MATVIEW_TEMPORAL_ADDRESS": stack.info["temporal_address"],
        "MATVIEW_TEMPORAL_NAMESPACE": stack.info["temporal_namespace"],
    }
    ended = await asyncio.to_thread(run_matview, "doctor", "--json", env=own)
    found = {one["check"]: one for one in json.loads(ended.stdout)["lines"]}
    assert (found["store"]["verdict"], found["results"]["verdict"]) == ("ok", "ok")
    assert url in found["store"]["message"]


async def test_no_secret_is_in_a_log_the_catalog_an_error_or_the_process_of_a_query(
    stack: DevStack, tenant: Tenant, s3: S3Server
) -> None:
    slow = await tenant.create_view("slow", ENDLESS)
    await tenant.act(slow["id"], "materialize")
    await tenant.running(slow["id"])
    secret, worker = s3.secret_access_key.encode(), stack.info["pids"]["worker"]
    assert has_in_memory(worker, secret), "the search finds it where it is"
    assert_not_in_queries(worker, secret)
    await tenant.act(slow["id"], "cancel")
    assert_not_in_files(Path(stack.info["data_dir"]).parent, secret)
