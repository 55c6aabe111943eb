"""The pool of connections to PostgreSQL."""

import asyncio

import psycopg
from sqlalchemy import text

from orchestrator.catalog import database
from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack


async def backend_of(pool: Database) -> int:
    async with pool.begin() as tx:
        return int(await tx.scalar(text("SELECT pg_backend_pid()")))


async def test_connections_that_died_in_the_pool_are_replaced_before_anybody_gets_one(stack: DevStack) -> None:
    url = stack.info["database_url"]
    pool = Database(url, pool_size=3)
    try:
        first = set(await asyncio.gather(*(backend_of(pool) for _ in range(3))))
        assert await backend_of(pool) in first
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            for pid in first:
                await connection.execute("SELECT pg_terminate_backend(%s)", [pid])
        await asyncio.sleep(database._FRESH_SECONDS)
        assert not first & set(await asyncio.gather(*(backend_of(pool) for _ in range(3))))
    finally:
        await pool.close()
