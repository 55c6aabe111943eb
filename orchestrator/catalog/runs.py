"""Runs: opened and closed. `publication.py` publishes them.

Times are those of the clock, not of the transaction's start: a transaction that has waited for a lock would otherwise
end a run before it began.

An open row, of which a view has at most one, is the right to run the view: no two runs of a view overlap. The row of a
generation of one is written by the API that started the workflow or by the workflow's first activity, in either order.
The run's id is derived, so both write the same row. Each function here may be repeated after a lost answer.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Integer, Select, Update, any_, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert
from sqlalchemy.sql.dml import ReturningInsert
from sqlalchemy.types import Uuid

from orchestrator.catalog import generations, tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import RUN_COLUMNS, given, giving
from orchestrator.model.batches import batches
from orchestrator.model.generation import EndedRun, Generation
from orchestrator.model.run import Run, RunRequest, RunStatus, run_id_of

_FINISHED_NOW = {"finished_at": func.clock_timestamp()}
_MANY = 500


async def record_started(
    tx: Transaction,
    request: RunRequest,
    workflow_id: str,
    workflow_run_id: UUID,
    *,
    generation_id: UUID | None = None,
) -> RunStatus | None:
    """Store the run of a workflow that was just started, so that the next request sees it; returns how it stands.

    If the view has another open run, nothing is stored and None is returned: the workflow finds out whether that has
    really ended.
    """
    values = _row(request, workflow_id, workflow_run_id) | {"generation_id": generation_id}
    row = insert(t.runs).values(started_at=func.clock_timestamp(), **values).on_conflict_do_nothing()
    new = row.returning(t.runs.c.status).cte("new")
    # In one statement, for it is part of every request for a run. A row that is committed while it waits is not seen;
    # then it is not known here how the run stands, as if it were not recorded.
    known = select(t.runs.c.status).where(t.runs.c.id == values["id"])
    status = await tx.scalar(select(new.c.status).union_all(known).limit(1))
    return None if status is None else RunStatus(status)


async def ensure_run(
    tx: Transaction,
    request: RunRequest,
    workflow_id: str,
    workflow_run_id: UUID,
    *,
    revision_id: UUID | None = None,
    generation_id: UUID | None = None,
) -> Run:
    """The run of this workflow run, stored as Running if it is new. The view must exist, and have no other open run.

    `revision_id` is the revision of the query that the run uses, once that is decided.
    """
    decided = {"revision_id": revision_id, "generation_id": generation_id}
    row = (await tx.execute(_upsert_stmt(), _row(request, workflow_id, workflow_run_id) | decided)).one()
    return Run.model_validate(row._mapping)


class EarlyEnd(NamedTuple):
    """How the run of a member has ended without having begun, and when: None for now. A skipped one has a `reason`."""

    status: RunStatus
    at: datetime | None
    reason: str | None = None


class NewMember(NamedTuple):
    """A view that a generation takes hold of: its revision, the members that it reads, and the time of its tick.

    One that has an `end` does not run.
    """

    saved_query_id: UUID
    revision_id: UUID
    parents: tuple[UUID, ...]
    scheduled_for: datetime | None = None
    end: EarlyEnd | None = None


async def open_members(
    tx: Transaction, generation: Generation, workflow_run_id: UUID, members: Iterable[NewMember]
) -> None:
    """Open the runs of a generation, and record those that have ended.

    None of its views may have an open run, and their rows must be locked.
    """
    moment = await tx.scalar(select(func.clock_timestamp()))
    rows = [
        {
            "id": run_id_of(workflow_run_id, one.saved_query_id),
            "saved_query_id": one.saved_query_id,
            "scheduled_for": one.scheduled_for,
            "revision_id": one.revision_id,
            "parents": one.parents,
            **({"status": RunStatus.RUNNING} if one.end is None else _ended(one.end, moment)),
        }
        for one in members
    ]
    common = {
        "workflow_id": generation.workflow_id,
        "workflow_run_id": workflow_run_id,
        "trigger": generation.trigger,
        "generation_id": generation.id,
    }
    for some in batches(rows, _MANY):
        await tx.execute(_open_members_stmt(), giving(some) | common)


async def list_open(tx: Transaction, saved_query_ids: Collection[UUID]) -> list[Run]:
    """The open runs of these views."""
    rows = await tx.execute(_open_stmt(), {"views": list(saved_query_ids)})
    return [Run.model_validate(row._mapping) for row in rows]


async def list_open_of_generation(tx: Transaction, generation_id: UUID) -> list[Run]:
    """The open runs of a generation."""
    mine = (t.runs.c.generation_id == generation_id, t.runs.c.status == RunStatus.RUNNING)
    rows = await tx.execute(select(*RUN_COLUMNS).where(*mine).order_by(t.runs.c.id))
    return [Run.model_validate(row._mapping) for row in rows]


async def open_of_generation(tx: Transaction, generation_id: UUID) -> list[UUID]:
    """The ids of the open runs of a generation."""
    mine = select(t.runs.c.id).where(t.runs.c.generation_id == generation_id)
    return list(await tx.scalars(mine.where(t.runs.c.status == RunStatus.RUNNING)))


async def find_in_generation(tx: Transaction, generation_id: UUID, saved_query_id: UUID) -> Run | None:
    """The run of a view in a generation."""
    mine = (t.runs.c.generation_id == generation_id, t.runs.c.saved_query_id == saved_query_id)
    row = (await tx.execute(select(*RUN_COLUMNS).where(*mine))).one_or_none()
    return None if row is None else Run.model_validate(row._mapping)


async def list_of_workflow(tx: Transaction, workflow_run_id: UUID) -> list[UUID]:
    """The open runs that a workflow executes."""
    mine = select(t.runs.c.id).where(t.runs.c.workflow_run_id == workflow_run_id)
    return list(await tx.scalars(mine.where(t.runs.c.status == RunStatus.RUNNING)))


def _ended(end: EarlyEnd, moment: datetime | None) -> dict[str, Any]:
    at = end.at or moment
    return {"status": end.status, "started_at": at, "finished_at": at, "skipped_reason": end.reason}


def _row(request: RunRequest, workflow_id: str, workflow_run_id: UUID) -> dict[str, Any]:
    return {
        "id": run_id_of(workflow_run_id, request.saved_query_id),
        "saved_query_id": request.saved_query_id,
        "workflow_id": workflow_id,
        "workflow_run_id": workflow_run_id,
        "status": RunStatus.RUNNING,
        "trigger": request.trigger,
        "scheduled_for": request.scheduled_for,
    }


async def get(tx: Transaction, run_id: UUID) -> Run:
    """The run of that id, which must exist."""
    row = (await tx.execute(select(*RUN_COLUMNS).where(t.runs.c.id == run_id))).one()
    return Run.model_validate(row._mapping)


async def recent(tx: Transaction, saved_query_id: UUID, limit: int) -> list[Run]:
    """The last runs of a view, newest first."""
    rows = await tx.execute(_recent(), {"view": saved_query_id, "limit": limit})
    return [Run.model_validate(row._mapping) for row in rows]


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
    found = [Run.model_validate(row._mapping) for row in await tx.execute(ended.returning(*RUN_COLUMNS))]
    await generations.settle(tx, [run.generation_id for run in found])
    return found


async def list_running(tx: Transaction) -> list[Run]:
    """Every run that the catalog calls Running, the oldest first."""
    query = select(*RUN_COLUMNS).where(t.runs.c.status == RunStatus.RUNNING).order_by(t.runs.c.started_at)
    return [Run.model_validate(row._mapping) for row in await tx.execute(query)]


async def finished_by_id(tx: Transaction, run_ids: Collection[UUID]) -> dict[UUID, bool]:
    """Whether each of the runs has ended, by id. Runs that the catalog does not have are missing."""
    query = select(t.runs.c.id, t.runs.c.status != RunStatus.RUNNING).where(t.runs.c.id.in_(run_ids))
    return {row[0]: row[1] for row in await tx.execute(query)}


async def release_attempt(tx: Transaction, run_id: UUID, attempt: int) -> None:
    """Let an attempt that began and wrote nothing not count as a try, unless a later attempt has claimed the run.

    Only the first gives its number back. The earlier ones have lost the right to record a result, and their files.
    """
    mine = (t.runs.c.id == run_id, t.runs.c.attempt == attempt, t.runs.c.status == RunStatus.RUNNING)
    if attempt == 1:
        await tx.execute(update(t.runs).where(*mine).values(attempt=0))
        return
    locked = select(t.runs.c.id).where(*mine).with_for_update(key_share=True).cte("locked")
    change = update(t.run_plans).where(t.run_plans.c.run_id == locked.c.id)
    await tx.execute(change.values(spent=t.run_plans.c.spent + 1))


async def set_revisions(tx: Transaction, revisions: Mapping[UUID, UUID]) -> None:
    """Record the revisions of the queries that open runs use."""
    rows = given(run=Uuid(), revision=Uuid())
    change = update(t.runs).where(t.runs.c.id == rows.c.run, t.runs.c.status == RunStatus.RUNNING)
    new = [{"run": str(run), "revision": str(revision)} for run, revision in revisions.items()]
    await tx.execute(change.values(revision_id=rows.c.revision), giving(new))


async def close(tx: Transaction, runs: Sequence[EndedRun], *, policy_due: bool = False) -> None:
    """End runs that publish nothing, and generations of which nothing is left. The first closing of a run wins.

    `policy_due` leaves the failure policy to the reconciler, because the runs' workflow can no longer apply it.
    """
    if runs:
        await end(tx, runs, policy_due=policy_due)
        ids = [run.run_id for run in runs]
        await generations.settle(tx, await tx.scalars(select(t.runs.c.generation_id).where(t.runs.c.id.in_(ids))))


async def end(tx: Transaction, runs: Iterable[EndedRun], *, policy_due: bool = False) -> None:
    """End runs that publish nothing. One that has ended stays as it is."""
    rows = [
        {
            "run": run.run_id,
            "status": run.status,
            "error": run.error,
            "error_code": run.error_code,
            "skipped_reason": run.reason,
            "policy_due": policy_due and run.status is RunStatus.FAILED,
        }
        for run in runs
    ]
    for some in batches(rows, _MANY):
        await tx.execute(_end_stmt(), giving(some))


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
    decided = ("revision_id", "generation_id")
    known = new.on_conflict_do_update(
        index_elements=["id"], set_={name: func.coalesce(new.excluded[name], t.runs.c[name]) for name in decided}
    )
    return known.returning(*RUN_COLUMNS)


@cache
def _open_stmt() -> Select[Any]:
    mine = t.runs.c.saved_query_id == any_(bindparam("views", type_=ARRAY(Uuid)))
    return select(*RUN_COLUMNS).where(mine, t.runs.c.status == RunStatus.RUNNING)


@cache
def _open_members_stmt() -> Insert:
    of_all = ("workflow_id", "workflow_run_id", "trigger", "generation_id")
    of_each = ("id", "saved_query_id", "scheduled_for", "revision_id", "parents", "status", "started_at", "finished_at")
    columns = t.runs.c
    rows = given(**{name: columns[name].type for name in (*of_each, "skipped_reason")})
    values: dict[str, Any] = {name: bindparam(name, type_=columns[name].type) for name in of_all}
    values |= dict(rows.c) | {"started_at": func.coalesce(rows.c.started_at, func.clock_timestamp())}
    return insert(t.runs).from_select([*values], select(*values.values()))


@cache
def _end_stmt() -> Update:
    names = ("status", "error", "error_code", "skipped_reason", "policy_due")
    rows = given(run=Uuid(), **{name: t.runs.c[name].type for name in names})
    change = update(t.runs).where(t.runs.c.id == rows.c.run, t.runs.c.status == RunStatus.RUNNING)
    return change.values(**_FINISHED_NOW, **{name: rows.c[name] for name in names})


@cache
def _recent() -> Select[Any]:
    newest_first = (t.runs.c.started_at.desc(), t.runs.c.id)
    ours = select(*RUN_COLUMNS).where(t.runs.c.saved_query_id == bindparam("view"))
    return ours.order_by(*newest_first).limit(bindparam("limit", type_=Integer))
