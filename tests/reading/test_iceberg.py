"""The Iceberg catalog, read by the clients that people use: DuckDB, pyiceberg and Polars."""

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import httpx
import polars
import pytest
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import BadRequestError, NoSuchTableError, UnauthorizedError

from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from tests.engines.duckdb.test_types import selected
from tests.engines.duckdb.values import FLAT, in_utc
from tests.support.tenants import Json, Tenant, a_tenant

# Types whose values Iceberg has no type for, or would change.
REFUSED = ("UBIGINT", "TIMESTAMP_NS", "GEOMETRY")
# Values that these clients, or their Python types, cannot show.
BEYOND_CLIENTS = ("infinity", "(BC)", "5881580", "294247", "24:00:00", "290309")


def extension(name: str) -> str:
    spec = find_spec(f"duckdb_extension_{name}")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension")


def catalog_url(tenant: Tenant) -> str:
    return str(tenant.http.base_url).partition("/api/")[0] + "/api/iceberg"


def in_duckdb(tenant: Tenant, *statements: str) -> list[tuple[Any, ...]]:
    """The rows of the last statement, with the catalog attached as `wh`."""
    with in_utc() as connection:
        for name in ("httpfs", "avro", "iceberg"):
            connection.execute(f"LOAD '{extension(name)}'")
        connection.execute(f"CREATE SECRET (TYPE iceberg, TOKEN '{tenant.token}')")
        connection.execute(f"ATTACH '{tenant.project_id}' AS wh (TYPE iceberg, ENDPOINT '{catalog_url(tenant)}')")
        for statement in statements[:-1]:
            connection.execute(statement)
        return connection.execute(statements[-1]).fetchall()


def in_pyiceberg(tenant: Tenant, token: str | None = None) -> Catalog:
    return load_catalog(
        "wh", type="rest", uri=catalog_url(tenant), warehouse=str(tenant.project_id), token=token or tenant.token
    )


# Polars plans such a scan faster with a package of its own, which is not needed for a correct one.
pytestmark = pytest.mark.filterwarnings("ignore::polars.exceptions.PerformanceWarning")


@pytest.fixture
async def view(tenant: Tenant) -> Json:
    return await tenant.materialized("ns.numbers", "SELECT i AS id, 'row ' || i AS name FROM range(1000) t(i)")


@pytest.mark.usefixtures("view")
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


@pytest.mark.usefixtures("view")
async def test_names_are_listed_by_their_namespaces_and_nothing_foreign_is(stack: DevStack, tenant: Tenant) -> None:
    await tenant.materialized("ns.deep.er", "SELECT 1 AS n")
    await tenant.materialized("top", "SELECT 1 AS n")
    await tenant.create_view("ns.without_rows", "SELECT 1 AS n")
    async with a_tenant(stack, Scope.VIEW_READ) as stranger:

        def read() -> None:
            catalog = in_pyiceberg(tenant)
            assert sorted(catalog.list_namespaces()) == [("default",), ("ns",)]
            assert catalog.list_namespaces("ns") == [("ns", "deep")]
            assert catalog.list_tables("ns") == [("ns", "numbers")]
            assert catalog.list_tables(("ns", "deep")) == [("ns", "deep", "er")]
            assert catalog.table_exists("default.top")
            assert not catalog.table_exists("default.none")
            assert catalog.namespace_exists("ns")
            for name in ("default.none", "ns.without_rows", "default.numbers"):
                with pytest.raises(NoSuchTableError):
                    catalog.load_table(name)
            assert in_pyiceberg(stranger).list_tables("default") == []
            with pytest.raises(Exception, match="does not have access to the requested project"):
                in_pyiceberg(tenant, stranger.token)
            with pytest.raises(UnauthorizedError):
                in_pyiceberg(tenant, "mv_unknown")

        await asyncio.to_thread(read)


async def test_nothing_can_be_changed_and_errors_have_icebergs_shape(tenant: Tenant, view: Json) -> None:
    headers = {"Authorization": f"Bearer {tenant.token}"}
    async with httpx.AsyncClient(base_url=catalog_url(tenant), headers=headers) as http:
        tables = f"/v1/{tenant.project_id}/namespaces/ns/tables"
        for method, path, status, kind in [
            ("POST", tables, 405, "UnsupportedOperationException"),
            ("DELETE", f"{tables}/numbers", 405, "UnsupportedOperationException"),
            ("GET", f"{tables}/none", 404, "NoSuchTableException"),
            ("GET", f"/v1/{tenant.project_id}/namespaces/none", 404, "NoSuchNamespaceException"),
            ("GET", "/v1/config?warehouse=x", 400, "BadRequestException"),
        ]:
            answer = await http.request(method, path)
            assert answer.status_code == status
            assert answer.json()["error"]["type"] == kind
            assert answer.json()["error"]["code"] == status
        assert (await http.head(f"{tables}/none")).status_code == 404
        assert (await http.head(f"{tables}/numbers")).status_code == 204
        page = (await http.get(tables, params={"pageSize": 1})).json()
        assert [one["name"] for one in page["identifiers"]] == ["numbers"]
    assert (await tenant.view(view["id"]))["status"] == "Completed"


@pytest.mark.usefixtures("view")
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
