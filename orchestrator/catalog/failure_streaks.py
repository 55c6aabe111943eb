"""The input of the failure policy: a run that has ended and its view's runs before it. The counts are not stored."""

from collections.abc import Collection
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, Select, any_, bindparam, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.types import Uuid

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import RUN_COLUMNS, ran_query
from orchestrator.model.base import Value
from orchestrator.model.errors import ChecksFailed
from orchestrator.model.run import Run, RunStatus, Trigger


class RunContext(Value):
    """A run that has ended, its view, and the runs before it.

    `is_materialized`: the view is live and materialized. `previous_status`: the status of the last earlier run that
    completed or failed, since a cancelled or skipped one says nothing of the view. None if there is no such run since
    the view was last reverted.

    Both counts are of scheduled runs that failed, this one included, since the last earlier run that completed.
    `failures_since_reset` also starts again at an edit of the query, at a revert, and when a person resumed the
    schedule; `failures_since_success` does not.
    """

    run: Run
    project_id: int
    view_name: str
    is_materialized: bool
    previous_status: RunStatus | None
    failures_since_reset: int
    failures_since_success: int


async def load_run_contexts(tx: Transaction, run_ids: Collection[UUID]) -> list[RunContext]:
    """The contexts of these runs. Ids without a run are left out.

    They depend only on what was stored when a run ended and on what a person did since. So a repeated call after a
    lost answer returns the same.
    """
    rows = await tx.execute(_select(), {"runs": list(run_ids)})
    return [
        RunContext(run=Run.model_validate(row._mapping), **{name: row._mapping[name] for name in _BESIDE})
        for row in rows
    ]


async def load_run_context(tx: Transaction, run_id: UUID) -> RunContext:
    """The context of that run, which must exist."""
    return (await load_run_contexts(tx, [run_id]))[0]


async def reset_failure_streak(tx: Transaction, saved_query_id: UUID) -> None:
    """Start a new failure streak, because a person has resumed the schedule."""
    change = update(t.saved_queries).where(t.saved_queries.c.id == saved_query_id)
    await tx.execute(change.values(resumed_at=func.clock_timestamp()))


_BESIDE = [name for name in RunContext.model_fields if name != "run"]


@cache
def _select() -> Select[Any]:
    # Cached: building the statement takes longer than running it.
    completed = _last_completed()
    since_reset = func.greatest(  # GREATEST ignores nulls
        completed, t.revisions.c.created_at, t.saved_queries.c.reverted_at, t.saved_queries.c.resumed_at
    )
    return (
        select(
            *RUN_COLUMNS,
            t.saved_queries.c.project_id,
            t.saved_queries.c.name.label("view_name"),
            (t.saved_queries.c.deleted_at.is_(None) & t.saved_queries.c.sync_frequency.is_not(None)).label(
                "is_materialized"
            ),
            _previous().label("previous_status"),
            _failed_since(since_reset).label("failures_since_reset"),
            _failed_since(func.coalesce(completed, literal("-infinity").cast(TIMESTAMP(timezone=True)))).label(
                "failures_since_success"
            ),
        )
        .select_from(t.runs)
        .join(t.saved_queries, t.saved_queries.c.id == t.runs.c.saved_query_id)
        .join(t.revisions, t.revisions.c.id == t.saved_queries.c.revision_id)
        .where(t.runs.c.id == any_(bindparam("runs", type_=ARRAY(Uuid))))
    )


def _last_completed() -> ScalarSelect[Any]:
    """When the last run before this one that completed was started; null if none completed."""
    earlier = t.runs.alias("completed")
    return (
        select(func.max(earlier.c.started_at))
        .where(
            earlier.c.saved_query_id == t.runs.c.saved_query_id,
            ran_query(earlier),
            earlier.c.status == RunStatus.COMPLETED,
            earlier.c.started_at < t.runs.c.started_at,
        )
        .correlate(t.runs)
        .scalar_subquery()
    )


def _previous() -> ScalarSelect[Any]:
    """The status of the last run before this one that completed or failed. Runs of a view do not overlap."""
    earlier = t.runs.alias("earlier")
    return (
        select(earlier.c.status)
        .where(
            earlier.c.saved_query_id == t.runs.c.saved_query_id,
            ran_query(earlier),
            earlier.c.status.in_([RunStatus.COMPLETED, RunStatus.FAILED]),
            earlier.c.started_at < t.runs.c.started_at,
            t.saved_queries.c.reverted_at.is_(None) | (earlier.c.started_at > t.saved_queries.c.reverted_at),
        )
        .order_by(earlier.c.started_at.desc())
        .limit(1)
        .correlate(t.runs, t.saved_queries)
        .scalar_subquery()
    )


def _failed_since(moment: ColumnElement[Any]) -> ScalarSelect[Any]:
    """The number of scheduled runs, up to this one, that were started after that moment and failed."""
    failed = t.runs.alias("failed")
    return (
        select(func.count())
        .select_from(failed)
        .where(
            failed.c.saved_query_id == t.runs.c.saved_query_id,
            failed.c.trigger == Trigger.SCHEDULE,
            ran_query(failed),
            failed.c.status == RunStatus.FAILED,
            # The query works, and so may the next run: its data is what failed.
            failed.c.error_code.is_distinct_from(ChecksFailed.code),
            failed.c.started_at <= t.runs.c.started_at,
            failed.c.started_at > moment,
        )
        .correlate(t.runs, t.saved_queries, t.revisions)
        .scalar_subquery()
    )
