"""The Iceberg catalog, read by the clients that people use: DuckDB, pyiceberg and Polars."""

import asyncio
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import httpx
import polars
import pytest
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import BadRequestError, NoSuchTableError, UnauthorizedError

from orchestrator.catalog.database import Database, Transaction
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


@pytest.mark.usefixtures("view")
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


async def test_a_current_version_older_than_all_others_shown_is_read(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    old = view["current_snapshot_id"]
    for number in range(2, 4):
        view = await edited(tenant, view, f"SELECT {number} AS n")
    await tenant.act(view["id"], "rollback", {"snapshot_id": old})
    database = Database(tenant.database_url, pool_size=1)
    try:  # versions that were kept long, as copies of the newest
        async with database.begin() as tx:
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
    finally:
        await database.close()

    def read() -> None:
        table = in_pyiceberg(tenant).load_table("default.v")
        assert len(table.snapshots()) == 200
        assert table.scan().to_arrow().to_pylist() == [{"n": 1}]

    await asyncio.to_thread(read)


async def test_a_view_in_the_namespace_default_is_found_unless_a_shorter_name_means_the_same(tenant: Tenant) -> None:
    await tenant.materialized("default.x", "SELECT 'long' AS name")
    await tenant.materialized("Default.Only", "SELECT 'only' AS name")
    url = f"{catalog_url(tenant)}/v1/{tenant.project_id}/namespaces/default/tables"

    def read(name: str) -> list[Any]:
        table = in_pyiceberg(tenant).load_table(("default", name))
        assert httpx.head(f"{url}/{name}", headers={"Authorization": f"Bearer {tenant.token}"}).status_code == 204
        assert in_duckdb(tenant, f'FROM wh."default".{name}') == [
            tuple(table.scan().to_arrow().to_pylist()[0].values())
        ]
        return [row["name"] for row in table.scan().to_arrow().to_pylist()]

    assert await asyncio.to_thread(read, "x") == ["long"]
    assert await asyncio.to_thread(read, "Only") == await asyncio.to_thread(read, "only") == ["only"]
    await tenant.create_view("x", "SELECT 'no rows' AS name")
    assert await asyncio.to_thread(read, "x") == ["long"]
    await tenant.materialized("X2", "SELECT 1 AS n")
    await tenant.materialized("default.x2", "SELECT 2 AS n")

    def listed() -> list[tuple[str, ...]]:
        return sorted(in_pyiceberg(tenant).list_tables("default"))

    assert await asyncio.to_thread(listed) == [("default", "Only"), ("default", "X2"), ("default", "x")]


async def test_the_case_of_names_may_differ_wherever_they_are_asked_for(tenant: Tenant) -> None:
    await tenant.materialized("Ns.Deep.First", "SELECT 1 AS n")
    await tenant.materialized("ns.deep.second", "SELECT 2 AS n")

    def read() -> None:
        catalog = in_pyiceberg(tenant)
        assert catalog.list_namespaces() == [("Ns",), ("default",)]
        for namespace in (("ns", "deep"), ("NS", "DEEP")):
            assert catalog.namespace_exists(namespace)
            assert catalog.list_tables(namespace) == [("Ns", "Deep", "First"), ("Ns", "Deep", "second")]
            for table, number in (("FIRST", 1), ("Second", 2)):
                assert catalog.table_exists((*namespace, table))
                assert catalog.load_table((*namespace, table)).scan().to_arrow().to_pylist() == [{"n": number}]
        for dotted in (("Ns.Deep", "First"), ("default", "Ns.Deep.First")):
            assert not catalog.table_exists(dotted)
            with pytest.raises(NoSuchTableError):
                catalog.load_table(dotted)

    await asyncio.to_thread(read)


async def test_columns_that_iceberg_cannot_name_are_refused_and_none_of_them_is_a_server_error(tenant: Tenant) -> None:
    deep = "1"
    for _ in range(60):
        deep = f"[{deep}]"
    queries = {
        "dotted": """SELECT 1 AS "a.b", {'b': 2} AS a""",
        "deep": f"SELECT {deep} AS d",
        "unnamed": "SELECT row(1, 2) AS r, row(1) AS one",
        "no_rows": "SELECT 1 AS n WHERE false",
        "odd": """SELECT 1 AS "x y", 2 AS "ü", 3 AS "a""b", 4 AS "😀" """,
    }
    answers = {}
    for name, query in queries.items():
        await tenant.materialized(name, query)
        path = f"{catalog_url(tenant)}/v1/{tenant.project_id}/namespaces/default/tables/{name}"
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {tenant.token}"}) as http:
            answers[name] = await http.get(path)
    assert answers["dotted"].json()["error"]["message"].startswith('The column "a" has a field')
    assert answers["deep"].json()["error"]["message"].startswith('The type of the column "d" is nested')
    assert [answers[name].status_code for name in ("no_rows", "odd")] == [200, 200]
    assert max(answer.status_code for answer in answers.values()) < 500


@pytest.mark.usefixtures("view")
async def test_a_hostile_client_gets_no_server_error(tenant: Tenant) -> None:
    headers = {"Authorization": f"Bearer {tenant.token}"}
    odd = [
        "%00",
        "a%00b",
        "%2F",
        "..%2F..",
        "%1F",
        "ns%1F",
        "%FF",
        "%ED%A0%80",
        "%F0%9F%98%80",
        "a" * 5000,
        "..",
        "%22",
    ]
    many = "9" * 5000
    async with httpx.AsyncClient(base_url=catalog_url(tenant), headers=headers, timeout=60) as http:
        namespaces = f"/v1/{tenant.project_id}/namespaces"
        paths = [f"/v1/{many}/namespaces", f"/v1/{tenant.project_id}/namespaces/ns/tables?pageSize={many}"]
        for word in odd:
            paths += [f"{namespaces}/{word}", f"{namespaces}/{word}/tables", f"{namespaces}/{word}/tables/numbers"]
            paths += [f"{namespaces}/ns/tables/{word}", f"{namespaces}/default/tables/{word}"]
            paths += [f"{namespaces}?parent={word}", f"/v1/config?warehouse={word}", f"{namespaces}/%20{word}"]
            paths += [f"{namespaces}/ns/tables?pageToken={word}"]
        for path in paths:
            for method in ("GET", "HEAD"):
                answer = await http.request(method, path)
                assert answer.status_code < 500, f"{method} {path[:200]}: {answer.status_code}"
                if answer.is_error and method == "GET":
                    assert answer.json()["error"]["code"] == answer.status_code
        for digits in (many, "1" + "0" * 10, "0" * 11 + "1", "0", "2147483648", "-1", "²"):
            assert (await http.get("/v1/config", params={"warehouse": digits})).status_code == 400
        for token in (many, "-1", "x", "²"):
            answer = await http.get(f"{namespaces}/ns/tables", params={"pageToken": token})
            assert answer.status_code == 400
        page = await http.get(f"{namespaces}/ns/tables", params={"pageToken": "9999999999"})
        assert page.json() == {"identifiers": [], "next-page-token": None}
        page = await http.get(f"{namespaces}/ns/tables", params={"pageToken": ""})
        assert [one["name"] for one in page.json()["identifiers"]] == ["numbers"]
        missing = await http.get(f"{namespaces}/tables/tables")
        assert missing.json()["error"]["type"] == "NoSuchNamespaceException"
