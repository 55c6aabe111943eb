"""Databases of a test's own, in the stack's server."""

from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest

from orchestrator.devstack.stack import DevStack


@pytest.fixture
async def empty_database(stack: DevStack) -> AsyncIterator[str]:
    """The URL of a database without a table."""
    name = f"test_{uuid4().hex}"
    url = stack.info["database_url"]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f"CREATE DATABASE {name}")
        yield url.replace("@/matview?", f"@/{name}?")
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
