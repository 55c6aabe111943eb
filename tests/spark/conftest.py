"""A stack of its own for the folder: `matview dev --engine spark`, whose cluster is Sail."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from tests.support.tenants import Tenant, dev_stack


@pytest.fixture(scope="package")
async def stack(session_folder: Path, sources: Path) -> AsyncIterator[DevStack]:
    async with dev_stack(session_folder / "spark", sources, spark=True) as running:
        yield running


@pytest.fixture
def folder(tenant: Tenant, sources: Path) -> Path:
    """A folder of the test's own. Another stack may have given a project the same number."""
    made = sources / "spark" / f"project-{tenant.project_id}"
    made.mkdir(parents=True)
    return made


@pytest.fixture(scope="package")
async def shared_catalog(stack: DevStack) -> AsyncIterator[Database]:
    opened = Database(stack.info["database_url"], pool_size=1)
    yield opened
    await opened.close()
