"""A view that is not materialized has the columns that a run would see, at every moment."""

from pathlib import Path

from tests.support.tenants import Json, Tenant, write_parquet


async def types(tenant: Tenant, view: Json) -> list[tuple[str, str]]:
    return [(c["name"], c["duckdb_type"]) for c in (await tenant.view(view["id"]))["columns"]]


async def edited(tenant: Tenant, view: Json, sql: str) -> Json:
    return await tenant.create_view(view["name"], sql, expect=200, soft_update=True, break_dependents=True)


async def test_children_and_their_children_follow_an_edit_at_once(tenant: Tenant) -> None:
    par = await tenant.create_view("par", "SELECT '1' AS my_col")
    chi = await tenant.create_view("chi", "SELECT my_col FROM par")
    gra = await tenant.create_view("gra", "SELECT chi.my_col, par.my_col AS again FROM chi, par")
    await edited(tenant, par, "SELECT 1 AS my_col")
    assert await types(tenant, chi) == [("my_col", "INTEGER")]
    assert await types(tenant, gra) == [("my_col", "INTEGER"), ("again", "INTEGER")]
    n1 = await tenant.create_view("n1", "SELECT my_col + 1 AS x FROM chi")
    assert await types(tenant, n1) == [("x", "INTEGER")]
    refused = await tenant.create_view("n2", "SELECT upper(my_col) AS x FROM gra", expect=400)
    assert refused["code"] == "invalid_query"
    await tenant.act(n1["id"], "materialize")
    assert (await tenant.ended(n1["id"]))["status"] == "Completed"


async def test_a_star_takes_in_new_columns_at_once(tenant: Tenant) -> None:
    par = await tenant.create_view("par", "SELECT 1 AS a")
    chi = await tenant.create_view("chi", "SELECT * FROM par")
    await edited(tenant, par, "SELECT 1::HUGEINT AS a, row(1) AS b")
    assert await types(tenant, chi) == [("a", "HUGEINT"), ("b", "STRUCT(INTEGER)")]


async def test_views_follow_a_source_table_whose_schema_is_read_again(tenant: Tenant, sources: Path) -> None:
    pattern = write_parquet(sources / str(tenant.project_id) / "n.parquet", n=[1, 2])
    table = await tenant.add_table("numbers", pattern)
    chi = await tenant.create_view("chi", "SELECT n FROM numbers")
    gra = await tenant.create_view("gra", "SELECT n * 2 AS twice FROM chi")
    write_parquet(pattern, n=[1.5])
    await tenant.call("POST", f"/warehouse_tables/{table['id']}/refresh_schema/")
    assert await types(tenant, chi) == [("n", "DOUBLE")]
    assert await types(tenant, gra) == [("twice", "DOUBLE")]
    other = write_parquet(sources / str(tenant.project_id) / "other.parquet", n=["x"])
    await tenant.call(
        "PATCH", f"/warehouse_tables/{table['id']}/", {"url_pattern": str(other), "break_dependents": True}
    )
    assert await types(tenant, chi) == [("n", "VARCHAR")]
    assert await types(tenant, gra) == [("twice", "DOUBLE")]  # it no longer binds


async def test_a_view_with_a_result_serves_its_columns_until_its_next_run(tenant: Tenant) -> None:
    par = await tenant.create_view("par", "SELECT '1' AS my_col")
    kept = await tenant.materialized("kept", "SELECT my_col FROM par")
    over = await tenant.create_view("over", "SELECT my_col FROM kept")
    await edited(tenant, par, "SELECT 1 AS my_col")
    assert await types(tenant, kept) == await types(tenant, over) == [("my_col", "VARCHAR")]
    await tenant.act(kept["id"], "run")
    await tenant.closed(await tenant.ended(kept["id"], 2))
    assert await types(tenant, kept) == await types(tenant, over) == [("my_col", "INTEGER")]


async def test_what_reads_an_edited_view_with_a_result_is_checked_against_the_result(tenant: Tenant) -> None:
    kept = await tenant.materialized("kept", "SELECT 'a' AS x")
    over = await tenant.create_view("over", "SELECT x FROM kept")
    await edited(tenant, kept, "SELECT 1 AS x")
    assert await types(tenant, kept) == [("x", "INTEGER")]
    assert await types(tenant, over) == [("x", "VARCHAR")]
    await tenant.create_view("no", "SELECT x + 1 AS y FROM kept", expect=400)
    reader = await tenant.materialized("yes", "SELECT upper(x) AS y FROM kept")
    assert (reader["status"], await tenant.rows(reader)) == ("Completed", [{"y": "A"}])
    await tenant.act(kept["id"], "run")
    await tenant.closed(await tenant.ended(kept["id"], 2))
    assert await types(tenant, over) == [("x", "INTEGER")]


async def test_readers_follow_a_rollback_and_a_materialization_that_is_undone(tenant: Tenant) -> None:
    kept = await tenant.materialized("kept", "SELECT 'a' AS x")
    over = await tenant.create_view("over", "SELECT x FROM kept")
    await edited(tenant, kept, "SELECT 1 AS x")
    await tenant.act(kept["id"], "run")
    await tenant.closed(await tenant.ended(kept["id"], 2))
    versions = (await tenant.call("GET", f"/warehouse_saved_queries/{kept['id']}/snapshots/"))["results"]
    await tenant.act(kept["id"], "rollback", {"snapshot_id": versions[1]["id"]})
    assert await types(tenant, over) == [("x", "VARCHAR")]
    await tenant.act(kept["id"], "revert_materialization")
    assert await types(tenant, kept) == await types(tenant, over) == [("x", "INTEGER")]


async def test_an_undone_view_shows_what_its_text_gives_now(tenant: Tenant) -> None:
    par = await tenant.create_view("par", "SELECT 'a' AS x")
    kept = await tenant.materialized("kept", "SELECT x FROM par")
    over = await tenant.create_view("over", "SELECT x FROM kept")
    await edited(tenant, par, "SELECT 1 AS x")
    await tenant.act(kept["id"], "revert_materialization")
    assert await types(tenant, kept) == await types(tenant, over) == [("x", "INTEGER")]


async def test_a_reader_that_no_longer_binds_keeps_its_columns_and_is_well_again_by_the_next_edit(
    tenant: Tenant,
) -> None:
    par = await tenant.create_view("par", "SELECT 'a' AS x, 1 AS y")
    broken = await tenant.create_view("broken", "SELECT upper(x) AS u, y FROM par")
    below = await tenant.create_view("below", "SELECT u, par.y FROM broken, par")
    before = await types(tenant, broken)
    await edited(tenant, par, "SELECT 1 AS x, 2.5 AS y")
    assert await types(tenant, broken) == before
    assert await types(tenant, below) == [("u", "VARCHAR"), ("y", "DECIMAL(2,1)")]
    await edited(tenant, par, "SELECT 'b' AS x, 'c' AS y")
    assert await types(tenant, broken) == await types(tenant, below) == [("u", "VARCHAR"), ("y", "VARCHAR")]


async def test_fifty_views_on_top_of_each_other_follow_in_one_edit(tenant: Tenant) -> None:
    texts = ["SELECT 1 AS x", *(f"SELECT x FROM v{number}" for number in range(49))]
    views = [await tenant.create_view(f"v{number}", text) for number, text in enumerate(texts)]
    await edited(tenant, views[0], "SELECT DATE '2020-01-01' AS x")
    for view in views:
        assert await types(tenant, view) == [("x", "DATE")]
