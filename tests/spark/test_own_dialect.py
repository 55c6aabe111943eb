"""Views in Spark's own dialect: the cluster binds them, and DuckDB reads their results."""

from pathlib import Path

from tests.generations.test_refreshing import refreshed
from tests.spark.views import materialized, rows, save
from tests.support.tenants import Tenant, write_parquet


async def test_a_text_in_sparks_dialect_runs_as_it_is(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("shop.t", write_parquet(folder / "t.parquet", k=["a", "b", "b"], n=[1, 2, 3]))
    sql = "SELECT k, collect_list(n) AS all, sum(n) DIV 2 AS half FROM shop.t GROUP BY k"
    view = await materialized(tenant, "v", sql, dialect="spark")
    assert (view["latest_error"], view["status"]) == (None, "Completed")
    found = await rows(tenant, 'SELECT k, list_sort("all"), half, typeof("all") FROM v ORDER BY k')
    assert found == [["a", [1], 0, "BIGINT[]"], ["b", [2, 3], 2, "BIGINT[]"]]
    assert (await refreshed(tenant))["status"] == "Skipped"


async def test_its_columns_are_those_that_the_cluster_finds(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1]))
    sql = "SELECT struct(n AS a, array('x') AS b) AS s, map('k', n) AS m, CAST(n AS DECIMAL(9, 2)) AS d FROM t"
    await materialized(tenant, "v", sql, dialect="spark")
    found = await rows(tenant, "SELECT typeof(s), typeof(m), typeof(d), s, d FROM v")
    types = ["STRUCT(a BIGINT, b VARCHAR[])", "MAP(VARCHAR, BIGINT)", "DECIMAL(9,2)"]
    assert found[0][:3] == types
    assert found[0][3] == {"a": 1, "b": ["x"]}


async def test_a_text_that_the_cluster_does_not_bind_is_refused(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1]))
    body = {"name": "v", "query": {"query": "SELECT m FROM t", "engine": "spark", "dialect": "spark"}}
    error = await tenant.error("POST", "/warehouse_saved_queries/", body, status=400)
    assert (error["code"], error["attr"]) == ("invalid_query", "query")
    assert "m" in error["detail"]


async def test_it_cannot_be_evaluated_inside_a_query_of_duckdb(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1, 2]))
    view = await save(tenant, "plain", "SELECT n, n DIV 2 AS h FROM t", dialect="spark")
    error = await tenant.error("POST", "/query/", {"query": {"query": "SELECT * FROM plain"}}, status=400)
    assert "written in Spark's dialect, and has no result yet" in error["detail"]
    # Inside another one on the cluster it can.
    inner = await materialized(tenant, "v", "SELECT sum(h) AS s FROM plain")
    assert (inner["latest_error"], inner["status"]) == (None, "Completed")
    assert await rows(tenant, "SELECT s FROM v") == [[1]]
    await tenant.act(view["id"], "materialize")
    await tenant.ended(view["id"])
    assert await rows(tenant, "SELECT n, h FROM plain ORDER BY n") == [[1, 0], [2, 1]]


async def test_its_lineage_ends_at_the_views_and_tables_that_it_reads(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1, 2]))
    view = await save(tenant, "v", "SELECT n FROM t", dialect="spark")
    answer = await tenant.call("POST", f"/warehouse_saved_queries/{view['id']}/ancestors/", {"level": 1})
    assert "t" in str(answer)
    graph = await tenant.call("GET", "/lineage/?columns=true")
    assert "written in Spark's dialect" in str(graph)


async def test_a_text_with_random_numbers_is_never_skipped(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1, 2]))
    await materialized(tenant, "v", "SELECT n, rand() AS r FROM t", dialect="spark")
    assert (await refreshed(tenant))["counts"] == {"Completed": 1}
