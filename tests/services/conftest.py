"""Services in the test's own process, over the real PostgreSQL, Temporal and DuckDB of the session's stack."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from orchestrator.catalog.database import Database
from orchestrator.container import Container, open_container
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import User
from orchestrator.settings import load_settings
from tests.support.tenants import Tenant


@pytest.fixture(scope="session")
async def container(stack: DevStack) -> AsyncIterator[Container]:
    settings = load_settings(
        database_url=stack.info["database_url"],
        data_dir=stack.info["data_dir"],
        temporal_address=stack.info["temporal_address"],
        temporal_namespace=stack.info["temporal_namespace"],
    )
    async with open_container(settings, lazy=True) as opened:
        await opened.engine.start()
        await opened.analyzer.start()
        yield opened


@dataclass(frozen=True)
class Project:
    """A project and one of its users."""

    id: int
    user: User


@pytest.fixture
async def project(tenant: Tenant, stack: DevStack) -> AsyncIterator[Project]:
    database = Database(stack.info["database_url"], pool_size=1)
    yield Project(tenant.project_id, User.model_validate(await tenant_user(database)))
    await database.close()


async def tenant_user(database: Database) -> dict[str, object]:
    async with database.begin() as tx:
        row = (await tx.exec_driver_sql("SELECT * FROM users WHERE email = 'tester@example.com'")).one()
        return dict(row._mapping)
