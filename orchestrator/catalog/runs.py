"""Runs: opened, claimed by an attempt, published or closed.

Times are those of the clock, not of the transaction's start: a transaction that has waited for a lock would otherwise
end a run before it began.

The row of a run is written by the API that started the workflow or by the workflow's first activity, in either order.
The run's id is derived, so both write the same row. Each function here may be repeated after a lost answer.
"""

from collections.abc import Collection
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, Select, Update, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from orchestrator.catalog import snapshots, tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import RUN_COLUMNS
from orchestrator.model.errors import RunSuperseded
from orchestrator.model.run import Run, RunRequest, RunStatus, SkipRequest, run_id_of
from orchestrator.model.snapshot import Column, Snapshot, seen

_FINISHED_NOW = {"finished_at": func.clock_timestamp()}


async def ensure_run(
    tx: Transaction, request: RunRequest, workflow_id: str, workflow_run_id: UUID, revision_id: UUID | None = None
) -> Run:
    """The run of this workflow run, stored as Running if it is new. The view must exist.

    `revision_id` is the revision of the query that the run uses, once that is decided.
    """
    values = {
        "id": run_id_of(workflow_run_id, request.saved_query_id),
        "saved_query_id": request.saved_query_id,
        "workflow_id": workflow_id,
        "workflow_run_id": workflow_run_id,
        "status": RunStatus.RUNNING,
        "trigger": request.trigger,
        "scheduled_for": request.scheduled_for,
        "revision_id": revision_id,
    }
    row = (await tx.execute(_upsert_stmt(), values)).one()
    return Run.model_validate(row._mapping)


async def get(tx: Transaction, run_id: UUID) -> Run:
    """The run of that id, which must exist."""
    row = (await tx.execute(select(*RUN_COLUMNS).where(t.runs.c.id == run_id))).one()
    return Run.model_validate(row._mapping)


async def status_of(tx: Transaction, run_id: UUID) -> RunStatus | None:
    """The status of a run; None if it is not recorded yet."""
    status = await tx.scalar(select(t.runs.c.status).where(t.runs.c.id == run_id))
    return None if status is None else RunStatus(status)


async def recent(tx: Transaction, saved_query_id: UUID, limit: int) -> list[Run]:
    """The last runs of a view, newest first."""
    rows = await tx.execute(_recent(), {"view": saved_query_id, "limit": limit})
    return [Run.model_validate(row._mapping) for row in rows]


async def cancel_stale_runs(tx: Transaction, saved_query_id: UUID, run_id: UUID) -> None:
    """End every other run of the view that the catalog still calls Running.

    Temporal admits one open workflow for an id, so the start of `run_id` proves that the others have ended: an operator
    ended them, or the server lost them. Once closed, none of them can publish.
    """
    message = "The run was ended in Temporal before it could say how."
    await cancel_running(tx, saved_query_id, message, "ended_outside", except_run_id=run_id)


async def cancel_running(
    tx: Transaction, saved_query_id: UUID, error: str, error_code: str, *, except_run_id: UUID | None = None
) -> list[Run]:
    """End every running run of the view except `except_run_id`; from now on none of them can publish.

    Returns these runs: their workflows continue until they are cancelled.
    """
    change = update(t.runs).where(t.runs.c.saved_query_id == saved_query_id, t.runs.c.status == RunStatus.RUNNING)
    if except_run_id is not None:
        change = change.where(t.runs.c.id != except_run_id)
    ended = change.values(status=RunStatus.CANCELLED, error=error, error_code=error_code, **_FINISHED_NOW)
    return [Run.model_validate(row._mapping) for row in await tx.execute(ended.returning(*RUN_COLUMNS))]


async def list_running(tx: Transaction) -> list[Run]:
    """Every run that the catalog calls Running, the oldest first."""
    query = select(*RUN_COLUMNS).where(t.runs.c.status == RunStatus.RUNNING).order_by(t.runs.c.started_at)
    return [Run.model_validate(row._mapping) for row in await tx.execute(query)]


async def finished_by_id(tx: Transaction, run_ids: Collection[UUID]) -> dict[UUID, bool]:
    """Whether each of the runs has ended, by id. Runs that the catalog does not have are missing."""
    query = select(t.runs.c.id, t.runs.c.status != RunStatus.RUNNING).where(t.runs.c.id.in_(run_ids))
    return {row[0]: row[1] for row in await tx.execute(query)}


async def claim_attempt(tx: Transaction, run_id: UUID) -> int:
    """Take the right to publish from every earlier attempt, and return the number of this one (1 is the first).

    Temporal's own count starts again when an operator resets an activity. With this count, no two attempts that write
    have the same number, and so the same location in the store. Raises RunSuperseded if the run has ended.
    """
    attempt = await tx.scalar(_claim_stmt(), {"run": run_id})
    if attempt is None:
        raise RunSuperseded
    return int(attempt)


async def release_attempt(tx: Transaction, run_id: UUID, attempt: int) -> None:
    """Give back the number of an attempt that began and wrote nothing, unless a later attempt has claimed one."""
    change = update(t.runs).where(t.runs.c.id == run_id, t.runs.c.attempt == attempt)
    await tx.execute(change.where(t.runs.c.status == RunStatus.RUNNING).values(attempt=attempt - 1))


async def publish(tx: Transaction, snapshot: Snapshot) -> bool:
    """Make the snapshot its view's current one and complete its run; True if readers may see other columns.

    Both happen in one transaction, so that readers see both or neither. A repetition changes nothing.

    Raises RunSuperseded if the run has ended, if its attempt lost the right to publish, or if the view is no longer
    materialized. The files of that attempt then stay invisible.
    """
    view = (await tx.execute(_lock_view_stmt(), {"view": snapshot.saved_query_id})).one()
    run = (await tx.execute(_lock_run_stmt(), {"run": snapshot.run_id})).one()
    if run.snapshot_id == snapshot.id:
        return True
    if run.status != RunStatus.RUNNING or run.attempt != snapshot.attempt:
        raise RunSuperseded
    was_reverted = view.reverted_at is not None and run.started_at <= view.reverted_at
    if view.deleted_at is not None or view.sync_frequency is None or was_reverted:
        raise RunSuperseded("The view was deleted or its materialization was undone while the query ran.")
    await snapshots.insert_new(tx, snapshot)
    before = await snapshots.set_current(tx, snapshot) or tuple(map(Column.model_validate, view.columns))
    done = {"rows": snapshot.rows, "bytes": snapshot.bytes, "snapshot_id": snapshot.id}
    await tx.execute(_complete_stmt(), {"run": snapshot.run_id, **done})
    return seen(before) != seen(snapshot.columns)


async def skip(tx: Transaction, request: SkipRequest) -> bool:
    """End a run whose query need not run, and record that its view's result is right for the moment of its start.

    False if the run has ended otherwise. A repetition changes nothing.
    """
    view_id = select(t.runs.c.saved_query_id).where(t.runs.c.id == request.run_id).scalar_subquery()
    # The view before its runs, as everywhere, so that no two transactions wait for each other.
    await tx.execute(
        select(t.saved_queries.c.id).where(t.saved_queries.c.id == view_id).with_for_update(key_share=True)
    )
    change = update(t.runs).where(t.runs.c.id == request.run_id, t.runs.c.status == RunStatus.RUNNING)
    ended = change.values(status=RunStatus.SKIPPED, skipped_reason=request.reason, **_FINISHED_NOW)
    row = (await tx.execute(ended.returning(t.runs.c.saved_query_id, t.runs.c.started_at))).one_or_none()
    if row is None:
        return await status_of(tx, request.run_id) is RunStatus.SKIPPED
    # Another version may be the current one by now, after a rollback.
    view = update(t.saved_queries).where(
        t.saved_queries.c.id == row.saved_query_id, t.saved_queries.c.current_snapshot_id == request.snapshot_id
    )
    await tx.execute(view.values(data_as_of=row.started_at))
    return True


async def close(
    tx: Transaction,
    run_id: UUID,
    status: RunStatus,
    error: str | None,
    error_code: str | None,
    *,
    policy_due: bool = False,
) -> None:
    """End a run that publishes nothing. The first closing wins: a run that has ended stays as it is.

    `policy_due` leaves the failure policy to the reconciler, because the run's workflow can no longer apply it.
    """
    change = update(t.runs).where(t.runs.c.id == run_id, t.runs.c.status == RunStatus.RUNNING)
    ended = {"status": status, "error": error, "error_code": error_code, "policy_due": policy_due}
    await tx.execute(change.values(**ended, **_FINISHED_NOW))


async def list_policy_due(tx: Transaction) -> list[UUID]:
    """The ended runs to which the failure policy is still to be applied, the oldest first."""
    return list(await tx.scalars(select(t.runs.c.id).where(t.runs.c.policy_due).order_by(t.runs.c.started_at)))


async def clear_policy_due(tx: Transaction, run_id: UUID) -> None:
    """Record that the failure policy has been applied to the run."""
    await tx.execute(update(t.runs).where(t.runs.c.id == run_id).values(policy_due=False))


# Each of these is cached: building the statement takes longer than running it.


@cache
def _upsert_stmt() -> ReturningInsert[Any]:
    new = insert(t.runs).values(started_at=func.clock_timestamp())
    # DO NOTHING would neither lock nor return an existing row.
    revision = func.coalesce(new.excluded.revision_id, t.runs.c.revision_id)
    known = new.on_conflict_do_update(index_elements=["id"], set_={"revision_id": revision})
    return known.returning(*RUN_COLUMNS)


@cache
def _claim_stmt() -> ReturningUpdate[Any]:
    change = update(t.runs).where(t.runs.c.id == bindparam("run"), t.runs.c.status == RunStatus.RUNNING)
    return change.values(attempt=t.runs.c.attempt + 1).returning(t.runs.c.attempt)


@cache
def _lock_view_stmt() -> Select[Any]:
    view = t.saved_queries
    columns = (view.c.sync_frequency, view.c.deleted_at, view.c.reverted_at, view.c.columns)
    return select(*columns).where(view.c.id == bindparam("view")).with_for_update(key_share=True)


@cache
def _lock_run_stmt() -> Select[Any]:
    columns = (t.runs.c.status, t.runs.c.attempt, t.runs.c.snapshot_id, t.runs.c.started_at)
    return select(*columns).where(t.runs.c.id == bindparam("run")).with_for_update(key_share=True)


@cache
def _complete_stmt() -> Update:
    """Completes a run. SQLAlchemy adds every further parameter (rows, bytes, snapshot_id) to the SET clause."""
    return update(t.runs).where(t.runs.c.id == bindparam("run")).values(status=RunStatus.COMPLETED, **_FINISHED_NOW)


@cache
def _recent() -> Select[Any]:
    newest_first = (t.runs.c.started_at.desc(), t.runs.c.id)
    ours = select(*RUN_COLUMNS).where(t.runs.c.saved_query_id == bindparam("view"))
    return ours.order_by(*newest_first).limit(bindparam("limit", type_=Integer))
