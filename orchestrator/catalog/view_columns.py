"""The columns of views without a current snapshot, which depend on the columns of their inputs."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, case, select, update

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import to_jsonb
from orchestrator.model.base import Value
from orchestrator.model.engine import Dialect, query_text
from orchestrator.model.snapshot import Column


class ViewStatement(Value):
    """A view whose columns are to be determined: its statement, and the columns stored so far."""

    id: UUID
    project_id: int
    name: str
    sql: str
    dialect: Dialect = Dialect.DUCKDB
    columns: tuple[Column, ...]


async def statements(tx: Transaction, saved_query_ids: Collection[UUID]) -> dict[UUID, ViewStatement]:
    """The current statements of views, by id."""
    query = (
        select(
            t.saved_queries.c.id,
            t.saved_queries.c.project_id,
            t.saved_queries.c.name,
            t.saved_queries.c.columns,
            t.revisions.c.query,
        )
        .join(t.revisions, t.revisions.c.id == t.saved_queries.c.revision_id)
        .where(t.saved_queries.c.id.in_(saved_query_ids))
    )
    return {
        row.id: ViewStatement(
            id=row.id,
            project_id=row.project_id,
            name=row.name,
            sql=row.query["query"],
            dialect=query_text(row.query).dialect,
            columns=row.columns,
        )
        for row in await tx.execute(query)
    }


async def columns_of_inputs(tx: Transaction, saved_query_ids: Collection[UUID]) -> dict[str, tuple[Column, ...]]:
    """The inputs of all of the views, by name, with the columns that a reader of each sees."""
    views, tables = t.saved_queries, t.source_tables
    query = (
        select(
            views.c.name.label("view"),
            tables.c.name.label("table"),
            shown_columns().label("view_columns"),
            tables.c.columns.label("table_columns"),
        )
        .distinct()
        .select_from(t.inputs)
        .outerjoin(views, views.c.id == t.inputs.c.input_view_id)
        .outerjoin(t.snapshots, t.snapshots.c.id == views.c.current_snapshot_id)
        .outerjoin(tables, tables.c.id == t.inputs.c.input_table_id)
        .where(t.inputs.c.saved_query_id.in_(saved_query_ids))
    )
    return {
        row.view or row.table: tuple(map(Column.model_validate, row.view_columns if row.view else row.table_columns))
        for row in await tx.execute(query)
    }


def shown_columns() -> ColumnElement[Any]:
    """The columns that a reader of a view sees. The statement has to outer join its current snapshot.

    A view whose query was edited serves its last result, with the columns of that, until its next run.
    """
    return case(
        (t.saved_queries.c.current_snapshot_id.is_not(None), t.snapshots.c.columns), else_=t.saved_queries.c.columns
    )


async def set_columns(tx: Transaction, saved_query_id: UUID, columns: Sequence[Column]) -> None:
    """Set the columns of a view without a current snapshot."""
    change = update(t.saved_queries).where(t.saved_queries.c.id == saved_query_id)
    await tx.execute(change.values(columns=to_jsonb(columns)))
