"""All views of a project in a few columns: enough to find, count and filter them by state."""

from collections.abc import Collection
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import ran_query
from orchestrator.model.check import CheckStatus
from orchestrator.model.condition import STALE_AFTER_INTERVALS, Condition
from orchestrator.model.freshness import Freshness
from orchestrator.model.run import RunStatus
from orchestrator.model.saved_query import SyncFrequency
from orchestrator.model.view_board import BoardRow

_TREND = 24


async def rows(tx: Transaction, project_id: int) -> list[BoardRow]:
    """Every live view of a project, by name."""
    found = await tx.execute(_rows_stmt(), {"project": project_id})
    return [BoardRow(row.id, row.name, Condition(row.condition)) for row in found]


async def failing_checks(tx: Transaction, project_id: int) -> dict[UUID, int]:
    """How many enabled checks of each view failed when they were made last; only views with such checks."""
    newest = (
        select(t.check_results.c.status)
        .where(t.check_results.c.check_id == t.checks.c.id)
        .order_by(t.check_results.c.created_at.desc())
        .limit(1)
        .lateral("newest")
    )
    live = (t.checks.c.project_id == project_id, t.checks.c.deleted_at.is_(None), t.checks.c.enabled)
    query = (
        select(t.checks.c.saved_query_id, func.count().label("failing"))
        .join(newest, true())
        .where(*live, t.checks.c.saved_query_id.is_not(None), newest.c.status != CheckStatus.PASSED)
        .group_by(t.checks.c.saved_query_id)
    )
    return {row.saved_query_id: row.failing for row in await tx.execute(query)}


async def durations(tx: Transaction, views: Collection[UUID]) -> dict[UUID, list[tuple[float, str]]]:
    """The seconds and statuses of the last ended runs of each of the views, oldest first."""
    found: dict[UUID, list[tuple[float, str]]] = {}
    for view, seconds, status in await tx.execute(_durations_stmt(), {"views": list(views)}):
        found.setdefault(view, []).append((float(seconds), status))
    return {view: list(reversed(runs)) for view, runs in found.items()}


@cache
def _durations_stmt() -> Select[Any]:
    runs = t.runs.c
    last = (
        select(runs.started_at, runs.finished_at, runs.status)
        .where(runs.saved_query_id == t.saved_queries.c.id, ran_query(t.runs), runs.finished_at.is_not(None))
        .order_by(runs.started_at.desc())
        .limit(_TREND)
        .lateral("last")
    )
    length = func.extract("epoch", last.c.finished_at - last.c.started_at)
    return (
        select(t.saved_queries.c.id, length, last.c.status)
        .join(last, true())
        .where(t.saved_queries.c.id == any_(bindparam("views", type_=ARRAY(Uuid))))
        .order_by(t.saved_queries.c.id, last.c.started_at.desc())
    )


@cache
def _rows_stmt() -> Select[Any]:
    """The views with the condition that ViewCondition gives them, but for two facts that only Temporal has.

    These are pauses that the catalog has no copy of yet. The page of a view asks Temporal.
    """
    view, runs = t.saved_queries.c, t.runs.c
    own = select(runs.status, runs.revision_id).where(
        runs.saved_query_id == view.id,
        ran_query(t.runs),
        view.reverted_at.is_(None) | (runs.started_at > view.reverted_at),
    )
    newest_first = (runs.started_at.desc(), runs.id)
    newest = own.order_by(*newest_first).limit(1).lateral("newest")
    ended = own.where(runs.status != RunStatus.RUNNING).order_by(*newest_first).limit(1).lateral("ended")
    is_paused = or_(
        view.sync_frequency == SyncFrequency.NEVER, exists().where(t.pauses.c.saved_query_id == view.id)
    ) & (view.freshness != Freshness.FOLLOW)
    condition = case(
        (view.sync_frequency.is_(None), literal(Condition.PLAIN)),
        (newest.c.status == RunStatus.RUNNING, literal(Condition.RUNNING)),
        (ended.c.status == RunStatus.FAILED, literal(Condition.FAILED)),
        (and_(newest.c.status.is_(None), view.current_snapshot_id.is_(None)), literal(Condition.NEVER_RUN)),
        (is_paused, literal(Condition.PAUSED)),
        (
            newest.c.revision_id.is_not(None) & (newest.c.revision_id != view.revision_id),
            literal(Condition.MODIFIED),
        ),
        (newest.c.status == RunStatus.CANCELLED, literal(Condition.CANCELLED)),
        (view.current_snapshot_id.is_not(None) & (_is_overdue() | _has_newer_input()), literal(Condition.STALE)),
        else_=literal(Condition.FRESH),
    )
    materialized = view.sync_frequency.is_not(None)
    return (
        select(view.id, view.name, condition.label("condition"))
        .outerjoin(newest, materialized)
        .outerjoin(ended, materialized)
        .where(view.project_id == bindparam("project"), view.deleted_at.is_(None))
        .order_by(func.lower(view.name), view.id)
    )


def _is_overdue() -> ColumnElement[bool]:
    view = t.saved_queries.c
    frequencies = {one.value: one.interval.total_seconds() for one in SyncFrequency}
    usual = case(frequencies, value=view.sync_frequency, else_=SyncFrequency.HOUR_24.interval.total_seconds())
    gap = func.coalesce(view.cron_gap_seconds, usual) * STALE_AFTER_INTERVALS
    return view.data_as_of < func.now() - gap * literal(timedelta(seconds=1))


def _has_newer_input() -> ColumnElement[bool]:
    """Whether a materialized view that this one reads directly has a newer version, or failed.

    Those behind views that are not materialized are followed on the page itself: to follow them here, for all views of
    a project, would take longer than a page may.
    """
    view, reads = t.saved_queries.c, t.inputs.c
    read = t.saved_queries.alias("read")
    maker = t.runs.alias("maker")
    good = t.runs.alias("good")
    together = (
        exists()
        .where(
            good.c.saved_query_id == view.id,
            good.c.started_at == view.data_as_of,
            maker.c.id == t.snapshots.c.run_id,
            maker.c.generation_id == good.c.generation_id,
        )
        .correlate(t.saved_queries, t.snapshots)
    )
    newer = (t.snapshots.c.published_at > view.data_as_of) & ~together
    return (
        exists()
        .where(
            reads.saved_query_id == view.id,
            read.c.id == reads.input_view_id,
            read.c.sync_frequency.is_not(None),
            read.c.deleted_at.is_(None),
            t.snapshots.c.id == read.c.current_snapshot_id,
            newer,
        )
        .correlate(t.saved_queries)
    )
