"""Source tables in a bucket and at a URL, through the whole product."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.store import ObjectStore
from sqlalchemy import update

from orchestrator.catalog import tables
from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.stores.objects import open_objects
from tests.client.support import Client, install, unwrapped
from tests.console.support import a_console
from tests.generations.test_refreshing import refreshed, statuses
from tests.remote_sources.web_files import WebFile, WebFiles, web_files
from tests.support.command_line import Commands
from tests.support.s3_server import BUCKET, S3Server
from tests.support.secret_search import assert_not_in_files, assert_not_in_queries, has_in_memory
from tests.support.tenants import ENDLESS, Json, Tenant, dev_stack

SECRET = "a-secret-key-of-a-source-that-is-nowhere"  # noqa: S105 - of a test
CREDENTIAL = {"access_key": "an-access-key-of-a-source", "access_secret": SECRET}


@pytest.fixture(scope="module")
async def web() -> AsyncIterator[WebFiles]:
    async with web_files() as running:
        yield running


@pytest.fixture(scope="module")
async def stack(
    s3: S3Server, web: WebFiles, tmp_path_factory: pytest.TempPathFactory, sources: Path
) -> AsyncIterator[DevStack]:
    """A stack that may read the bucket and the web server, which are on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATVIEW_SOURCE_URLS", json.dumps(["https://", "s3://", f"{s3.endpoint}/", f"{web.url}/"]))
        patch.setenv("MATVIEW_SOURCE_ENDPOINT", s3.endpoint)
        async with dev_stack(tmp_path_factory.mktemp("remote") / "home", sources) as running:
            yield running


@pytest.fixture(scope="module")
async def shared_catalog(stack: DevStack) -> AsyncIterator[Database]:
    opened = Database(stack.info["database_url"], pool_size=1)
    yield opened
    await opened.close()


class Bucket:
    """Files of a test's own, below `url`."""

    def __init__(self, s3: S3Server) -> None:
        prefix = str(uuid4())
        self._objects: ObjectStore = open_objects(f"s3://{BUCKET}/{prefix}", s3.options)
        self.url = f"s3://{BUCKET}/{prefix}"

    def put(self, name: str, content: bytes) -> None:
        obstore.put(self._objects, name, content)

    def delete(self, name: str) -> None:
        obstore.delete(self._objects, name)


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    return Bucket(s3)


def parquet(**columns: list[object]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


async def add(tenant: Tenant, name: str, url: str, kind: str = "Parquet", **more: object) -> Json:
    body = {"name": name, "format": kind, "url_pattern": url, "credential": CREDENTIAL, **more}
    return await tenant.call("POST", "/warehouse_tables/", body, expect=201)


async def rows_of(tenant: Tenant, sql: str) -> list[list[object]]:
    found: list[list[object]] = (await tenant.call("POST", "/query/", {"query": {"query": sql}}))["results"]
    return found


async def test_views_read_a_bucket_and_run_again_only_when_it_has_changed(tenant: Tenant, bucket: Bucket) -> None:
    bucket.put("a/1.parquet", parquet(n=[1, 2]))
    bucket.put("a/2.parquet", parquet(n=[3]))
    table = await add(tenant, "events", f"{bucket.url}/a/*.parquet")
    assert (table["file_count"], [column["name"] for column in table["columns"]]) == (2, ["n"])
    await tenant.materialized("total", "SELECT sum(n)::BIGINT AS s FROM events")
    assert await rows_of(tenant, "SELECT s FROM total") == [[6]]
    assert await rows_of(tenant, "SELECT count(*) FROM events") == [[3]]
    assert statuses(await refreshed(tenant, "total")) == {"total": "Skipped"}
    bucket.put("a/2.parquet", parquet(n=[3]))
    assert statuses(await refreshed(tenant, "total")) == {"total": "Skipped"}, "written again, and equal"
    bucket.put("a/2.parquet", parquet(n=[4]))
    assert statuses(await refreshed(tenant, "total")) == {"total": "Completed"}
    assert await rows_of(tenant, "SELECT s FROM total") == [[7]]
    bucket.put("a/3.parquet", parquet(n=[10]))
    assert statuses(await refreshed(tenant, "total")) == {"total": "Completed"}
    assert await rows_of(tenant, "SELECT s FROM total") == [[17]]


async def test_a_file_at_a_url_is_a_table(tenant: Tenant, web: WebFiles) -> None:
    web.files["/rates 1.csv"] = WebFile(b"currency,rate\nEUR,1.0\nUSD,1.1\n")
    await add(tenant, "rates", f"{web.url}/rates%201.csv", "CSVWithNames")
    await tenant.materialized("most", "SELECT currency FROM rates ORDER BY rate DESC LIMIT 1")
    assert await rows_of(tenant, "SELECT * FROM most") == [["USD"]]
    assert statuses(await refreshed(tenant, "most")) == {"most": "Skipped"}
    web.files["/rates 1.csv"] = web.files["/rates 1.csv"].changed(b"currency,rate\nEUR,1.2\nUSD,1.1\n")
    assert statuses(await refreshed(tenant, "most")) == {"most": "Completed"}
    assert await rows_of(tenant, "SELECT * FROM most") == [["EUR"]]


async def test_posthogs_client_makes_tables_of_a_bucket(
    stack: DevStack, tenant: Tenant, bucket: Bucket, tmp_path: Path
) -> None:
    installed = await asyncio.to_thread(install)
    client = Client(installed, tmp_path / "transcript", stack.info["api_url"], tenant.token, tenant.project_id)
    bucket.put("events/1.parquet", parquet(n=[1, 2]))
    url = f"{bucket.url}/events/*.parquet"
    said = await client.call(
        "warehouse-tables-create", name="events", format="Parquet", url_pattern=url, credential=CREDENTIAL
    )
    reported = unwrapped(said)
    assert (reported["url_pattern"], [column["name"] for column in reported["columns"]]) == (url, ["n"])
    bucket.put("events/1.parquet", parquet(n=[1, 2], kind=["a", "b"]))
    await client.call("warehouse-tables-refresh-schema-create", id=reported["id"])
    assert await rows_of(tenant, "SELECT kind FROM events WHERE n = 2") == [["b"]]
    assert SECRET not in (tmp_path / "transcript").read_text().replace(json.dumps(CREDENTIAL), "")


async def test_the_command_line_takes_the_secret_from_the_environment(
    matview: Commands, tenant: Tenant, bucket: Bucket
) -> None:
    bucket.put("a.csv", b"n\n1\n")
    matview.env["MATVIEW_ACCESS_SECRET"] = SECRET
    added = await matview("table", "add", "t", f"{bucket.url}/a.csv", "--access-key", CREDENTIAL["access_key"])
    assert SECRET.encode() not in added.stdout + added.stderr
    assert await rows_of(tenant, "SELECT n FROM t") == [[1]]
    forgotten = await matview("table", "update", "t", "--access-key", "", status=1)
    assert b"its server refuses it" in forgotten.stderr


async def test_a_secret_is_nowhere_but_in_the_processes_that_read_the_bucket(
    stack: DevStack, tenant: Tenant, bucket: Bucket
) -> None:
    bucket.put("1.parquet", parquet(n=[1]))
    await add(tenant, "events", f"{bucket.url}/1.parquet")
    slow = await tenant.create_view("slow", f"SELECT e.n FROM events e, ({ENDLESS}) x")
    await tenant.act(slow["id"], "materialize")
    await tenant.running(slow["id"])
    worker = stack.info["pids"]["worker"]
    assert has_in_memory(worker, SECRET.encode())
    assert_not_in_queries(worker, SECRET.encode())
    await tenant.act(slow["id"], "cancel")
    listed = json.dumps(await tenant.call("GET", "/warehouse_tables/"))
    assert SECRET not in listed
    assert CREDENTIAL["access_key"] not in listed
    bucket.delete("1.parquet")
    gone = await tenant.create_view("gone", "SELECT n FROM events")
    await tenant.act(gone["id"], "materialize")
    assert SECRET not in json.dumps(await tenant.ended(gone["id"]))
    assert_not_in_files(Path(stack.info["data_dir"]).parent, SECRET.encode())


async def test_a_credential_is_for_its_bucket_and_forgotten_with_another_url(
    tenant: Tenant, bucket: Bucket, s3: S3Server
) -> None:
    """An editor of a table cannot read with its keys what else they open."""
    bucket.put("1.parquet", parquet(n=[1]))
    table = await add(tenant, "events", f"{bucket.url}/1.parquet")
    path = f"/warehouse_tables/{table['id']}/"
    same_bucket = {"url_pattern": f"{bucket.url}/*.parquet"}
    assert (await tenant.call("PATCH", path, same_bucket))["file_count"] == 1
    elsewhere = {"url_pattern": f"{s3.endpoint}{bucket.url.removeprefix('s3:/')}/1.parquet"}
    refused = await tenant.error("PATCH", path, elsewhere, status=400)
    assert "its server refuses it" in refused["detail"]
    definition = {"name": "events", "format": "Parquet", **elsewhere}
    plan = await tenant.call("POST", "/definitions/plan/", {"tables": [definition]})
    assert "its server refuses it" in json.dumps(plan["problems"])
    assert (await tenant.call("PATCH", path, {**elsewhere, "credential": CREDENTIAL}))["file_count"] == 1


REFUSED = [
    "https://127.0.0.1/a.csv",
    "https://localhost/a.csv",
    "https://2130706433/a.csv",
    "https://0x7f.1/a.csv",
    "https://[::1]/a.csv",
    "https://[::ffff:169.254.169.254]/latest/meta-data.csv",
    "https://169.254.169.254/latest/meta-data.csv",
    "http://169.254.169.254/latest/meta-data.csv",
    "https://user:word@8.8.8.8/a.csv",
    "https://8.8.8.8:22/a.csv",
    "https://8.8.8.8/a.csv?X-Amz-Signature=abc",
    "ftp://8.8.8.8/a.csv",
    "gopher://8.8.8.8/a.csv",
    "data://text/a.csv",
    "https://8.8.8.8/*.csv",
    "object://sources/1/a.csv",
]


@pytest.mark.parametrize("url", REFUSED)
async def test_a_url_that_leads_into_the_network_of_the_operator_is_refused(tenant: Tenant, url: str) -> None:
    body = {"name": "t", "format": "CSVWithNames", "url_pattern": url, "credential": CREDENTIAL}
    refused = await tenant.error("POST", "/warehouse_tables/", body, status=400)
    assert (refused["code"], refused["attr"]) == ("invalid_source", "url_pattern")
    assert SECRET not in json.dumps(refused)


async def test_a_url_that_was_saved_is_judged_again_by_each_run(
    tenant: Tenant, bucket: Bucket, shared_catalog: Database
) -> None:
    """As when a name leads elsewhere by then, or the operator allows less."""
    bucket.put("1.parquet", parquet(n=[1]))
    table = await add(tenant, "events", f"{bucket.url}/1.parquet")
    view = await tenant.create_view("v", "SELECT n FROM events")
    async with shared_catalog.begin() as tx:
        moved = update(tables.source_tables).where(tables.source_tables.c.id == UUID(table["id"]))
        await tx.execute(moved.values(url_pattern="https://localhost/1.parquet"))
    await tenant.act(view["id"], "materialize")
    ended = await tenant.ended(view["id"])
    assert ended["status"] == "Failed"
    assert "leads to an address that is not public" in ended["error"]


async def test_an_object_that_is_gone_fails_the_run_and_says_which(tenant: Tenant, bucket: Bucket) -> None:
    bucket.put("1.parquet", parquet(n=[1]))
    await add(tenant, "events", f"{bucket.url}/*.parquet")
    view = await tenant.create_view("v", "SELECT n FROM events")
    bucket.delete("1.parquet")
    await tenant.act(view["id"], "materialize")
    ended = await tenant.ended(view["id"])
    assert (ended["status"], ended["error"]) == (
        "Failed",
        f'Source table "events" has no files that match {bucket.url}/*.parquet.',
    )


async def test_views_over_one_bucket_in_one_generation_read_one_moment_of_it(tenant: Tenant, bucket: Bucket) -> None:
    """The bucket changes all the time: two views that are refreshed together agree in each generation."""
    for name in ("a", "b"):
        bucket.put(f"{name}.parquet", parquet(n=[0]))
    await add(tenant, "events", f"{bucket.url}/*.parquet")
    await tenant.materialized("least", "SELECT min(n) AS n FROM events")
    await tenant.materialized("sums", "SELECT sum(n)::BIGINT AS n FROM events")
    await tenant.materialized("both", "SELECT l.n AS least, s.n AS total FROM least l, sums s")
    stopped = asyncio.Event()

    async def change() -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            for name in ("a", "b"):
                await asyncio.to_thread(bucket.put, f"{name}.parquet", parquet(n=[number]))
            await asyncio.sleep(0.5)

    changing = asyncio.create_task(change())
    seen: set[str] = set()
    try:
        for _ in range(5):
            seen |= set(statuses(await refreshed(tenant)).values())
            ((least, total),) = await rows_of(tenant, "SELECT l.n, s.n FROM least l, sums s")
            assert 2 * int(str(least)) <= int(str(total)) <= 2 * int(str(least)) + 1
    finally:
        stopped.set()
        await changing
    assert "Completed" in seen, "or nothing was compared"


async def test_the_console_takes_the_keys_of_a_bucket_and_shows_none(tenant: Tenant, bucket: Bucket) -> None:
    bucket.put("1.parquet", parquet(n=[1]))
    async with a_console(tenant) as console:
        path = f"/projects/{tenant.project_id}/sources"
        form = {"name": "events", "format": "Parquet", "url_pattern": f"{bucket.url}/1.parquet"}
        refused = await console.act(path, **form)
        assert "its server refuses it" in refused.text
        added = await console.act(path, **form, **CREDENTIAL)
        assert added.status_code == 303
        shown = await console.http.get(added.headers["location"])
        assert f"{bucket.url}/1.parquet" in shown.text
        assert SECRET not in shown.text
    assert await rows_of(tenant, "SELECT n FROM events") == [[1]]
