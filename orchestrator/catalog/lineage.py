"""The graph of views, as far as one view's relatives go, in one statement."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import func, or_, select

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.model.lineage import Node

Graph = dict[Node, list[Node]]


async def inputs_above(tx: Transaction, saved_query_id: UUID) -> Graph:
    """What the view and everything above it read: views by id, source tables by name."""
    start = select(t.saved_queries.c.id).where(t.saved_queries.c.id == saved_query_id)
    readers = start.cte("readers", recursive=True)
    above = select(t.inputs.c.input_view_id).join(readers, t.inputs.c.saved_query_id == readers.c.id)
    readers = readers.union(above.where(t.inputs.c.input_view_id.is_not(None)))
    query = (
        select(t.inputs.c.saved_query_id, t.inputs.c.input_view_id, t.source_tables.c.name)
        .join(readers, t.inputs.c.saved_query_id == readers.c.id)
        .outerjoin(t.source_tables, t.source_tables.c.id == t.inputs.c.input_table_id)
    )
    graph: Graph = {}
    for reader, view, table in await tx.execute(query):
        graph.setdefault(reader, []).append(view or table)
    return graph


async def readers_below(tx: Transaction, saved_query_id: UUID) -> Graph:
    """Which live views read the view, and which read those, and so on."""
    live = t.saved_queries.alias("live")
    start = select(t.saved_queries.c.id).where(t.saved_queries.c.id == saved_query_id)
    read = start.cte("read", recursive=True)
    below = (
        select(t.inputs.c.saved_query_id)
        .join(read, t.inputs.c.input_view_id == read.c.id)
        .join(live, live.c.id == t.inputs.c.saved_query_id)
        .where(live.c.deleted_at.is_(None))
    )
    read = read.union(below)
    query = (
        select(t.inputs.c.input_view_id, t.inputs.c.saved_query_id)
        .join(read, t.inputs.c.input_view_id == read.c.id)
        .join(live, live.c.id == t.inputs.c.saved_query_id)
        .where(live.c.deleted_at.is_(None))
    )
    graph: Graph = {}
    for view, reader in await tx.execute(query):
        graph.setdefault(view, []).append(reader)
    return graph


async def plain_readers(tx: Transaction, read: Collection[UUID]) -> dict[UUID, list[UUID]]:
    """Which live views without a snapshot read the views or tables of these ids, and which read those, and so on.

    What stands behind a view with a snapshot is not looked at: it serves that, whatever is below it.
    """
    plain = t.saved_queries.alias("plain")
    is_plain = plain.c.deleted_at.is_(None) & plain.c.current_snapshot_id.is_(None)
    start = (
        select(t.inputs.c.saved_query_id.label("id"))
        .join(plain, plain.c.id == t.inputs.c.saved_query_id)
        .where(or_(t.inputs.c.input_view_id.in_(read), t.inputs.c.input_table_id.in_(read)), is_plain)
    )
    readers = start.cte("readers", recursive=True)
    below = (
        select(t.inputs.c.saved_query_id)
        .join(readers, t.inputs.c.input_view_id == readers.c.id)
        .join(plain, plain.c.id == t.inputs.c.saved_query_id)
        .where(is_plain)
    )
    readers = readers.union(below)
    query = select(func.coalesce(t.inputs.c.input_view_id, t.inputs.c.input_table_id), t.inputs.c.saved_query_id).join(
        readers, readers.c.id == t.inputs.c.saved_query_id
    )
    graph: dict[UUID, list[UUID]] = {}
    for source, reader in await tx.execute(query):
        graph.setdefault(source, []).append(reader)
    return graph
