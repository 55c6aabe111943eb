"""The bounds on the number of columns, and on the size of a list or of the activity log."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from orchestrator.catalog.database import Database
from orchestrator.catalog.pagination import PAGE_BYTES
from tests.contract.support import TABLES, VIEWS
from tests.support.tenants import Json, Tenant, write_parquet

WIDE = 4096


def _wide(columns: int, name: str = "c") -> str:
    return "SELECT " + ", ".join(f"{number} AS {name}{number}" for number in range(columns))


async def test_a_view_has_4096_columns_at_the_most(tenant: Tenant) -> None:
    view = await tenant.create_view("widest", _wide(WIDE))
    assert len(view["columns"]) == WIDE
    refused = await tenant.create_view("wider", _wide(WIDE + 1), expect=400)
    assert "4,097 columns; 4,096 are the most" in refused["detail"]
    assert (refused["type"], refused["attr"]) == ("validation_error", "query")
    refused = await tenant.create_view("joined", "SELECT * FROM widest a, widest b, widest c", expect=400)
    assert "12,288 columns" in refused["detail"]


async def test_the_names_and_types_of_a_views_columns_are_bounded(tenant: Tenant) -> None:
    view = await tenant.create_view("long", f'SELECT 1 AS "{"x" * 150_000}", 2 AS "{"y" * 40_000}"')
    assert len(view["columns"]) == 2
    named = ", ".join(f"v AS v{number}" for number in range(60))
    sql = f"WITH one AS (SELECT {{'{'x' * 5000}': 1}} AS v) SELECT {named} FROM one"
    refused = await tenant.create_view("typed", sql, expect=400)
    assert "names and types of the columns take" in refused["detail"]


async def test_a_view_reads_1000_others_at_the_most_and_100000_columns(tenant: Tenant) -> None:
    reads = ", ".join(f"(FROM t{number})" for number in range(12_000))
    refused = await tenant.create_view("reader", f"SELECT {reads}", expect=400)
    assert "a view may read 1,000 views and tables" in refused["detail"]
    for first in range(0, 25, 5):
        await asyncio.gather(*(tenant.create_view(f"w{first + number}", _wide(WIDE)) for number in range(5)))
    reads = " UNION ALL ".join(f"SELECT c0 FROM w{number}" for number in range(8))
    await tenant.create_view("within", reads)
    reads = " UNION ALL ".join(f"SELECT c0 FROM w{number}" for number in range(24))
    refused = await tenant.create_view("beyond", f"{reads} UNION ALL SELECT c0 FROM w24", expect=400)
    assert "102,400 columns; 100,000 are the most" in refused["detail"]


async def test_a_table_has_4096_columns_at_the_most(tenant: Tenant, sources: Path) -> None:
    for columns, expect in ((3000, 201), (WIDE, 201), (WIDE + 1, 400)):
        path = write_parquet(
            sources / "wide" / f"{columns}.parquet", **{f"c{number}": [1] for number in range(columns)}
        )
        body = {"name": f"t{columns}", "format": "Parquet", "url_pattern": str(path)}
        answer = await tenant.call("POST", TABLES, body, expect=expect)
    assert "4,097 columns; 4,096 are the most" in answer["detail"]
    assert answer["attr"] == "url_pattern"


async def _copies(tenant: Tenant, view: Json, count: int) -> None:
    """Copy a saved view `count` times in the catalog, without saving each copy over the API."""
    database = Database(tenant.database_url, pool_size=1)
    try:
        async with database.begin() as tx:
            await tx.execute(
                text(
                    "WITH made AS (SELECT gen_random_uuid() AS id, n FROM generate_series(1, :count) n), "
                    "history AS (INSERT INTO revisions (id, saved_query_id, number, query, created_at) "
                    "SELECT gen_random_uuid(), made.id, 1, r.query, now() FROM made, revisions r "
                    "WHERE r.saved_query_id = :view RETURNING id, saved_query_id) "
                    "INSERT INTO saved_queries (id, project_id, name, description, revision_id, columns) "
                    "SELECT made.id, v.project_id, v.name || made.n, v.description, history.id, v.columns "
                    "FROM made JOIN history ON history.saved_query_id = made.id, saved_queries v WHERE v.id = :view"
                ),
                {"count": count, "view": view["id"]},
            )
    finally:
        await database.close()


def as_listed(view: Json) -> list[Json]:
    """The columns of a view as a list shows them: without descriptions."""
    return [{key: value for key, value in column.items() if key != "description"} for column in view["columns"]]


@pytest.mark.parametrize("described", [None, "€" * 10_000])
async def test_a_page_of_a_list_is_bounded_however_wide_its_views_are(tenant: Tenant, described: str | None) -> None:
    sql = _wide(WIDE if described is None else 1)
    view = await tenant.create_view("v", sql, description=described)
    await _copies(tenant, view, 999)
    answer = await tenant.http.get(f"{VIEWS}?page_size=1000")
    page = answer.json()
    assert len(answer.content) < 10 * PAGE_BYTES
    assert (page["count"], len(page["results"]), page["next"]) == (1000, 1000, None)
    whole = [item for item in page["results"] if not item.get("abridged", False)]
    assert 0 < len(whole) < 1000
    listed = as_listed(view)
    assert all(item["columns"] == listed and item["description"] == described for item in whole)
    cut = [item for item in page["results"] if item.get("abridged", False)]
    assert all((item["columns"], item["description"]) == ([], None) for item in cut)
    one = await tenant.call("GET", f"{VIEWS}?page_size=1&page=1000")
    assert (one["results"][0].get("abridged", False), one["results"][0]["columns"]) == (False, listed)
    shown = await tenant.view(cut[0]["id"])
    assert (shown.get("abridged", False), shown["columns"], shown["description"]) == (False, view["columns"], described)


async def test_a_list_of_ordinary_views_leaves_nothing_out(tenant: Tenant) -> None:
    view = await tenant.create_view("v", _wide(12, "column_"), description="what it is for")
    await _copies(tenant, view, 999)
    page = await tenant.call("GET", f"{VIEWS}?page_size=1000")
    assert len(page["results"]) == 1000
    for item in page["results"]:
        assert (item.get("abridged", False), item["columns"], item["description"]) == (
            False,
            as_listed(view),
            "what it is for",
        )


async def test_a_list_of_wide_tables_is_bounded(tenant: Tenant, sources: Path) -> None:
    path = write_parquet(sources / "wide" / "list.parquet", **{f"{'n' * 40}{number}": [1] for number in range(WIDE)})
    tables = [await tenant.add_table(f"t{number}", path) for number in range(8)]
    page = await tenant.call("GET", TABLES)
    assert [item["id"] for item in page["results"]] == [table["id"] for table in reversed(tables)]
    assert {item.get("abridged", False) for item in page["results"]} == {False, True}
    for item in page["results"]:
        assert len(item["columns"]) == (0 if item.get("abridged", False) else WIDE)
    assert (await tenant.call("GET", f"{TABLES}{tables[0]['id']}/"))["columns"] == tables[0]["columns"]


async def test_the_activity_is_bounded_however_large_its_changes_are(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 0 AS n")
    for number in range(1, 15):
        sql = f"SELECT {number} AS n --{'x' * 190_000}"
        await tenant.call("PATCH", f"{VIEWS}{view['id']}/", {"query": {"query": sql}, "soft_update": True})
    answer = await tenant.http.get(f"{VIEWS}{view['id']}/activity/?limit=1000")
    page = answer.json()
    assert len(answer.content) < 4 * PAGE_BYTES
    assert (page["total_count"], len(page["results"])) == (15, 15)
    assert not page["results"][0].get("abridged", False)
    assert any(entry.get("abridged", False) for entry in page["results"])
    for number in range(1, 16):
        (entry,) = (await tenant.call("GET", f"{VIEWS}{view['id']}/activity/?limit=1&page={number}"))["results"]
        assert not entry.get("abridged", False)
        assert entry["detail"]["changes"]
