"""The migrations must make exactly the tables that `orchestrator/catalog/tables.py` defines."""

import asyncio
import json
import zlib
from pathlib import Path
from uuid import uuid4

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from orchestrator.catalog.database import Database, sqlalchemy_url
from orchestrator.catalog.migrate import alembic_config, head, migrate
from orchestrator.catalog.tables import metadata
from orchestrator.engines.duckdb.sources.discovery import SourceFile
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


async def test_a_pin_keeps_its_files_without_their_devices(empty_database: str) -> None:
    await asyncio.to_thread(migrate, empty_database)
    config = alembic_config(empty_database)
    await asyncio.to_thread(command.downgrade, config, "0017")
    before = {
        "digest": "d",
        "is_settled": True,
        "files": [["/a.csv", 7, "1:2:7:8:9", ["/a.csv", "/b/a.csv", 1, 2, 0, 0, ""]]],
    }
    database = Database(empty_database)
    async with database.begin() as tx:
        await tx.execute(text("SET LOCAL session_replication_role = replica"))  # the tables that it refers to are empty
        values = {"id": uuid4(), "listing": zlib.compress(json.dumps(before).encode())}
        columns = "generation_id, source_table_id, round, listing"
        await tx.execute(text(f"INSERT INTO source_pins ({columns}) VALUES (:id, :id, 0, :listing)"), values)
    await asyncio.to_thread(command.upgrade, config, "head")
    async with database.begin() as tx:
        found = json.loads(zlib.decompress(await tx.scalar(text("SELECT listing FROM source_pins"))))
    await database.close()
    ((path, size, _, opened_as),) = found["files"]
    assert (path, size) == ("/a.csv", 7)
    assert SourceFile(*opened_as) == SourceFile("/a.csv", "/b/a.csv", inode=2)


async def test_an_empty_database_is_at_no_revision(empty_database: str) -> None:
    database = Database(empty_database)
    assert await database.migration() is None
    await database.close()
