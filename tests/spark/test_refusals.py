"""Refusals when a view for the cluster is saved: of texts that do not translate, and of those that reach past it."""

from pathlib import Path

import pytest

from tests.spark.views import refused, save
from tests.support.tenants import Tenant, write_parquet


@pytest.fixture
async def orders(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("shop.orders", write_parquet(folder / "o.parquet", n=[1, 2], s=["a", "b"]))


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("SELECT list(n) AS l FROM shop.orders", "array_agg"),
        ("SELECT hash(n) AS h FROM shop.orders", "hash"),
        ("SELECT DISTINCT ON (s) s, n FROM shop.orders", "DISTINCT ON"),
        ("SELECT n FROM shop.orders USING SAMPLE 10%", "SAMPLE"),
        ("SELECT CAST('12:00' AS TIME) AS t FROM shop.orders", "TIME"),
        ("SELECT sum(n) OVER (ORDER BY n RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) AS r FROM shop.orders", "RANGE"),
        ("SELECT regexp_replace(s, 'a', 'b') AS r FROM shop.orders", "regexp_replace"),
    ],
)
async def test_what_does_not_translate_is_refused_by_name(tenant: Tenant, sql: str, named: str) -> None:
    found = await refused(tenant, sql)
    assert "Spark has no equal for" in found
    assert named.lower() in found.lower()


async def test_a_text_source_is_refused_and_the_way_out_is_said(tenant: Tenant, folder: Path) -> None:
    (folder / "t.csv").write_text("n\n1\n")
    await tenant.add_table("t", folder / "t.csv", "CSVWithNames")
    assert "Put a view with the engine duckdb over it" in await refused(tenant, "SELECT n FROM t")
    await tenant.create_view("plain", "SELECT n FROM t")
    assert "The source table t" in (await refused(tenant, "SELECT n FROM plain")).replace("the source", "The source")


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM parquet.`/etc/passwd`",
        "SELECT * FROM text.`/etc/passwd`",
        "SELECT * FROM `/etc/passwd`",
        "SELECT * FROM read_files('/etc/passwd')",
        "SELECT * FROM identifier('text.`/etc/passwd`')",
        "SELECT (SELECT max(value) FROM text.`/etc/passwd`) AS x FROM shop.orders",
        "SELECT n FROM shop.orders WHERE s IN (SELECT value FROM text.`/etc/passwd`)",
        "WITH text AS (SELECT 1) SELECT * FROM text.`/etc/passwd`",
        "SELECT java_method('java.lang.System', 'exit', 0) AS x",
        "SELECT `reflect`('java.lang.System', 'getenv') AS x",
        "SELECT input_file_name() AS x FROM shop.orders",
        "SELECT current_user() AS x",
        "SELECT cat.db.anything(n) AS x FROM shop.orders",
        "SELECT * FROM range(10)",
        "SELECT * FROM shop.orders VERSION AS OF 1",
        "SELECT TRANSFORM(n) USING 'cat' AS (x) FROM shop.orders",
        "CREATE TABLE x USING csv LOCATION '/tmp/x' AS SELECT 1",
        "CREATE TEMPORARY VIEW x USING text OPTIONS (path '/etc/passwd')",
        "INSERT OVERWRITE DIRECTORY '/tmp/x' USING csv SELECT 1",
        "SET spark.sql.ansi.enabled = false",
        "SELECT 1; DROP TABLE x",
        "SHOW TABLES",
    ],
)
async def test_no_text_in_sparks_dialect_reaches_past_its_project(tenant: Tenant, sql: str) -> None:
    assert "root:" not in await refused(tenant, sql, dialect="spark")


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM '/etc/passwd'", "COPY (SELECT 1) TO '/tmp/x'"],
)
async def test_the_rules_for_duckdbs_dialect_hold_on_the_cluster_too(tenant: Tenant, sql: str) -> None:
    assert "Invalid query" in await refused(tenant, sql)


async def test_a_table_of_another_project_is_not_there(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("mine", write_parquet(folder / "m.parquet", n=[1]))
    await save(tenant, "v", "SELECT n FROM mine", dialect="spark")
    found = await refused(tenant, "SELECT * FROM default.mine", dialect="spark")
    assert "there is no view or source table" in found or "does not exist" in found


async def test_an_unknown_engine_and_a_dialect_without_its_engine_are_refused(tenant: Tenant) -> None:
    body = {"name": "v", "query": {"query": "SELECT 1 AS n", "engine": "presto"}}
    error = await tenant.error("POST", "/warehouse_saved_queries/", body, status=400)
    assert error["detail"] == "The engine of a query is one of duckdb, spark."
    body = {"name": "v", "query": {"query": "SELECT 1 AS n", "dialect": "spark"}}
    error = await tenant.error("POST", "/warehouse_saved_queries/", body, status=400)
    assert error["detail"] == "Only the engine spark reads the dialect spark."
