"""The pool of connections to PostgreSQL."""

import asyncio
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from orchestrator.catalog import database
from orchestrator.catalog.database import Database, Transaction
from orchestrator.devstack.stack import DevStack
from orchestrator.model.errors import CatalogUnavailable


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
        await asyncio.sleep(database._PING_IDLE_AFTER)
        assert not first & set(await asyncio.gather(*(backend_of(pool) for _ in range(3))))
    finally:
        await pool.close()


async def transactions_of(tx: Transaction) -> int:
    """How many transactions two statements are."""
    return len({await tx.scalar(text("SELECT pg_current_xact_id()::text")) for _ in range(2)})


async def test_a_single_statement_is_a_transaction_by_itself_and_the_next_user_has_one_for_all(stack: DevStack) -> None:
    pool = Database(stack.info["database_url"], pool_size=1)
    try:
        for _ in range(2):
            async with pool.single() as tx:
                assert await transactions_of(tx) == 2
            async with pool.begin() as tx:
                assert await transactions_of(tx) == 1
    finally:
        await pool.close()


async def test_a_statement_that_fails_by_itself_spoils_nothing_for_the_next(stack: DevStack) -> None:
    pool = Database(stack.info["database_url"], pool_size=1)
    try:
        with pytest.raises(DBAPIError, match="division by zero"):
            async with pool.single() as tx:
                await tx.scalar(text("SELECT 1 / 0"))
        async with pool.begin() as tx:
            assert await transactions_of(tx) == 1
    finally:
        await pool.close()


async def test_without_postgresql_a_single_statement_says_so_as_a_transaction_does(tmp_path: Path) -> None:
    pool = Database(f"postgresql://nobody@/nothing?host={tmp_path}")
    for opened in (pool.single(), pool.begin()):
        with pytest.raises(CatalogUnavailable):
            async with opened:
                raise AssertionError("there is no server")
    await pool.close()
