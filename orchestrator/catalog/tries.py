"""Tries: edits that were run and are not saved, and what becomes of them.

A try has no run, and its result is no snapshot: nothing of its view changes. A promotion makes both.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, delete, func, insert, select, update

from orchestrator.catalog import snapshots, tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.model.edit_try import EditTry, TryEnd, TryStatus
from orchestrator.model.run import RunPlan, RunStatus, Trigger
from orchestrator.model.snapshot import Snapshot

_TRY = t.tries.c
_COLUMNS = [_TRY[name] for name in EditTry.model_fields]
_NOT_STORED = {"previous"}


class ClaimedTry(NamedTuple):
    """A plan, and the attempt that may record its result now."""

    plan: RunPlan
    attempt: int


async def insert_new(tx: Transaction, new: EditTry, plan: RunPlan, lasts: timedelta) -> EditTry:
    """Store a try that is about to be started. It expires after `lasts`, by PostgreSQL's clock."""
    fixed = ("id", "project_id", "saved_query_id", "status", "query", "revision_id", "base_revision_id")
    values = {name: getattr(new, name) for name in (*fixed, "base_snapshot_id", "created_by")}
    row = insert(t.tries).values(**values, plan=_plan(plan), expires_at=func.now() + lasts).returning(*_COLUMNS)
    return _try((await tx.execute(row)).one())


async def count_open(tx: Transaction, project_id: int, saved_query_id: UUID) -> tuple[int, int]:
    """The tries of a view, and those of its project, that run or have a result."""
    is_open = (_is_shown(), _TRY.status.in_([TryStatus.RUNNING, TryStatus.READY]))
    of_view = func.count().filter(_TRY.saved_query_id == saved_query_id)
    row = (await tx.execute(select(of_view, func.count()).where(_TRY.project_id == project_id, *is_open))).one()
    return row[0], row[1]


async def find(
    tx: Transaction, project_id: int, saved_query_id: UUID, try_id: UUID, *, lock: bool = False
) -> EditTry | None:
    """A try that has not expired. `lock` keeps every other writer of it waiting until the transaction ends."""
    query = _shown(project_id, saved_query_id).where(_TRY.id == try_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _try(row)


async def list_shown(tx: Transaction, project_id: int, saved_query_id: UUID) -> list[EditTry]:
    """The tries of a view that have not expired, newest first."""
    newest_first = (_TRY.created_at.desc(), _TRY.id)
    return [_try(row) for row in await tx.execute(_shown(project_id, saved_query_id).order_by(*newest_first))]


async def delete_unstarted(tx: Transaction, try_id: UUID) -> bool:
    """Delete a try that no workflow has begun; whether there was one."""
    gone = delete(t.tries).where(_TRY.id == try_id, _TRY.workflow_run_id.is_(None)).returning(_TRY.id)
    return await tx.scalar(gone) is not None


async def begin(tx: Transaction, try_id: UUID, workflow_run_id: UUID) -> RunPlan | None:
    """Record which workflow runs a try; returns its plan, or None if it was ended before. It may be repeated."""
    change = update(t.tries).where(*_is_running(try_id)).values(workflow_run_id=workflow_run_id)
    row = (await tx.execute(change.returning(_TRY.plan))).one_or_none()
    return None if row is None else RunPlan.model_validate(row.plan)


async def set_plan(tx: Transaction, try_id: UUID, plan: RunPlan) -> None:
    """Replace the plan of a try."""
    await tx.execute(update(t.tries).where(_TRY.id == try_id).values(plan=_plan(plan)))


async def claim(tx: Transaction, try_id: UUID) -> ClaimedTry | None:
    """A new attempt (1 is the first) of a running try; it takes the right to record a result from every earlier one."""
    change = update(t.tries).where(*_is_running(try_id)).values(attempt=_TRY.attempt + 1)
    row = (await tx.execute(change.returning(_TRY.plan, _TRY.attempt))).one_or_none()
    return None if row is None else ClaimedTry(RunPlan.model_validate(row.plan), row.attempt)


async def release_attempt(tx: Transaction, try_id: UUID, attempt: int) -> None:
    """Give back the number of an attempt that wrote nothing, unless a later one has begun."""
    change = update(t.tries).where(*_is_running(try_id), _TRY.attempt == attempt)
    await tx.execute(change.values(attempt=attempt - 1))


async def record(tx: Transaction, snapshot: Snapshot) -> bool:
    """Record what an attempt has written, and end the try. False if the attempt may not any more."""
    mine = (*_is_running(snapshot.run_id), _TRY.attempt == snapshot.attempt)
    values = {"snapshot": snapshot.model_dump(mode="json"), "status": TryStatus.READY}
    change = update(t.tries).where(*mine).values(**values, finished_at=func.clock_timestamp())
    return await tx.scalar(change.returning(_TRY.id)) is not None


async def load(tx: Transaction, try_id: UUID) -> EditTry | None:
    """A try, also one that no client sees any more."""
    row = (await tx.execute(select(*_COLUMNS).where(_TRY.id == try_id))).one_or_none()
    return None if row is None else _try(row)


async def close(tx: Transaction, end: TryEnd) -> EditTry | None:
    """End a try that has no result, unless it has ended; returns it as it is."""
    change = update(t.tries).where(_TRY.id == end.try_id, _TRY.status == TryStatus.RUNNING)
    values = {"status": end.status, "error": end.error, "error_code": end.error_code}
    await tx.execute(change.values(**values, finished_at=func.clock_timestamp()))
    return await load(tx, end.try_id)


async def remove(tx: Transaction, try_id: UUID) -> None:
    """Hide a try from clients. Its files may be deleted a while later."""
    await tx.execute(update(t.tries).where(_TRY.id == try_id, _TRY.removed_at.is_(None)).values(removed_at=func.now()))


async def promote(tx: Transaction, found: EditTry, snapshot: Snapshot, workflow_id: str) -> None:
    """Make the result of a try the current version of its view, and a run that has completed.

    The try and its view must be locked. The result is right for the moment at which the inputs were pinned.
    """
    moment = func.clock_timestamp()
    await tx.execute(
        insert(t.runs).values(
            id=found.id,
            saved_query_id=found.saved_query_id,
            workflow_id=workflow_id,
            workflow_run_id=found.workflow_run_id,
            status=RunStatus.COMPLETED,
            trigger=Trigger.API,
            started_at=moment,
            finished_at=moment,
            revision_id=found.revision_id,
            attempt=snapshot.attempt,
            rows=snapshot.rows,
            bytes=snapshot.bytes,
        )
    )
    await snapshots.insert_new(tx, [snapshot])
    await snapshots.supersede_current(tx, [found.saved_query_id])
    await snapshots.set_current(tx, [snapshot])
    await tx.execute(update(t.runs).where(t.runs.c.id == found.id).values(snapshot_id=snapshot.id))
    view = update(t.saved_queries).where(t.saved_queries.c.id == found.saved_query_id)
    await tx.execute(view.values(data_as_of=found.created_at))
    await tx.execute(update(t.tries).where(_TRY.id == found.id).values(status=TryStatus.PROMOTED))


async def list_expired(tx: Transaction) -> list[EditTry]:
    """The tries that have expired and are still there."""
    return [
        _try(row) for row in await tx.execute(select(*_COLUMNS).where(_TRY.expires_at <= func.now(), ~_is_removed()))
    ]


async def list_running(tx: Transaction, age: timedelta) -> list[EditTry]:
    """The tries that run, without those that were made less than `age` ago."""
    query = select(*_COLUMNS).where(_TRY.status == TryStatus.RUNNING, _TRY.created_at < func.now() - age)
    return [_try(row) for row in await tx.execute(query)]


async def is_removed(tx: Transaction, try_id: UUID) -> bool:
    """Whether no client sees the try any more."""
    return await tx.scalar(select(_TRY.id).where(_TRY.id == try_id, ~_is_removed())) is None


async def over_by_id(tx: Transaction, try_ids: Collection[UUID]) -> dict[UUID, bool]:
    """Whether each of the tries has ended, by id. Tries that the catalog does not have are missing."""
    query = select(_TRY.id, _TRY.status != TryStatus.RUNNING).where(_TRY.id.in_(try_ids))
    return {row[0]: row[1] for row in await tx.execute(query)}


async def retained_locations(tx: Transaction, locations: Collection[str], grace: timedelta) -> set[str]:
    """Those of the locations that clients may read as the result of a try, or may be reading since it was removed."""
    location = _TRY.snapshot["location"].astext
    kept = _TRY.removed_at.is_(None) | (_TRY.removed_at > func.now() - grace)
    query = select(location).where(_TRY.status == TryStatus.READY, kept, location.in_(locations))
    return set(await tx.scalars(query))


async def delete_removed(tx: Transaction, with_files: Collection[UUID], grace: timedelta) -> None:
    """Delete the rows of tries that were removed, but not of those that still have files or run."""
    gone = delete(t.tries).where(_TRY.removed_at < func.now() - grace, _TRY.status != TryStatus.RUNNING)
    # A promoted one has files: they are those of a version.
    await tx.execute(gone.where((_TRY.status == TryStatus.PROMOTED) | _TRY.id.not_in(with_files)))


def _is_running(try_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return _TRY.id == try_id, _TRY.status == TryStatus.RUNNING, ~_is_removed()


def _is_removed() -> ColumnElement[bool]:
    return _TRY.removed_at.is_not(None)


def _is_shown() -> ColumnElement[bool]:
    return _TRY.removed_at.is_(None) & (_TRY.expires_at > func.now())


def _shown(project_id: int, saved_query_id: UUID) -> Select[Any]:
    mine = (_TRY.project_id == project_id, _TRY.saved_query_id == saved_query_id)
    return select(*_COLUMNS).where(*mine, _is_shown())


def _plan(plan: RunPlan) -> Any:  # noqa: ANN401 - JSON
    return plan.model_dump(mode="json", exclude=_NOT_STORED)


def _try(row: Row[Any]) -> EditTry:
    return EditTry.model_validate(row._mapping)
