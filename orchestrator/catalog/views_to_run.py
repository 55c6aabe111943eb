"""Views as a generation takes hold of them: locked, with the query that its runs use."""

from collections.abc import Collection
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Uuid

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.model.engine import QueryText, query_text


class ViewToRun(NamedTuple):
    """A view as a generation or a try needs it."""

    id: UUID
    project_id: int
    name: str
    revision_id: UUID
    text: QueryText
    translated: str | None
    is_live: bool
    is_materialized: bool
    current_snapshot_id: UUID | None

    @property
    def sql(self) -> str:
        """The statement itself."""
        return self.text.sql


async def lock(tx: Transaction, saved_query_ids: Collection[UUID]) -> None:
    """Lock views: until the transaction ends, no other one can edit them, or take the right to run them."""
    # Always in this order, so that no two transactions wait for each other.
    await tx.execute(_lock_stmt(), {"views": list(saved_query_ids)})


async def load(tx: Transaction, saved_query_ids: Collection[UUID]) -> dict[UUID, ViewToRun]:
    """The views of these ids, locked, in any project, since a run of one has only the view's id.

    All that is read of one belongs to the same revision.
    """
    await lock(tx, saved_query_ids)
    return {
        row.id: ViewToRun(
            id=row.id,
            project_id=row.project_id,
            name=row.name,
            revision_id=row.revision_id,
            text=query_text(row.query),
            translated=row.translated,
            is_live=row.deleted_at is None,
            is_materialized=row.sync_frequency is not None,
            current_snapshot_id=row.current_snapshot_id,
        )
        for row in await tx.execute(_to_run_stmt(), {"views": list(saved_query_ids)})
    }


# Each of these is cached: building the statement takes longer than running it.


@cache
def _lock_stmt() -> Select[Any]:
    mine = t.saved_queries.c.id == any_(bindparam("views", type_=ARRAY(Uuid)))
    return select(t.saved_queries.c.id).where(mine).order_by(t.saved_queries.c.id).with_for_update(key_share=True)


@cache
def _to_run_stmt() -> Select[Any]:
    view = t.saved_queries.c
    columns = (view.id, view.project_id, view.name, view.revision_id, view.deleted_at, view.sync_frequency)
    more = (view.current_snapshot_id, t.revisions.c.query, t.revisions.c.translated)
    mine = view.id == any_(bindparam("views", type_=ARRAY(Uuid)))
    return select(*columns, *more).join(t.revisions, t.revisions.c.id == view.revision_id).where(mine)
