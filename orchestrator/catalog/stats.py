"""Figures of a whole installation, for its metrics."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Float, Select, case, cast, func, select
from sqlalchemy.sql.elements import ColumnElement

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.model.base import Value
from orchestrator.model.condition import STALE_AFTER_INTERVALS
from orchestrator.model.run import RunStatus
from orchestrator.model.saved_query import SyncFrequency


class ViewFreshness(Value):
    """The age of a view's data in seconds. Without any data, it counts from when the frequency was set."""

    project_id: int
    saved_query_id: UUID
    name: str
    seconds: float


class InstallationStats(Value):
    """The figures of an installation.

    `views` counts live views, `materialized` those of them that are materialized. The next three leave out views whose
    frequency is `never`. `stale` counts views whose data is older than two of their intervals. `oldest_seconds` is the
    greatest age of any view's data, overdue or not. `most_overdue` holds views, the most overdue first.
    `running` counts running runs; `longest_run_seconds` is, 0 if there are none.
    """

    views: int
    materialized: int
    stale: int
    oldest_seconds: float
    most_overdue: tuple[ViewFreshness, ...]
    running: int
    longest_run_seconds: float


async def load_stats(tx: Transaction, limit: int) -> InstallationStats:
    """The figures of this moment; `most_overdue` has at most `limit` views."""
    views, materialized = (await tx.execute(_views())).one()
    ages = _ages().subquery()
    stale = func.count().filter(ages.c.seconds > STALE_AFTER_INTERVALS * ages.c.interval)
    summary = (await tx.execute(select(stale, func.coalesce(func.max(ages.c.seconds), 0.0)))).one()
    columns = [ages.c[name] for name in ViewFreshness.model_fields]
    overdue = select(*columns).order_by((ages.c.seconds / ages.c.interval).desc(), ages.c.saved_query_id).limit(limit)
    most_overdue = tuple(ViewFreshness.model_validate(row._mapping) for row in await tx.execute(overdue))
    running, longest = (await tx.execute(_running())).one()
    return InstallationStats(
        views=views,
        materialized=materialized,
        stale=summary[0],
        oldest_seconds=summary[1],
        most_overdue=most_overdue,
        running=running,
        longest_run_seconds=longest,
    )


def _views() -> Select[int, int]:
    materialized = func.count().filter(t.saved_queries.c.sync_frequency.is_not(None))
    return select(func.count(), materialized).select_from(t.saved_queries).where(t.saved_queries.c.deleted_at.is_(None))


def _ages() -> Select[int, UUID, str, float, float]:
    """Every view that a schedule refreshes, with the age of its data and its interval, both in seconds.

    The interval of a cron schedule is its longest: one for weekdays is not overdue on a Sunday.
    """
    view = t.saved_queries.c
    since = func.coalesce(func.greatest(t.snapshots.c.published_at, view.data_as_of), view.sync_frequency_set_at)
    intervals = {frequency.value: _seconds(frequency.interval) for frequency in SyncFrequency}
    by_word = case(intervals, value=view.sync_frequency, else_=_seconds(timedelta(days=1)))
    return (
        select(
            view.project_id,
            view.id.label("saved_query_id"),
            view.name,
            _since(since).label("seconds"),
            func.coalesce(cast(view.cron_gap_seconds, Float), by_word).label("interval"),
        )
        .outerjoin(t.snapshots, t.snapshots.c.id == view.current_snapshot_id)
        .where(view.deleted_at.is_(None), view.sync_frequency.is_not(None))
        .where(view.sync_frequency != SyncFrequency.NEVER)
    )


def _running() -> Select[int, float]:
    longest = func.coalesce(_since(func.min(t.runs.c.started_at)), 0.0)
    return select(func.count(), longest).where(t.runs.c.status == RunStatus.RUNNING)


def _since(moment: ColumnElement[object]) -> ColumnElement[float]:
    """The seconds since a moment by PostgreSQL's clock; 0 if another clock set it to a later moment."""
    return func.greatest(cast(func.extract("epoch", func.clock_timestamp() - moment), Float), 0.0)


def _seconds(span: timedelta) -> float:
    return span.total_seconds()
