"""An error of a statement over HTTP: its place, the name that was meant, and what a run says of it."""

import asyncio
from pathlib import Path

import pytest

from orchestrator.devstack.stack import DevStack
from tests.reading.support import query
from tests.support.tenants import Json, Tenant, a_tenant, write_parquet

VIEWS, TABLES = "/warehouse_saved_queries/", "/warehouse_tables/"


async def refusal(tenant: Tenant, sql: str) -> Json:
    body = {"name": "v", "query": {"kind": "HogQLQuery", "query": sql}}
    return await tenant.error("POST", VIEWS, body, status=400)


def place(body: Json) -> tuple[int, int, str]:
    """The line, the column and the word of an error's place."""
    found = body["position"]
    start = found["excerpt_column"] - 1
    return found["line"], found["column"], found["excerpt"][start : start + found["length"]]


async def test_a_view_that_is_refused_has_the_place_of_what_is_wrong(tenant: Tenant) -> None:
    await tenant.create_view("orders", "SELECT 1 AS id, 2 AS amount")
    body = await refusal(tenant, "SELECT id,\n  amout\nFROM orders")
    assert place(body) == (2, 3, "amout")
    assert body["detail"].endswith('Did you mean "amount"?')
    assert set(body["position"]) == {"line", "column", "length", "view", "excerpt", "excerpt_column"}
    assert place(await refusal(tenant, "SELECT 1\nFRM x")) == (2, 5, "x")
    assert place(await refusal(tenant, "SELECT 1,\n {filters}")) == (2, 2, "{")
    assert "position" not in await tenant.error(
        "POST", VIEWS, {"name": "1x", "query": {"query": "SELECT 1"}}, status=400
    )


async def test_an_unknown_name_is_answered_with_the_most_similar_one_of_the_project(
    tenant: Tenant, stack: DevStack, sources: Path
) -> None:
    await tenant.add_table("customers", write_parquet(sources / "errors" / "c.parquet", a=[1]))
    await tenant.create_view("sales.orders_by_day", "SELECT 1 AS n")
    async with a_tenant(stack) as other:
        await other.create_view("custmers", "SELECT 1 AS n")
        body = await refusal(tenant, "WITH a AS (SELECT 1)\nSELECT * FROM a, custmers")
        assert body["detail"].endswith('Table with name custmers does not exist! Did you mean "customers"?')
        assert place(body) == (2, 18, "custmers")
    assert 'Did you mean "sales.orders_by_day"?' in (await refusal(tenant, "FROM orders_by_day"))["detail"]
    for name in ("entirely_different", "information_schemata", "sqlite_master", "pg_class", "duckdb_tables"):
        assert "Did you mean" not in (await refusal(tenant, f"SELECT * FROM {name}"))["detail"]
    long = await refusal(tenant, f'SELECT * FROM "{"x" * 150_000}"')
    assert len(long["detail"]) < 500


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELECT * FROM 'data/x.csv'", "`matview table add x 'data/x.csv'`, then FROM x."),
        ("SELECT * FROM 'data/*.parquet'", "`matview table add NAME 'data/*.parquet'`, then FROM NAME."),
        ("SELECT * FROM '2026-01.csv'", "`matview table add t_2026_01 '2026-01.csv'`, then FROM t_2026_01."),
        ("SELECT * FROM '.matview/data/snapshots/1/*/*.parquet'", "read the view by its name."),
        ("SELECT * FROM {{ ref('orders') }}", "for ref(…) write the name of the view or table, orders."),
    ],
)
async def test_a_habit_of_another_tool_is_answered_with_what_to_do(tenant: Tenant, sql: str, sentence: str) -> None:
    assert sentence in (await refusal(tenant, sql))["detail"]
    if "{{" not in sql:
        assert sentence in (await query(tenant, sql, status=400))["detail"]


async def test_the_place_of_an_error_is_one_of_the_statement_that_was_written(tenant: Tenant) -> None:
    await tenant.create_view("orders", "SELECT 1 AS id, 'x' AS text")
    assert place(await query(tenant, "SELECT {n} AS n, amout FROM orders", status=400, n=1)) == (1, 18, "amout")
    assert place(await query(tenant, "EXPLAIN SELECT id,\n amout FROM orders", status=400)) == (2, 2, "amout")
    body = await query(tenant, "SELECT table_name,\n nope FROM information_schema.tables", status=400)
    assert place(body) == (2, 2, "nope")
    body = await query(tenant, "SELECT nope,\n 1 FROM information_schema.tables", status=400)
    assert place(body) == (1, 8, "nope")
    assert place(await query(tenant, "SELECT 1 FROM\n ordes", status=400)) == (2, 2, "ordes")
    assert place(await query(tenant, "SELECT id,\n  text::INTEGER AS i FROM orders", status=400)) == (2, 7, ":")


async def test_a_query_that_fails_inside_of_a_view_names_that_view(tenant: Tenant) -> None:
    await tenant.create_view("base", "SELECT 'x' AS text")
    await tenant.create_view("numbers", "SELECT\n  1 AS one,\n  CAST(text AS INTEGER) AS n\nFROM base")
    body = await query(tenant, "SELECT one, n + 1 AS m\nFROM numbers", status=400)
    assert {**body["position"], "length": 0} == {
        "line": 3,
        "column": 3,
        "length": 0,
        "view": "numbers",
        "excerpt": "",
        "excerpt_column": 1,
    }
    assert body["detail"].startswith('In the view "numbers": ')


async def test_a_run_that_fails_says_where_and_in_which_view(tenant: Tenant) -> None:
    await tenant.create_view("base", "SELECT 'x' AS text")
    await tenant.create_view("numbers", "SELECT\n  text::INTEGER AS n\nFROM base")
    first = await tenant.materialized("direct", "SELECT\n  text::INTEGER AS n\nFROM base")
    assert first["latest_error"].split("\n")[0].endswith("(line 2, column 7)")
    second = await tenant.materialized("through", "SELECT 1 AS one,\n 2 AS two,\n 3 AS three, n\nFROM numbers")
    assert second["latest_error"].startswith('In the view "numbers": Conversion Error')
    assert second["latest_error"].split("\n")[0].endswith("(line 2, column 7)")


async def test_a_format_may_have_another_name_and_reads_back_as_posthogs(tenant: Tenant, sources: Path) -> None:
    path = sources / "errors" / "formats.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("id,n\n1,2\n")
    for number, (given, kept) in enumerate(
        [("csv", "CSVWithNames"), ("Csv", "CSVWithNames"), ("CSV", "CSV"), ("csvwithnames", "CSVWithNames")]
    ):
        assert (await tenant.add_table(f"t{number}", path, given))["format"] == kept
    body = {"name": "x", "format": "parqet", "url_pattern": str(path)}
    wrong = await tenant.error("POST", TABLES, body, status=400)
    assert (wrong["attr"], 'Did you mean "Parquet"?' in wrong["detail"]) == ("format", True)
    for odd in (7, None, ["csv"], "x" * 100_000):
        assert len((await tenant.error("POST", TABLES, {**body, "format": odd}, status=400))["detail"]) < 500


async def test_a_refresh_says_which_columns_are_new_and_which_files_differ(tenant: Tenant, sources: Path) -> None:
    folder = sources / "errors" / "months"
    write_parquet(folder / "1.parquet", id=[1])
    table = await tenant.add_table("months", f"{folder}/*.parquet")
    assert (table["file_count"], table["bytes"]) == (1, (folder / "1.parquet").stat().st_size)
    write_parquet(folder / "2.parquet", id=[2], channel=["web"])
    again = await tenant.call("POST", f"{TABLES}{table['id']}/refresh_schema/")
    assert [column["name"] for column in again["columns"]] == ["id"]
    (difference,) = again["differences"]
    assert (difference["path"], difference["additional"]) == (f"{folder}/2.parquet", ["channel"])
    assert "changes" not in again
    assert again["file_count"] == 2
    by_name = await tenant.call("PATCH", f"{TABLES}{table['id']}/", {"union_by_name": True})
    assert [one["name"] for one in by_name["changes"]["added"]] == ["channel"]
    assert (by_name["changes"]["removed"], by_name["changes"]["retyped"]) == ([], [])
    assert by_name["differences"][0]["missing"] == ["channel"]
    shown = await tenant.call("GET", f"{TABLES}{table['id']}/")
    assert "differences" not in shown
    rows = await query(tenant, "SELECT * FROM months ORDER BY id")
    assert rows["results"] == [[1, None], [2, "web"]]


async def test_many_wrong_statements_at_once_are_all_answered(tenant: Tenant) -> None:
    await asyncio.gather(*(tenant.create_view(f"name_{n}", "SELECT 1 AS n") for n in range(20)))
    found = await asyncio.gather(*(refusal(tenant, f"SELECT n,\n x FROM nam_{n}") for n in range(20)))
    assert all(place(body)[:2] == (2, 9) for body in found)
