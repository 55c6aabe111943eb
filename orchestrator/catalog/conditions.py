"""The states of the materialized views that views read, for all views of a page in one statement."""

from collections.abc import Collection
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, Uuid, any_, bindparam, select, true
from sqlalchemy.dialects.postgresql import ARRAY

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import ran_query
from orchestrator.model.condition import InputState
from orchestrator.model.printable import one_line
from orchestrator.model.run import RunStatus

# An error may hold pages; here it is named beside many others.
_MOST_OF_AN_ERROR = 300


async def inputs_of(tx: Transaction, readers: Collection[UUID]) -> dict[UUID, tuple[InputState, ...]]:
    """The materialized views that each of the views reads, by name.

    The search goes on behind views that are not materialized, since those are evaluated inside their readers. It ends
    at the others, also before their first run: behind a chain of such views, the pairs would be the square of them.
    """
    found: dict[UUID, list[InputState]] = {}
    for row in await tx.execute(_inputs_stmt(), {"readers": list(readers)}):
        found.setdefault(row.reader, []).append(_input(row))
    return {reader: tuple(inputs) for reader, inputs in found.items()}


def _input(row: Row[Any]) -> InputState:
    error = None
    if row.status == RunStatus.FAILED:
        first, _, _ = str(row.error or "it failed").partition("\n")
        error = one_line(first)[:_MOST_OF_AN_ERROR]
    return InputState(id=row.id, name=row.name, error=error, is_newer=_is_newer(row))


def _is_newer(row: Row[Any]) -> bool:
    """Whether the reader's last good run can not have read the input's current version.

    The members of a generation read one another's results, though these are published after all of them have begun. A
    version that was current before the run began was read by it, or its rows are equal to those that were.
    """
    if row.published_at is None or row.reader_began_at is None:
        return False
    same = row.generation_id is not None and row.generation_id == row.reader_generation_id
    return not same and row.published_at > row.reader_began_at


@cache
def _inputs_stmt() -> Select[Any]:
    reads = t.inputs.c
    start = select(reads.saved_query_id.label("reader"), reads.input_view_id.label("input")).where(
        reads.saved_query_id == any_(bindparam("readers", type_=ARRAY(Uuid))), reads.input_view_id.is_not(None)
    )
    reached = start.cte("reached", recursive=True)
    between = t.saved_queries.alias("between")
    behind = (
        select(reached.c.reader, reads.input_view_id)
        .join(between, between.c.id == reached.c.input)
        .join(t.inputs, reads.saved_query_id == between.c.id)
        .where(between.c.sync_frequency.is_(None), reads.input_view_id.is_not(None))
    )
    reached = reached.union(behind)
    view = t.saved_queries.c
    own = select(t.runs.c.status, t.runs.c.error).where(
        t.runs.c.saved_query_id == view.id,
        ran_query(t.runs),
        t.runs.c.status != RunStatus.RUNNING,
        view.reverted_at.is_(None) | (t.runs.c.started_at > view.reverted_at),
    )
    ended = own.order_by(t.runs.c.started_at.desc(), t.runs.c.id).limit(1).lateral("ended")
    readers = t.saved_queries.alias("readers")
    # Its data is right for the moment at which the run began that made it, or that found nothing changed.
    good = (
        select(t.runs.c.generation_id)
        .where(t.runs.c.saved_query_id == readers.c.id, t.runs.c.started_at == readers.c.data_as_of)
        .limit(1)
        .lateral("good")
    )
    makers = t.runs.alias("makers")
    return (
        select(
            reached.c.reader,
            *(view.id, view.name, ended.c.status, ended.c.error),
            *(t.snapshots.c.published_at, makers.c.generation_id),
            readers.c.data_as_of.label("reader_began_at"),
            good.c.generation_id.label("reader_generation_id"),
        )
        .select_from(reached)
        .join(readers, readers.c.id == reached.c.reader)
        .join(t.saved_queries, view.id == reached.c.input)
        .outerjoin(t.snapshots, t.snapshots.c.id == view.current_snapshot_id)
        .outerjoin(makers, makers.c.id == t.snapshots.c.run_id)
        .outerjoin(ended, true())
        .outerjoin(good, true())
        .where(view.sync_frequency.is_not(None), view.deleted_at.is_(None))
        .order_by(reached.c.reader, view.name)
    )
