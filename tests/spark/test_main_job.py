"""A view whose query runs on a Spark cluster: saved, run, published, read, refreshed with views that DuckDB runs."""

from pathlib import Path

from tests.generations.test_refreshing import refreshed
from tests.spark.views import materialized, rows, save
from tests.support.tenants import Tenant, write_parquet


async def test_a_view_on_the_cluster_is_published_like_any_other(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", k=["a", "a", "b", None], n=[1, 2, 3, 4]))
    view = await materialized(tenant, "sums", "SELECT k, sum(n) AS s, avg(n) AS m FROM t GROUP BY k ORDER BY k")
    assert (view["latest_error"], view["status"]) == (None, "Completed")
    assert await rows(tenant, "SELECT * FROM sums ORDER BY k") == [["a", 3, 1.5], ["b", 3, 3.0], [None, 4, 4.0]]
    described = await rows(tenant, "SELECT DISTINCT typeof(k), typeof(s), typeof(m) FROM sums")
    assert described == [["VARCHAR", "HUGEINT", "DOUBLE"]], "the types are those that DuckDB gives the same text"
    (run,) = await tenant.history(view["id"])
    assert run["rows"] == 3
    assert tenant.staged() == []


async def test_both_statements_are_kept_with_the_revision(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1, 2]))
    sql = "SELECT n / 2 AS half FROM t"
    view = await save(tenant, "v", sql)
    assert view["query"]["query"] == sql
    assert "CAST(`t`.`n` AS DOUBLE) / CAST(2 AS DOUBLE) AS `half`" in view["translated_query"]
    plain = await tenant.create_view("plain", sql)
    assert plain["translated_query"] is None


async def test_another_engine_is_another_revision(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1, 2]))
    view = await tenant.materialized("v", "SELECT sum(n) AS s FROM t")
    query = {**view["query"], "engine": "spark"}
    body = {"query": query, "edited_history_id": view["latest_history_id"]}
    edited = await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", body)
    assert edited["latest_history_id"] != view["latest_history_id"]
    assert edited["status"] == "Modified"
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], runs=2)
    assert (await tenant.view(view["id"]))["status"] == "Completed"
    versions = await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/snapshots/")
    engines = [one["engine_version"].split()[0] for one in versions["results"]]
    assert engines == ["spark", "duckdb"]


async def test_one_generation_mixes_the_engines_and_skips_what_has_not_changed(tenant: Tenant, folder: Path) -> None:
    file = folder / "t.csv"
    file.write_text("k,n\na,1\na,2\nb,3\n")
    await tenant.add_table("t", file, "CSVWithNames")
    await tenant.materialized("typed", "SELECT k, n FROM t")
    middle = await materialized(tenant, "sums", "SELECT k, sum(n)::BIGINT AS s FROM typed GROUP BY k")
    assert (middle["latest_error"], middle["status"]) == (None, "Completed")
    await tenant.materialized("top", "SELECT max(s) AS m FROM sums")
    assert await rows(tenant, "SELECT * FROM top") == [[3]]

    assert (await refreshed(tenant))["status"] == "Skipped"
    file.write_text("k,n\na,1\na,2\nb,30\n")
    assert (await refreshed(tenant))["counts"] == {"Completed": 3}
    assert await rows(tenant, "SELECT * FROM top") == [[30]]
    # Touched, with the same content: the first is read and found to be as it was, and nothing else runs.
    file.write_text("k,n\na,1\na,2\nb,30\n")
    assert (await refreshed(tenant))["status"] == "Skipped"


async def test_a_view_on_the_cluster_is_skipped_until_its_files_change(tenant: Tenant, folder: Path) -> None:
    path = write_parquet(folder / "t.parquet", n=[1, 2])
    await tenant.add_table("t", path)
    await materialized(tenant, "v", "SELECT sum(n) AS s FROM t")
    assert (await refreshed(tenant))["status"] == "Skipped"
    write_parquet(path, n=[1, 2, 3])
    assert (await refreshed(tenant))["counts"] == {"Completed": 1}
    assert await rows(tenant, "SELECT * FROM v") == [[6]]


async def test_checks_keep_a_result_of_the_cluster_from_readers(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1, None]))
    view = await save(tenant, "v", "SELECT n FROM t")
    check = {"check_type": "not_null", "column_name": "n", "severity": "error", "name": "there"}
    await tenant.call("POST", f"/warehouse_saved_queries/{view['id']}/checks/", check, expect=201)
    await tenant.act(view["id"], "materialize")
    run = await tenant.ended(view["id"])
    assert run["status"] == "Failed"
    assert "there" in run["error"]


async def test_a_view_without_a_result_is_evaluated_inside_a_query_on_the_cluster(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1, 2, 3]))
    await tenant.create_view("halves.of_t", "SELECT n / 2 AS h, n FROM t")
    view = await materialized(tenant, "v", "SELECT sum(h) AS s, count(*) AS c FROM halves.of_t WHERE n > 1")
    assert (view["latest_error"], view["status"]) == (None, "Completed")
    assert await rows(tenant, "SELECT * FROM v") == [[2.5, 2]]
    # Its text is DuckDB's, so that a client's query can have it inside too, before it has a result.
    await save(tenant, "w", "SELECT sum(h) AS s FROM halves.of_t")
    assert await rows(tenant, "SELECT * FROM w") == [[3.0]]


async def test_a_result_without_rows_has_its_columns(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1, 2, 3]))
    view = await materialized(tenant, "v", "SELECT n, n / 2 AS h FROM t WHERE n > 10")
    assert (view["latest_error"], view["status"]) == (None, "Completed")
    assert await rows(tenant, "SELECT count(h) FROM v") == [[0]]


async def test_an_error_of_the_cluster_is_that_of_the_run(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", s=["1", "x"]))
    view = await materialized(tenant, "v", "SELECT s::INTEGER AS n FROM t")
    assert view["status"] == "Failed"
    assert view["latest_error"].startswith("Spark: ")
    assert str(tenant.data_dir) not in view["latest_error"]
    assert tenant.staged() == []
