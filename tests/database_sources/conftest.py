"""A stack whose source tables may be in servers of the tests: PostgreSQL and MariaDB."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.catalog.database import Database
from orchestrator.devstack.ports import choose_ports
from orchestrator.devstack.stack import DevStack
from tests.support.postgres_server import PASSWORD, USER, PostgresServer, postgres_server
from tests.support.tenants import Json, Tenant, dev_stack

CREDENTIAL = {"access_key": USER, "access_secret": PASSWORD}


@dataclass(frozen=True)
class Schema:
    """A schema of a test's own in the server."""

    server: PostgresServer
    name: str

    async def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements of the owner in the schema; returns the rows of the last one."""
        return await asyncio.to_thread(self.server.run, f"SET search_path = {self.name}", *statements)

    async def create(self, table: str, columns: str, *rows: str) -> None:
        """Create a table that the reader may read, with rows such as `(1, 'a')`."""
        values = [f"INSERT INTO {table} VALUES {', '.join(rows)}"] if rows else []
        grant = f"GRANT SELECT ON {table} TO {USER}"
        await self.run(f"CREATE TABLE {table} ({columns})", *values, grant)

    def url(self, table: str) -> str:
        return self.server.url(f"{self.name}.{table}")


@pytest.fixture(scope="session")
async def postgres(session_folder: Path) -> AsyncIterator[PostgresServer]:
    async with postgres_server(session_folder / "source-postgres") as running:
        yield running


@pytest.fixture(scope="session")
def mysql_port() -> int:
    (port,) = choose_ports({"mysql": 0})
    return port


@pytest.fixture(scope="package")  # not longer: other tests take their settings from the environment, too
async def stack(
    postgres: PostgresServer, mysql_port: int, session_folder: Path, sources: Path
) -> AsyncIterator[DevStack]:
    """A stack that may read both servers, with a small bound for copies, and no grace for those that are replaced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATVIEW_SOURCE_DATABASES", json.dumps([postgres.allowed, f"127.0.0.1:{mysql_port}"]))
        patch.setenv("MATVIEW_SOURCE_COPY_MB", "20")
        patch.setenv("MATVIEW_READERS_GRACE_SECONDS", "0")
        async with dev_stack(session_folder / "databases", sources) as running:
            yield running


@pytest.fixture(scope="package")
async def shared_catalog(stack: DevStack) -> AsyncIterator[Database]:
    opened = Database(stack.info["database_url"], pool_size=1)
    yield opened
    await opened.close()


@pytest.fixture
async def schema(postgres: PostgresServer, tenant: Tenant) -> Schema:
    made = Schema(postgres, f"of_{tenant.project_id}")
    await asyncio.to_thread(postgres.run, f"CREATE SCHEMA {made.name}", f"GRANT USAGE ON SCHEMA {made.name} TO {USER}")
    return made


async def add(tenant: Tenant, schema: Schema, name: str, table: str | None = None, **more: object) -> Json:
    """Register a table of the schema as a source table of that name."""
    body = {"name": name, "format": "PostgreSQL", "url_pattern": schema.url(table or name), "credential": CREDENTIAL}
    return await tenant.call("POST", "/warehouse_tables/", body | more, expect=201)


async def rows_of(tenant: Tenant, sql: str) -> list[list[object]]:
    found: list[list[object]] = (await tenant.call("POST", "/query/", {"query": {"query": sql}}))["results"]
    return found
