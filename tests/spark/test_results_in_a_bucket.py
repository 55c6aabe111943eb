"""Views on the cluster with the results in an object store, which the cluster reads and writes by itself."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import obstore
import pyarrow.parquet as pq
import pytest
from obstore.store import ObjectStore

from orchestrator.catalog import projects
from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import ProjectLimits
from orchestrator.stores.objects import open_objects
from tests.generations.test_refreshing import refreshed
from tests.spark.doctor import spark_line
from tests.spark.lost_workers import lose_a_worker
from tests.spark.test_cancelling import SLOW, gone_from_the_cluster
from tests.spark.views import materialized, rows, save
from tests.support.s3_server import BUCKET, S3Server
from tests.support.secret_search import assert_not_in_files
from tests.support.tenants import Tenant, dev_stack, write_parquet


@pytest.fixture(scope="module")
def url() -> str:
    return f"s3://{BUCKET}/{uuid4()}"


@pytest.fixture(scope="module")
def objects(s3: S3Server, url: str) -> ObjectStore:
    return open_objects(url, s3.options)


@pytest.fixture(scope="module")
def variables(s3: S3Server, url: str) -> dict[str, str]:
    """The variables that lead to the bucket."""
    return s3.settings(url)


@pytest.fixture(scope="module")
async def stack(
    variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory, sources: Path
) -> AsyncIterator[DevStack]:
    """A stack whose results are in the bucket, and whose cluster has keys to it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        async with dev_stack(tmp_path_factory.mktemp("s3") / "home", sources, spark=True) as running:
            yield running


@pytest.fixture(scope="module")
async def shared_catalog(stack: DevStack) -> AsyncIterator[Database]:
    opened = Database(stack.info["database_url"], pool_size=1)
    yield opened
    await opened.close()


@pytest.fixture
def folder(tenant: Tenant, sources: Path) -> Path:
    made = sources / "spark-s3" / f"project-{tenant.project_id}"
    made.mkdir(parents=True)
    return made


def keys_of(objects: ObjectStore, tenant: Tenant) -> list[str]:
    found = (one["path"] for some in obstore.list(objects) for one in some)
    return sorted(path for path in found if f"/{tenant.project_id}/" in path)


async def test_the_cluster_writes_to_the_bucket_and_reads_from_it(
    tenant: Tenant, objects: ObjectStore, folder: Path
) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", k=["a", "a", "b"], n=[1, 2, 3]))
    await tenant.materialized("base", "SELECT k, n + 1 AS n FROM t")
    sums = await materialized(tenant, "sums", "SELECT k, sum(n) AS s FROM base GROUP BY k")
    assert (sums["latest_error"], sums["status"]) == (None, "Completed")
    last = await materialized(tenant, "last", "SELECT max(s) AS m FROM sums")
    assert (last["latest_error"], last["status"]) == (None, "Completed")
    assert await rows(tenant, "SELECT * FROM sums ORDER BY k") == [["a", 5], ["b", 4]]
    assert await rows(tenant, "SELECT * FROM last") == [[5]]
    keys = keys_of(objects, tenant)
    assert {key.partition("/")[0] for key in keys} == {"snapshots"}, "nothing is left of what the cluster wrote"
    files = [key for key in keys if sums["id"] in key and key.endswith(".parquet")]
    stored = [pq.read_table(io.BytesIO(bytes(obstore.get(objects, key).bytes()))).to_pylist() for key in files]
    assert sorted(row["k"] for part in stored for row in part) == ["a", "b"]
    assert tenant.staged() == []


async def test_an_empty_result_and_one_of_several_files_are_whole(
    tenant: Tenant, objects: ObjectStore, folder: Path
) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=list(range(200_000))))
    await materialized(tenant, "none", "SELECT n FROM t WHERE n < 0")
    assert await rows(tenant, "SELECT count(*), sum(n) FROM none") == [[0, None]]
    many = await materialized(tenant, "many", "SELECT a.n FROM t a JOIN t b ON a.n = b.n")
    files = [key for key in keys_of(objects, tenant) if many["id"] in key and key.endswith(".parquet")]
    assert len(files) > 1
    assert await rows(tenant, "SELECT count(*), count(DISTINCT n) FROM many") == [[200_000, 200_000]]


async def test_a_graph_on_both_engines_is_refreshed_and_skipped(tenant: Tenant, folder: Path) -> None:
    file = folder / "t.csv"
    file.write_text("n\n1\n2\n")
    await tenant.add_table("t", file, "CSVWithNames")
    await tenant.materialized("typed", "SELECT n FROM t")
    await materialized(tenant, "sums", "SELECT sum(n)::BIGINT AS s FROM typed")
    await tenant.materialized("top", "SELECT max(s) AS m FROM sums")
    assert (await refreshed(tenant))["status"] == "Skipped"
    file.write_text("n\n1\n2\n30\n")
    assert (await refreshed(tenant))["counts"] == {"Completed": 3}
    assert await rows(tenant, "SELECT m FROM top") == [[33]]


async def test_a_cancelled_query_leaves_nothing_in_the_bucket(
    tenant: Tenant, objects: ObjectStore, folder: Path, stack: DevStack
) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=list(range(20_000))))
    view = await save(tenant, "slow", SLOW)
    await tenant.act(view["id"], "materialize")
    await tenant.running(view["id"])
    await tenant.act(view["id"], "cancel")
    assert (await tenant.ended(view["id"]))["status"] == "Cancelled"
    assert await gone_from_the_cluster(stack)
    assert (keys_of(objects, tenant), tenant.staged()) == ([], [])


async def test_a_result_that_is_too_large_is_not_fetched(
    tenant: Tenant, objects: ObjectStore, folder: Path, shared_catalog: Database
) -> None:
    async with shared_catalog.begin() as tx:
        await projects.set_limits(tx, tenant.project_id, ProjectLimits(output_mb=1))
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=list(range(1000))))
    view = await materialized(tenant, "large", "SELECT a.n, b.n AS m, sqrt(a.n * b.n + 2.0) AS x FROM t a, t b")
    assert view["latest_error"] == "The result is larger than it may be (1 MiB)."
    assert (keys_of(objects, tenant), tenant.staged()) == ([], [])


async def test_a_file_that_is_gone_is_an_error_and_not_a_part_of_the_rows(
    tenant: Tenant, objects: ObjectStore, folder: Path
) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=list(range(200_000))))
    base = await materialized(tenant, "base", "SELECT a.n FROM t a JOIN t b ON a.n = b.n")
    view = await save(tenant, "v", "SELECT count(*) AS c FROM base")
    files = [key for key in keys_of(objects, tenant) if base["id"] in key and key.endswith(".parquet")]
    assert len(files) > 1, "Sail reads the others"
    obstore.delete(objects, files[:1])
    await tenant.act(view["id"], "materialize")
    run = await tenant.ended(view["id"])
    assert run["status"] == "Failed"
    assert run["error"] == "A file of a result that the query reads no longer exists in the object store."
    assert (await tenant.view(view["id"]))["current_snapshot_id"] is None


async def test_the_query_of_a_killed_worker_is_published_once_and_what_the_cluster_writes_later_is_swept(
    stack: DevStack, tenant: Tenant, objects: ObjectStore, folder: Path, variables: dict[str, str]
) -> None:
    await lose_a_worker(
        stack,
        tenant,
        folder,
        staging=f"{variables['MATVIEW_STORE']}/staging",
        files=lambda: keys_of(objects, tenant),
        env=variables,
    )


async def test_the_doctor_has_the_cluster_write_to_the_bucket(
    stack: DevStack, objects: ObjectStore, variables: dict[str, str]
) -> None:
    found = await spark_line(stack, variables)
    assert found["verdict"] == "ok"
    assert "the cluster wrote a row" in found["message"]
    wrong = await spark_line(stack, variables | {"MATVIEW_STORE": "s3://another-bucket/x"})
    assert wrong["verdict"] == "fail"
    assert "does not share the results" in wrong["message"] or "object store" in wrong["message"]
    assert not [one["path"] for some in obstore.list(objects) for one in some if "/0/doctor/" in one["path"]]


async def test_no_key_to_the_bucket_is_in_a_file(tenant: Tenant, folder: Path, stack: DevStack, s3: S3Server) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1]))
    await materialized(tenant, "v", "SELECT n FROM t")
    assert_not_in_files(Path(stack.info["data_dir"]).parent, s3.secret_access_key.encode())
