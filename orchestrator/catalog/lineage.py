"""The graph of a project's views and source tables, or of those above or below a view."""

from collections.abc import Collection
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, any_, bindparam, func, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Uuid

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import label_columns, parse_labelled, ran_query
from orchestrator.model.batches import batches
from orchestrator.model.lineage import GraphNode, Node
from orchestrator.model.run import Run
from orchestrator.model.saved_query import Revision, status_of

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


async def edges(tx: Transaction, project_id: int) -> list[tuple[UUID, UUID]]:
    """The inputs of all live views of a project, as (input, reader): ids of views and of source tables."""
    view, inputs = t.saved_queries.c, t.inputs.c
    query = (
        select(func.coalesce(inputs.input_view_id, inputs.input_table_id), inputs.saved_query_id)
        .join(t.saved_queries, view.id == inputs.saved_query_id)
        .where(view.project_id == project_id, view.deleted_at.is_(None))
        .order_by(inputs.saved_query_id, inputs.position)
    )
    return [(read, reader) for read, reader in await tx.execute(query)]


async def ids(tx: Transaction, project_id: int) -> dict[str, UUID]:
    """The ids of all live views and source tables of a project, by the key of the name."""
    owner = func.coalesce(t.names.c.saved_query_id, t.names.c.source_table_id).label("id")
    query = select(t.names.c.key, owner)
    return {row.key: row.id for row in await tx.execute(query.where(t.names.c.project_id == project_id))}


async def nodes(tx: Transaction, chosen: Collection[UUID]) -> list[GraphNode]:
    """The live views and source tables of these ids, by name."""
    found = []
    for batch in batches(list(chosen)):
        found += [_view_node(row) for row in await tx.execute(_views_stmt(), {"views": list(batch)})]
        tables = select(t.source_tables.c.id, t.source_tables.c.name).where(t.source_tables.c.id.in_(batch))
        found += [GraphNode(id=row.id, name=row.name, is_view=False) for row in await tx.execute(tables)]
    return sorted(found, key=lambda node: node.name)


@cache
def _views_stmt() -> Select[Any]:
    view = t.saved_queries.c
    runs = select(t.runs).where(
        t.runs.c.saved_query_id == view.id,
        ran_query(t.runs),
        view.sync_frequency.is_not(None),
        view.reverted_at.is_(None) | (t.runs.c.started_at > view.reverted_at),
    )
    newest = runs.order_by(t.runs.c.started_at.desc(), t.runs.c.id).limit(1).lateral("newest")
    return (
        select(
            *(view.id, view.name, view.sync_frequency, view.reverted_at, view.data_as_of),
            *(t.revisions.c.id.label("revision_id"), t.revisions.c.number, t.revisions.c.created_at),
            *label_columns("newest", newest, Run.model_fields),
        )
        .join(t.revisions, t.revisions.c.id == view.revision_id)
        .outerjoin(newest, true())
        .where(view.id == any_(bindparam("views", type_=ARRAY(Uuid))))
    )


def _view_node(row: Row[Any]) -> GraphNode:
    revision = Revision(id=row.revision_id, number=row.number, query={}, created_at=row.created_at)
    return GraphNode(
        id=row.id,
        name=row.name,
        is_view=True,
        is_materialized=row.sync_frequency is not None,
        status=status_of(revision, parse_labelled("newest", row, Run), row.reverted_at),
        data_as_of=row.data_as_of,
    )


async def names(tx: Transaction, some: Collection[Node]) -> dict[str, str]:
    """The names of these nodes: of a view by its id, of a source table by its name."""
    views = [node for node in some if isinstance(node, UUID)]
    found = {node: node for node in some if isinstance(node, str)}
    for batch in batches(views):
        query = select(t.saved_queries.c.id, t.saved_queries.c.name).where(t.saved_queries.c.id.in_(batch))
        found |= {str(row.id): row.name for row in await tx.execute(query)}
    return found
