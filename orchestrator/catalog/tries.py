"""Tries: edits that were run and are not saved, and what becomes of them.

A try has no run, and its result is no snapshot: nothing of its view changes. A promotion makes both. The same holds for
its members, the views that are tried with the edited one. Each has a row of its own, which clients reach by the try
only. Whether a try runs is computed from all of its rows, never stored.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Label, Row, Select, case, delete, exists, func, insert, null, or_, select, update

from orchestrator.catalog import publication, tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.model.batches import batches
from orchestrator.model.edit_try import EditTry, NamedTry, TryStatus
from orchestrator.model.run import RunPlan, RunStatus, Trigger

_TRY = t.tries.c
_MEMBERS = t.tries.alias("members")
_COLUMNS = [_TRY[name] for name in EditTry.model_fields if name != "members"]
_NOT_STORED = {"previous"}
_MANY = 500


async def insert_new(tx: Transaction, new: Sequence[tuple[EditTry, RunPlan]], lasts: timedelta) -> EditTry:
    """Store a try that is about to be started, followed by its members. They expire after `lasts`."""
    fixed = ("id", "project_id", "saved_query_id", "status", "query", "revision_id", "base_revision_id")
    more = ("base_snapshot_id", "created_by", "member_of", "position")
    rows = [{name: getattr(one, name) for name in (*fixed, *more)} | {"plan": as_stored(plan)} for one, plan in new]
    # By PostgreSQL's clock.
    insertion = insert(t.tries).values(expires_at=func.now() + lasts)
    for some in batches(rows, _MANY):
        await tx.execute(insertion, some)
    row = (await tx.execute(select(*_shown_columns()).where(_TRY.id == new[0][0].id))).one()
    return _try(row)


async def count_open(tx: Transaction, project_id: int, saved_query_id: UUID) -> tuple[int, int]:
    """The tries of a view, and those of its project, that run or have a result."""
    is_open = (_is_shown(), _status().in_([TryStatus.RUNNING, TryStatus.READY]))
    of_view = func.count().filter(_TRY.saved_query_id == saved_query_id)
    row = (await tx.execute(select(of_view, func.count()).where(_TRY.project_id == project_id, *is_open))).one()
    return row[0], row[1]


async def find(
    tx: Transaction, project_id: int, saved_query_id: UUID, try_id: UUID, *, lock: bool = False
) -> EditTry | None:
    """A try that has not expired. `lock` keeps every other writer of it waiting until the transaction ends."""
    query = _shown(project_id, saved_query_id).where(_TRY.id == try_id)
    row = (await tx.execute(query.with_for_update(of=t.tries) if lock else query)).one_or_none()
    return None if row is None else _try(row)


async def list_shown(tx: Transaction, project_id: int, saved_query_id: UUID) -> list[EditTry]:
    """The tries of a view that have not expired, newest first."""
    newest_first = (_TRY.created_at.desc(), _TRY.id)
    return [_try(row) for row in await tx.execute(_shown(project_id, saved_query_id).order_by(*newest_first))]


async def list_members(tx: Transaction, try_id: UUID) -> list[NamedTry]:
    """The members of a try, each after those that it reads, as they stand for themselves. The edited view is first."""
    query = (
        select(t.saved_queries.c.name, *_COLUMNS)
        .join(t.saved_queries, t.saved_queries.c.id == _TRY.saved_query_id)
        .where(is_of(try_id))
        .order_by(_TRY.position)
    )
    return [NamedTry(row.name, _try(row)) for row in await tx.execute(query)]


async def plans(tx: Transaction, try_ids: Collection[UUID]) -> list[RunPlan]:
    """The plans of these members of tries."""
    return [RunPlan.model_validate(one) for one in await tx.scalars(select(_TRY.plan).where(_TRY.id.in_(try_ids)))]


async def delete_unstarted(tx: Transaction, try_id: UUID) -> bool:
    """Delete a try that no workflow has begun; whether there was one."""
    gone = delete(t.tries).where(is_of(try_id), _TRY.workflow_run_id.is_(None)).returning(_TRY.id)
    return bool((await tx.scalars(gone)).all())


async def load(tx: Transaction, try_id: UUID) -> EditTry | None:
    """A try or a member of one, also if no client sees it any more."""
    row = (await tx.execute(select(*_COLUMNS).where(_TRY.id == try_id))).one_or_none()
    return None if row is None else _try(row)


async def remove(tx: Transaction, try_id: UUID) -> None:
    """Hide a try from clients, with its members. Their files may be deleted a while later."""
    # First, as what ends or promotes its members does.
    await tx.execute(select(_TRY.id).where(_TRY.id == try_id).with_for_update())
    await tx.execute(update(t.tries).where(is_of(try_id), _TRY.removed_at.is_(None)).values(removed_at=func.now()))


async def promote(tx: Transaction, found: Sequence[EditTry], workflow_id: str) -> list[UUID]:
    """Make the results of a try the current versions of their views, and runs that have completed, all at once.

    The try and the views must be locked, and no view may have an open run. The results are right for the moment at
    which the inputs were pinned. Returns the views of which readers may see other columns than before.
    """
    written = [(one, one.snapshot) for one in found if one.snapshot is not None]
    rows = [
        {
            "id": one.id,
            "saved_query_id": one.saved_query_id,
            "workflow_id": workflow_id,
            "workflow_run_id": one.workflow_run_id,
            "status": RunStatus.RUNNING,
            "trigger": Trigger.API,
            "revision_id": one.revision_id,
            "attempt": snapshot.attempt,
        }
        for one, snapshot in written
    ]
    # They are completed at once, by what publishes the results of all runs.
    await tx.execute(insert(t.runs).values(started_at=func.clock_timestamp()), rows)
    changed = await publication.make_current(tx, [snapshot for _, snapshot in written], {})
    views = [one.saved_query_id for one, _ in written]
    as_of = update(t.saved_queries).where(t.saved_queries.c.id.in_(views))
    await tx.execute(as_of.values(data_as_of=found[0].created_at))
    promoted = update(t.tries).where(_TRY.id.in_([one.id for one, _ in written]))
    await tx.execute(promoted.values(status=TryStatus.PROMOTED))
    return changed


async def list_expired(tx: Transaction) -> list[EditTry]:
    """The tries that have expired and are still there."""
    expired = (_TRY.member_of.is_(None), _TRY.expires_at <= func.now(), ~is_removed_now())
    return [_try(row) for row in await tx.execute(select(*_COLUMNS).where(*expired))]


async def list_running(tx: Transaction, age: timedelta) -> list[EditTry]:
    """The tries, and members of tries, that run, without those that were made less than `age` ago."""
    query = select(*_COLUMNS).where(_TRY.status == TryStatus.RUNNING, _TRY.created_at < func.now() - age)
    return [_try(row) for row in await tx.execute(query)]


async def is_removed(tx: Transaction, try_id: UUID) -> bool:
    """Whether no client sees the try any more."""
    return await tx.scalar(select(_TRY.id).where(_TRY.id == try_id, ~is_removed_now())) is None


async def over_by_id(tx: Transaction, try_ids: Collection[UUID]) -> dict[UUID, bool]:
    """Whether each of these tries and members of tries has ended, by id. Unknown ones are missing."""
    query = select(_TRY.id, _TRY.status != TryStatus.RUNNING).where(_TRY.id.in_(try_ids))
    return {row[0]: row[1] for row in await tx.execute(query)}


async def retained_locations(tx: Transaction, locations: Collection[str], grace: timedelta) -> set[str]:
    """Those of the locations that clients may read as the result of a try, or may be reading since it was removed."""
    location = _TRY.snapshot["location"].astext
    kept = _TRY.removed_at.is_(None) | (_TRY.removed_at > func.now() - grace)
    query = select(location).where(_TRY.status == TryStatus.READY, kept, location.in_(locations))
    return set(await tx.scalars(query))


async def delete_removed(tx: Transaction, with_files: Collection[UUID], grace: timedelta) -> None:
    """Delete the rows of tries that were removed, but not of those that still have files, run, or have members."""
    gone = delete(t.tries).where(_TRY.removed_at < func.now() - grace, _TRY.status != TryStatus.RUNNING)
    # A promoted one has files: they are those of a version.
    gone = gone.where((_TRY.status == TryStatus.PROMOTED) | _TRY.id.not_in(with_files))
    await tx.execute(gone.where(_TRY.member_of.is_not(None)))
    await tx.execute(gone.where(~exists().where(_MEMBERS.c.member_of == _TRY.id).correlate(t.tries)))


def is_of(try_id: UUID) -> ColumnElement[bool]:
    """The condition for the rows of a try: its own, and those of its members."""
    return or_(_TRY.id == try_id, _TRY.member_of == try_id)


def is_removed_now() -> ColumnElement[bool]:
    """The condition for tries that no client sees any more."""
    return _TRY.removed_at.is_not(None)


def as_stored(plan: RunPlan) -> Any:  # noqa: ANN401 - JSON
    """A plan as the column holds it."""
    return plan.model_dump(mode="json", exclude=_NOT_STORED)


def _is_shown() -> ColumnElement[bool]:
    return _TRY.member_of.is_(None) & _TRY.removed_at.is_(None) & (_TRY.expires_at > func.now())


def _shown(project_id: int, saved_query_id: UUID) -> Select[Any]:
    mine = (_TRY.project_id == project_id, _TRY.saved_query_id == saved_query_id)
    return select(*_shown_columns()).where(*mine, _is_shown())


def _shown_columns() -> list[ColumnElement[Any] | Label[Any]]:
    """The columns of a try as a whole: it runs until all of its members have ended."""
    last = select(func.max(_MEMBERS.c.finished_at)).where(_MEMBERS.c.member_of == _TRY.id).correlate(t.tries)
    members = select(func.count()).where(_MEMBERS.c.member_of == _TRY.id).correlate(t.tries)
    finished = func.greatest(_TRY.finished_at, last.scalar_subquery())
    computed = {
        "status": _status(),
        "finished_at": case((_has_member(TryStatus.RUNNING), null()), else_=finished),
        "members": members.scalar_subquery(),
    }
    return [computed[name].label(name) if name in computed else _TRY[name] for name in EditTry.model_fields]


def _status() -> ColumnElement[Any]:
    """The status of a try as a whole. If some of its members were cancelled, so was the try."""
    return case(
        (_has_member(TryStatus.RUNNING), TryStatus.RUNNING),
        (_has_member(TryStatus.CANCELLED), TryStatus.CANCELLED),
        else_=_TRY.status,
    )


def _has_member(status: TryStatus) -> ColumnElement[bool]:
    return exists().where(_MEMBERS.c.member_of == _TRY.id, _MEMBERS.c.status == status).correlate(t.tries)


def _try(row: Row[Any]) -> EditTry:
    return EditTry.model_validate(row._mapping)
