"""Clients of the Iceberg catalog, with the key of a tenant."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
from pyiceberg.catalog import Catalog, load_catalog

from tests.engines.duckdb.values import in_utc
from tests.support.tenants import Tenant


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


def in_pyiceberg(tenant: Tenant, token: str | None = None, **options: str) -> Catalog:
    named = {"uri": catalog_url(tenant), "warehouse": str(tenant.project_id), "token": token or tenant.token}
    return load_catalog("wh", type="rest", **named, **options)
