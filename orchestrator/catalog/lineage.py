"""The graph of the views above or below a view, read in one statement each."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import func, or_, select

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.model.lineage import Node

Graph = dict[Node, list[Node]]


async def inputs_above(tx: Transaction, saved_query_id: UUID) -> Graph:
    """The inputs of the view and of every view above it, by reader: views by id, source tables by name."""
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
    """The live views that read the view, directly or through other live views, by the view that they read."""
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
    """The live views without a snapshot that read these views or tables, directly or through one another.

    The search ends at a view with a snapshot: it serves that, so a change of its inputs does not reach its readers.
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
