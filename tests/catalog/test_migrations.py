"""The migrations must make exactly the tables that `orchestrator/catalog/tables.py` defines."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from orchestrator.catalog.database import Database, sqlalchemy_url
from orchestrator.catalog.migrate import alembic_config, head, migrate
from orchestrator.catalog.tables import metadata
from tests.support.commands import run_matview


async def test_the_migrations_make_the_tables(empty_database: str) -> None:
    await asyncio.to_thread(migrate, empty_database)

    def differences() -> list[object]:
        engine = create_engine(sqlalchemy_url(empty_database))
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            found: list[object] = compare_metadata(context, metadata)
        engine.dispose()
        return found

    assert await asyncio.to_thread(differences) == []


async def test_migrating_twice_and_from_two_processes_at_once_is_migrating_once(
    empty_database: str, tmp_path: Path
) -> None:
    environment = {"MATVIEW_DATABASE_URL": empty_database, "MATVIEW_DATA_DIR": str(tmp_path)}
    ended = await asyncio.gather(*(asyncio.to_thread(run_matview, "migrate", env=environment) for _ in range(2)))
    assert [one.returncode for one in ended] == [0, 0], ended
    await asyncio.to_thread(migrate, empty_database)
    database = Database(empty_database)
    assert await database.migration() == head()
    await database.close()


async def test_the_migrations_can_be_taken_back(empty_database: str) -> None:
    await asyncio.to_thread(migrate, empty_database)
    await asyncio.to_thread(command.downgrade, alembic_config(empty_database), "base")
    database = Database(empty_database)
    async with database.begin() as tx:
        left = await tx.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        assert list(left) == ["alembic_version"]
    await database.close()


async def test_an_empty_database_is_at_no_revision(empty_database: str) -> None:
    database = Database(empty_database)
    assert await database.migration() is None
    await database.close()
