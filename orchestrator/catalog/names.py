"""The shared namespace of a project's views and source tables."""

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.view_columns import shown_columns
from orchestrator.model.base import Value
from orchestrator.model.errors import NameTaken
from orchestrator.model.information_schema import CatalogEntry
from orchestrator.model.names import name_key
from orchestrator.model.snapshot import Column

# A person is asked whether one of so many was meant.
_MOST_NAMES = 20_000


class NameTarget(Value):
    """The view or source table that has a name. Exactly one id is set; `columns` are those that a reader sees."""

    name: str
    saved_query_id: UUID | None
    source_table_id: UUID | None
    columns: tuple[Column, ...]


async def entries(tx: Transaction, project_id: int) -> list[CatalogEntry]:
    """All live views and source tables of a project, by name, with the columns that a reader sees."""
    query = _owners().where(t.names.c.project_id == project_id).order_by(t.names.c.key)
    return [
        CatalogEntry(
            name=row.view_name or row.table_name,
            is_view=row.saved_query_id is not None and row.sync_frequency is None,
            columns=[
                (column["name"], column["duckdb_type"])
                for column in (row.view_columns if row.saved_query_id else row.table_columns)
            ],
        )
        for row in await tx.execute(query)
    ]


async def all_names(tx: Transaction, project_id: int) -> list[str]:
    """The names of the live views and source tables of a project, as they are spelled; of very many, the first."""
    name = func.coalesce(t.saved_queries.c.name, t.source_tables.c.name)
    query = (
        select(name)
        .select_from(t.names)
        .outerjoin(t.saved_queries, t.saved_queries.c.id == t.names.c.saved_query_id)
        .outerjoin(t.source_tables, t.source_tables.c.id == t.names.c.source_table_id)
        .where(t.names.c.project_id == project_id)
        .order_by(t.names.c.key)
        .limit(_MOST_NAMES)
    )
    return [*await tx.scalars(query)]


async def reserve_name(
    tx: Transaction,
    project_id: int,
    name: str,
    *,
    saved_query_id: UUID | None = None,
    source_table_id: UUID | None = None,
) -> None:
    """Reserve a name for a view or table. Raises NameTaken, also if a concurrent transaction reserves it."""
    row = {"saved_query_id": saved_query_id, "source_table_id": source_table_id}
    try:
        async with tx.begin_nested():
            await tx.execute(insert(t.names).values(project_id=project_id, key=name_key(name), **row))
    except IntegrityError as error:
        raise NameTaken(attr="name") from error


async def release_name(
    tx: Transaction, *, saved_query_id: UUID | None = None, source_table_id: UUID | None = None
) -> None:
    """Free the name of a view or table that was deleted or is about to be renamed."""
    owner = (
        t.names.c.source_table_id == source_table_id
        if saved_query_id is None
        else t.names.c.saved_query_id == saved_query_id
    )
    await tx.execute(delete(t.names).where(owner))


async def view_of(tx: Transaction, project_id: int, name: str) -> UUID | None:
    """The id of the live view of that name."""
    query = select(t.names.c.saved_query_id).where(t.names.c.project_id == project_id, t.names.c.key == name_key(name))
    return await tx.scalar(query)


async def table_of(tx: Transaction, project_id: int, name: str) -> UUID | None:
    """The id of the live source table of that name."""
    query = select(t.names.c.source_table_id).where(t.names.c.project_id == project_id, t.names.c.key == name_key(name))
    return await tx.scalar(query)


async def published(tx: Transaction, project_id: int) -> list[str]:
    """The names of the views that have a current snapshot."""
    query = _current_locations().where(t.names.c.project_id == project_id, t.snapshots.c.id.is_not(None))
    return [row.name for row in await tx.execute(query)]


async def current_locations_of(tx: Transaction, project_id: int, some: Collection[str]) -> dict[str, str | None]:
    """The location of the current snapshot of each of these views, by name. Only names in this spelling are found."""
    keys = [name_key(name) for name in some]
    query = _current_locations().where(t.names.c.project_id == project_id, t.names.c.key.in_(keys))
    return {row.name: row.location for row in await tx.execute(query)}


async def current_locations(tx: Transaction) -> dict[tuple[int, str], str]:
    """The location of the current snapshot of each view that has one, by project and name."""
    rows = await tx.execute(_current_locations().where(t.snapshots.c.id.is_not(None)))
    return {(row.project_id, row.name): row.location for row in rows}


def _current_locations() -> Select[tuple[int, str, str | None]]:
    return (
        select(t.names.c.project_id, t.saved_queries.c.name, t.snapshots.c.location)
        .join(t.saved_queries, t.saved_queries.c.id == t.names.c.saved_query_id)
        .outerjoin(t.snapshots, t.snapshots.c.id == t.saved_queries.c.current_snapshot_id)
    )


def _owners() -> Select[Any]:
    """The view or source table of each name, with the columns that a reader sees."""
    return (
        select(
            t.names.c.key,
            t.names.c.saved_query_id,
            t.names.c.source_table_id,
            t.saved_queries.c.name.label("view_name"),
            t.saved_queries.c.sync_frequency,
            t.source_tables.c.name.label("table_name"),
            shown_columns().label("view_columns"),
            t.source_tables.c.columns.label("table_columns"),
        )
        .select_from(t.names)
        .outerjoin(t.saved_queries, t.saved_queries.c.id == t.names.c.saved_query_id)
        .outerjoin(t.snapshots, t.snapshots.c.id == t.saved_queries.c.current_snapshot_id)
        .outerjoin(t.source_tables, t.source_tables.c.id == t.names.c.source_table_id)
    )


async def count_columns(tx: Transaction, project_id: int, names: Iterable[str]) -> int:
    """The number of columns that the views and tables of these names have in all."""
    columns = func.coalesce(t.saved_queries.c.columns, t.source_tables.c.columns)
    query = (
        select(func.sum(func.jsonb_array_length(columns)))
        .select_from(t.names)
        .outerjoin(t.saved_queries, t.saved_queries.c.id == t.names.c.saved_query_id)
        .outerjoin(t.source_tables, t.source_tables.c.id == t.names.c.source_table_id)
        .where(t.names.c.project_id == project_id, t.names.c.key.in_({name_key(name) for name in names}))
    )
    return await tx.scalar(query) or 0


async def resolve(tx: Transaction, project_id: int, names: Iterable[str]) -> dict[str, NameTarget]:
    """The view or source table of each name, by the name's key. Unused names are missing from the answer."""
    wanted = {name_key(name) for name in names}
    query = _owners().where(t.names.c.project_id == project_id, t.names.c.key.in_(wanted))
    return {
        row.key: NameTarget(
            name=row.view_name or row.table_name,
            saved_query_id=row.saved_query_id,
            source_table_id=row.source_table_id,
            columns=row.view_columns if row.saved_query_id else row.table_columns,
        )
        for row in await tx.execute(query)
    }
