"""How the contract of a source table is stored, and how it gets into the plan of a run."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

from alembic import command
from sqlalchemy import text

from orchestrator.catalog import run_inputs, source_tables
from orchestrator.catalog.database import Database
from orchestrator.catalog.migrate import alembic_config
from orchestrator.model.run import SourceRelation
from orchestrator.model.source_table import AS_USUAL, BadRow, ReadOptions
from tests.support.tenants import Json, Tenant


async def test_a_table_of_an_older_release_is_read_as_usual(empty_database: str) -> None:
    config = alembic_config(empty_database)
    await asyncio.to_thread(command.upgrade, config, "0002")
    database, table_id = Database(empty_database), uuid4()
    async with database.begin() as tx:
        await tx.execute(text("INSERT INTO projects (name) VALUES ('p')"))
        await tx.execute(
            text(
                "INSERT INTO source_tables (id, project_id, name, format, url_pattern, columns) "
                f"VALUES ('{table_id}', 1, 't', 'CSV', '/a.csv', '[]')"
            )
        )
    await asyncio.to_thread(command.upgrade, config, "head")
    async with database.begin() as tx:
        table = await source_tables.find(tx, 1, table_id)
    await database.close()
    assert table is not None
    assert (table.options, table.stated) == (AS_USUAL, ())


async def given(database: Database, view: Json) -> ReadOptions:
    """The options in the plan of a run of the view, which reads one source table through another view."""
    async with database.begin() as tx:
        relation, _ = (await run_inputs.pinned(tx, [UUID(view["id"])]))[UUID(view["id"])].relations
    assert isinstance(relation, SourceRelation)
    return relation.options


async def test_a_run_is_given_the_options_that_its_tables_have(
    database: Database, tenant: Tenant, sources: Path
) -> None:
    path = sources / "planned.csv"
    path.write_text("a,n\nx,1\n")
    stated = {"on_bad_row": "quarantine", "null_text": "NA", "union_by_name": True}
    body = {"name": "t", "format": "CSVWithNames", "url_pattern": str(path), **stated}
    table = await tenant.call("POST", "/warehouse_tables/", body, expect=201)
    await tenant.create_view("below", "SELECT a FROM t")
    view = await tenant.create_view("above", "SELECT a FROM below")
    options = ReadOptions(on_bad_row=BadRow.QUARANTINE, null_text="NA", union_by_name=True)
    assert await given(database, view) == options
    async with database.begin() as tx:  # as an edit stores it
        found = await source_tables.find(tx, tenant.project_id, UUID(table["id"]))
        assert found is not None
        options = options.model_copy(update={"delimiter": "\t", "date_format": "%d"})
        await source_tables.change(tx, found, found.model_copy(update={"options": options}))
    assert await given(database, view) == options
