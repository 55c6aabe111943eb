"""The names by which Iceberg's clients list and find views."""

import asyncio
from typing import Any

import httpx
import pytest
from pyiceberg.exceptions import NoSuchTableError, UnauthorizedError

from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from tests.reading.iceberg_clients import catalog_url, in_duckdb, in_pyiceberg
from tests.support.tenants import Tenant, a_tenant


@pytest.mark.usefixtures("numbers")
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
