"""Views on the cluster in changes of definitions, in tries, and in the files of a project."""

from pathlib import Path

from tests.generations.test_refreshing import finished
from tests.spark.views import materialized, rows, save
from tests.support.command_line import Commands
from tests.support.tenants import Json, Tenant, until, write_parquet


def definitions(*views: Json) -> Json:
    return {"views": list(views)}


def view(name: str, sql: str, **more: object) -> Json:
    return {"name": name, "query": {"kind": "SQLQuery", "query": sql, **more}, "sync_frequency": "24hour"}


async def test_views_on_both_engines_are_applied_and_refreshed_as_one(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1, 2, 3]))
    change = definitions(
        view("base", "SELECT n FROM t WHERE n > 1"),
        view("sums", "SELECT sum(n) AS s FROM base", engine="spark"),
        view("own", "SELECT collect_list(s) AS l FROM sums", engine="spark", dialect="spark"),
        view("last", "SELECT l[1] AS x FROM own"),
    )
    planned = await tenant.call("POST", "/definitions/plan/", change)
    assert planned["problems"] == []
    applied = await tenant.call("POST", "/definitions/apply/", change)
    done = await finished(tenant, {"id": applied["generation_id"]})
    assert done["counts"] == {"Completed": 4}
    assert await rows(tenant, "SELECT x FROM last") == [[5]]
    again = await tenant.call("POST", "/definitions/plan/", change)
    assert again["changes"] == []


async def test_a_plan_names_what_does_not_translate(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1, 2, 3]))
    change = definitions(
        view("a", "SELECT list(n) AS l FROM t", engine="spark"),
        view("b", "SELECT * FROM text.`/etc/passwd`", engine="spark", dialect="spark"),
        view("c", "SELECT n FROM t", engine="presto"),
    )
    planned = await tenant.call("POST", "/definitions/plan/", change)
    found = {one["name"]: one["message"] for one in planned["problems"]}
    assert "Spark has no equal for the function array_agg" in found["a"]
    assert "Table with name text./etc/passwd does not exist" in found["b"]
    assert found["c"] == "The engine of a query is one of duckdb, spark."


async def test_another_engine_is_a_change_of_the_query(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1, 2, 3]))
    await tenant.call("POST", "/definitions/apply/", definitions(view("v", "SELECT sum(n) AS s FROM t")))
    change = definitions(view("v", "SELECT sum(n) AS s FROM t", engine="spark"))
    (planned,) = (await tenant.call("POST", "/definitions/plan/", change))["changes"]
    assert (planned["fields"], planned["text_only"]) == (["query"], False)
    applied = await tenant.call("POST", "/definitions/apply/", change)
    await finished(tenant, {"id": applied["generation_id"]})
    listed = await tenant.call("GET", "/warehouse_saved_queries/?name=v")
    found = await tenant.view(listed["results"][0]["id"])
    assert found["query"]["engine"] == "spark"
    assert found["translated_query"]


async def test_an_edit_is_tried_on_the_cluster_and_promoted(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1, 2, 3]))
    made = await materialized(tenant, "v", "SELECT sum(n) AS s FROM t")
    path = f"/warehouse_saved_queries/{made['id']}/"
    query = {**made["query"], "query": "SELECT sum(n) + 1 AS s FROM t"}
    tried = await tenant.call("POST", f"{path}try/", {"query": query}, expect=202)

    async def ready() -> Json | None:
        found = await tenant.call("GET", f"{path}tries/{tried['id']}/")
        return found if found["status"] != "Running" else None

    assert (await until(ready, "the end of a try"))["status"] == "Ready"
    await tenant.call("POST", f"{path}tries/{tried['id']}/promote/")
    assert await rows(tenant, "SELECT s FROM v") == [[7]]
    assert "+ 1" in (await tenant.view(made["id"]))["translated_query"]


async def test_a_view_is_checked_before_its_input_loses_a_column(tenant: Tenant, folder: Path) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1], m=[2]))
    base = await tenant.create_view("base", "SELECT n, m FROM t")
    await save(tenant, "v", "SELECT sum(m) AS s FROM base")
    await save(tenant, "w", "SELECT sum(m) AS s FROM base", dialect="spark")
    body = {"query": {"query": "SELECT n FROM t"}, "edited_history_id": base["latest_history_id"]}
    error = await tenant.error("PATCH", f"/warehouse_saved_queries/{base['id']}/", body, status=400)
    assert error["code"] == "readers_break"
    assert "v (reads base)" in error["detail"]
    assert "w (reads base)" in error["detail"]


async def test_a_command_names_the_engine_and_the_dialect(tenant: Tenant, folder: Path, matview: Commands) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1, 2]))
    sql = "SELECT collect_list(n) AS l FROM t"
    await matview("view", "create", "own", sql, "--engine", "spark", "--dialect", "spark")
    await matview("view", "create", "sums", "SELECT sum(n) AS s FROM t", "--engine", "spark")
    listed = (await tenant.call("GET", "/warehouse_saved_queries/"))["results"]
    found = {one["name"]: (await tenant.view(one["id"]))["query"] for one in listed}
    assert (found["own"]["engine"], found["own"]["dialect"]) == ("spark", "spark")
    assert (found["sums"]["engine"], found["sums"].get("dialect")) == ("spark", None)
    alone = await matview("view", "create", "own", sql, "--dialect", "spark", status=1)
    assert b"Only the engine spark reads the dialect spark" in alone.stderr
    unknown = await matview("view", "create", "own", sql, "--engine", "presto", status=2)
    assert b"presto" in unknown.stderr
    shown = await matview("view", "create", "own", sql, "--engine=spark", "--dialect=spark", "--preview", status=2)
    assert b"--preview" in shown.stderr


async def test_a_file_of_a_project_names_the_engine_and_the_dialect(
    tenant: Tenant, folder: Path, matview: Commands
) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=[1, 2]))
    views = folder / "p" / "views"
    views.mkdir(parents=True)
    (folder / "p" / "sources.yml").write_text("tables: {}\n")
    text = "/*---\nengine: spark\ndialect: spark\n---*/\nSELECT collect_list(n) AS l FROM t\n"
    (views / "v.sql").write_text(text)
    await matview("apply", "p", "--yes", "--no-refresh")
    (views / "v.sql").unlink()
    await matview("export", "p")
    assert (views / "v.sql").read_text() == text
