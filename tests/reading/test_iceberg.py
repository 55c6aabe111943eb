"""The Iceberg catalog, read by the clients that people use: DuckDB, pyiceberg and Polars."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import duckdb
import polars
import pytest
from pyiceberg.exceptions import BadRequestError

from orchestrator.catalog.database import Database, Transaction
from tests.engines.duckdb.test_types import selected
from tests.engines.duckdb.values import FLAT
from tests.reading.iceberg_clients import in_duckdb, in_pyiceberg
from tests.support.tenants import Json, Tenant

# Types whose values Iceberg has no type for, or would change.
REFUSED = ("UBIGINT", "TIMESTAMP_NS", "GEOMETRY")


# Values that these clients, or their Python types, cannot show.
BEYOND_CLIENTS = ("infinity", "(BC)", "5881580", "294247", "24:00:00", "290309")


# Polars plans such a scan faster with a package of its own, which is not needed for a correct one.
pytestmark = pytest.mark.filterwarnings("ignore::polars.exceptions.PerformanceWarning")


@pytest.mark.usefixtures("numbers")
async def test_duckdb_pyiceberg_and_polars_read_the_rows(tenant: Tenant) -> None:
    await tenant.materialized("plain", "SELECT 42 AS answer")

    def read() -> None:
        assert in_duckdb(tenant, "SELECT count(*), sum(id), max(name) FROM wh.ns.numbers") == [
            (1000, 499500, "row 999")
        ]
        assert in_duckdb(tenant, 'FROM wh."default".plain') == [(42,)]
        table = in_pyiceberg(tenant).load_table("ns.numbers")
        assert table.scan(row_filter="id > 997").to_arrow().to_pydict() == {
            "id": [998, 999],
            "name": ["row 998", "row 999"],
        }
        frame = polars.scan_iceberg(table).filter(polars.col("id") < 2).collect()
        assert frame.rows() == [(0, "row 0"), (1, "row 1")]

    await asyncio.to_thread(read)


async def test_a_newer_version_is_seen_by_the_next_load_and_an_older_one_by_time_travel(
    tenant: Tenant, sources: Path
) -> None:
    file = sources / f"travel-{tenant.project_id}.csv"
    file.write_text("n\n1\n")
    await tenant.add_table("t", file, "CSVWithNames")
    view = await tenant.materialized("v", "SELECT n, n AS changing FROM t")

    def numbers() -> list[int]:
        return [snapshot.snapshot_id for snapshot in in_pyiceberg(tenant).load_table("default.v").snapshots()]

    (first,) = await asyncio.to_thread(numbers)
    file.write_text("n\n2\n")
    change = {
        "query": {"query": "SELECT n, 'now text ' || n AS changing, 'new' AS more FROM t"},
        "edited_history_id": view["latest_history_id"],
    }
    await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", change)
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)

    def read() -> None:
        assert in_duckdb(tenant, 'FROM wh."default".v') == [(2, "now text 2", "new")]
        assert in_duckdb(tenant, f'FROM wh."default".v AT (VERSION => {first})') == [(1, 1)]
        table = in_pyiceberg(tenant).load_table("default.v")
        assert table.scan().to_arrow().to_pylist() == [{"n": 2, "changing": "now text 2", "more": "new"}]
        assert table.scan(snapshot_id=first).to_arrow().to_pylist() == [{"n": 1, "changing": 1}]
        assert polars.scan_iceberg(table, snapshot_id=first).collect().rows() == [(1, 1)]

    await asyncio.to_thread(read)
    await tenant.act(view["id"], "rollback", {"snapshot_id": view["current_snapshot_id"]})

    def read_again() -> None:
        assert in_duckdb(tenant, 'FROM wh."default".v') == [(1, 1)]
        assert in_pyiceberg(tenant).load_table("default.v").scan().to_arrow().to_pylist() == [{"n": 1, "changing": 1}]

    await asyncio.to_thread(read_again)


async def test_every_type_is_read_as_it_is_or_refused_by_name(tenant: Tenant) -> None:
    def is_held(stored: str, value: str) -> bool:
        return not any(word in f"{stored} {value}" for word in (*REFUSED, *BEYOND_CLIENTS))

    values = [value for stored, value in FLAT if is_held(stored, value)]
    await tenant.materialized("types", selected(values))
    for name, value in [("u", "1::UBIGINT"), ("ns", "'2024-01-01'::TIMESTAMP_NS"), ("g", "'POINT (1 2)'::GEOMETRY")]:
        await tenant.materialized(f"refused_{name}", f"SELECT 1 AS fine, {value} AS odd")

    def read() -> None:
        # The catalog holds what the files hold: compare with the files, read by DuckDB alone.
        (folder,) = tenant.data_dir.glob(f"current/{tenant.project_id}/types")
        stored = duckdb.sql(f"DESCRIBE FROM '{folder}/*.parquet'").fetchall()
        checks = ", ".join(f"a.c{n} IS NOT DISTINCT FROM b.c{n}" for n in range(len(values)))
        (same,) = in_duckdb(tenant, f"SELECT {checks} FROM wh.\"default\".types a, '{folder}/*.parquet' b")
        wrong = [(value, kind[1]) for value, kind, is_same in zip(values, stored, same, strict=True) if not is_same]
        assert wrong == []
        catalog = in_pyiceberg(tenant)
        assert catalog.load_table("default.types").scan().to_arrow().num_rows == 1
        for name, kind in [("u", "UBIGINT"), ("ns", "TIMESTAMP_NS"), ("g", "GEOMETRY")]:
            with pytest.raises(BadRequestError, match=f'The column "odd" is of the type {kind}'):
                catalog.load_table(f"default.refused_{name}")

    await asyncio.to_thread(read)


@pytest.mark.usefixtures("numbers")
async def test_manifests_are_made_once_by_the_first_loads(tenant: Tenant) -> None:
    folder = tenant.data_dir / "iceberg" / str(tenant.project_id)
    assert not folder.exists()

    def load() -> None:
        in_pyiceberg(tenant).load_table("ns.numbers")

    await asyncio.gather(*(asyncio.to_thread(load) for _ in range(4)))
    made = sorted(path.name for path in folder.rglob("*.avro"))
    assert len(made) == 2
    await asyncio.to_thread(load)
    assert sorted(path.name for path in folder.rglob("*.avro")) == made


@pytest.mark.usefixtures("numbers")
async def test_manifests_that_an_operator_removed_are_made_again(tenant: Tenant) -> None:
    def load() -> list[Json]:
        rows: list[Json] = in_pyiceberg(tenant).load_table("ns.numbers").scan(limit=1).to_arrow().to_pylist()
        return rows

    assert await asyncio.to_thread(load) == [{"id": 0, "name": "row 0"}]
    shutil.rmtree(tenant.data_dir / "iceberg" / str(tenant.project_id))
    assert await asyncio.to_thread(load) == [{"id": 0, "name": "row 0"}]


async def edited(tenant: Tenant, view: Json, query: str) -> Json:
    """The view with another query, once a run of it has ended."""
    before = await tenant.view(view["id"])
    change = {"query": {"query": query}, "edited_history_id": before["latest_history_id"]}
    await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", change)
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], len(await tenant.history(view["id"])))
    return await tenant.view(view["id"])


async def test_versions_from_before_columns_were_removed_renamed_and_nested_otherwise_are_read(tenant: Tenant) -> None:
    queries = (
        "SELECT 1 AS kept, 2 AS gone, {'x': 3} AS nested, [{'p': 4}] AS list, map {'k': 5} AS map",
        "SELECT 1 AS kept, 2 AS renamed, [{'y': 3}] AS nested, {'element': {'q': 4}} AS list, {'key': 'k'} AS map",
        "SELECT 1 AS kept, {'x': {'deeper': 3}} AS nested",
    )
    rows = [
        {"kept": 1, "gone": 2, "nested": {"x": 3}, "list": [{"p": 4}], "map": [("k", 5)]},
        {"kept": 1, "renamed": 2, "nested": [{"y": 3}], "list": {"element": {"q": 4}}, "map": {"key": "k"}},
        {"kept": 1, "nested": {"x": {"deeper": 3}}},
    ]
    view = await tenant.materialized("v", queries[0])
    first = view["current_snapshot_id"]
    for query in queries[1:]:
        view = await edited(tenant, view, query)

    def read() -> None:
        table = in_pyiceberg(tenant).load_table("default.v")
        numbers = [one.snapshot_id for one in table.snapshots()]
        for number, row in zip(numbers, rows, strict=True):
            assert table.scan(snapshot_id=number).to_arrow().to_pylist() == [row]
            (found,) = in_duckdb(tenant, f'FROM wh."default".v AT (VERSION => {number})')
            assert found == tuple(_as_duckdb(name, one) for name, one in row.items())
            (frame,) = polars.scan_iceberg(table, snapshot_id=number).collect().rows()
            assert frame[0] == 1

    await asyncio.to_thread(read)
    await tenant.act(view["id"], "rollback", {"snapshot_id": first})
    await asyncio.to_thread(read)


def _as_duckdb(name: str, value: Any) -> Any:
    """The value as DuckDB gives it: a map is a dictionary there, and a list of pairs in Arrow."""
    return dict(value) if name == "map" else value


async def _copy_row(tx: Transaction, table: str, own: dict[str, str], which: str) -> None:
    """Insert 250 copies of the first such row, with values of their own in these columns."""
    found = await tx.exec_driver_sql(f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'")
    columns = [row.column_name for row in found]
    copied = ", ".join(own.get(name, name) for name in columns)
    await tx.exec_driver_sql(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {copied} FROM generate_series(1, 250) copy(i), "
        f"(SELECT * FROM {table} WHERE {which} LIMIT 1) s"
    )


async def test_a_current_version_older_than_all_others_shown_is_read(tenant: Tenant, database: Database) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    old = view["current_snapshot_id"]
    for number in range(2, 4):
        view = await edited(tenant, view, f"SELECT {number} AS n")
    await tenant.act(view["id"], "rollback", {"snapshot_id": old})
    async with database.begin() as tx:  # versions that were kept long, as copies of the newest
        run_id = f"md5('{view['id']}' || i)::uuid"
        await _copy_row(tx, "runs", {"id": run_id}, f"saved_query_id = '{view['id']}' ORDER BY started_at DESC")
        own = {
            "id": "gen_random_uuid()",
            "run_id": run_id,
            "attempt": "100 + i",
            "location": "regexp_replace(location, '-1$', '-' || 100 + i)",
            "published_at": "now()",
            "superseded_at": "now()",
            "pinned": "true",
        }
        await _copy_row(tx, "snapshots", own, f"saved_query_id = '{view['id']}' ORDER BY published_at DESC")

    def read() -> None:
        table = in_pyiceberg(tenant).load_table("default.v")
        assert len(table.snapshots()) == 200
        assert table.scan().to_arrow().to_pylist() == [{"n": 1}]

    await asyncio.to_thread(read)
