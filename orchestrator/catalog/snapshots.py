"""Snapshots: stored when published, made current, listed as versions, and pinned.

Readers see the one in `saved_queries.current_snapshot_id`, which only `set_current`, `restore_current` and
`clear_current` change. A row outlives its files, since runs and later snapshots refer to it. Once `removed_at` is set,
its files may be deleted.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Update,
    any_,
    bindparam,
    case,
    exists,
    false,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.types import Uuid

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import given, giving, ran_query, to_jsonb
from orchestrator.model.run import RunStatus
from orchestrator.model.snapshot import Column, PublishedSnapshot, ResolvedInput, Snapshot, seen


async def insert_new(tx: Transaction, new: Iterable[Snapshot]) -> None:
    """Store snapshots: the current ones of their views from then on, or ones that stay blocked."""
    await tx.execute(
        _insert_stmt(), giving([{name: getattr(one, name) for name in Snapshot.model_fields} for one in new])
    )


async def insert_blocked(tx: Transaction, new: Snapshot) -> None:
    """Store a snapshot that its checks keep from readers."""
    await insert_new(tx, [new])
    change = update(t.snapshots).where(t.snapshots.c.id == new.id)
    await tx.execute(change.values(blocked_at=func.clock_timestamp(), superseded_at=func.clock_timestamp()))


async def unblock(tx: Transaction, snapshot_id: UUID) -> None:
    """Record that a snapshot is published on a person's word."""
    await tx.execute(update(t.snapshots).where(t.snapshots.c.id == snapshot_id).values(blocked_at=None))


async def set_current(tx: Transaction, stored: Iterable[Snapshot]) -> None:
    """Make stored snapshots the current ones of their views, whose rows must be locked.

    Those that are current now must have been superseded.
    """
    rows = [
        {
            "view": one.saved_query_id,
            "snapshot": one.id,
            "revision": one.revision_id,
            "columns": seen(one.columns),
            "run": one.run_id,
        }
        for one in stored
    ]
    await tx.execute(_set_current_stmt(), giving(rows))


async def restore_current(tx: Transaction, snapshot: Snapshot) -> tuple[Column, ...] | None:
    """Make a superseded snapshot its view's current one again. The view's row must be locked.

    Returns the columns of the one that was current before, if there was one.
    """
    before = await supersede_current(tx, [snapshot.saved_query_id])
    await set_current(tx, [snapshot])
    await tx.execute(update(t.snapshots).where(t.snapshots.c.id == snapshot.id).values(superseded_at=None))
    return tuple(map(Column.model_validate, before[0].columns)) if before else None


async def clear_current(tx: Transaction, saved_query_id: UUID) -> None:
    """Leave a view without a current snapshot, so that readers see none."""
    await supersede_current(tx, [saved_query_id])
    view = update(t.saved_queries).where(t.saved_queries.c.id == saved_query_id)
    await tx.execute(view.values(current_snapshot_id=None, data_as_of=None))


async def find(tx: Transaction, saved_query_id: UUID, snapshot_id: UUID) -> PublishedSnapshot | None:
    """A version of a view that can still be read. No other transaction removes or pins it until this one ends."""
    held = select(t.snapshots.c.id).where(t.snapshots.c.id == snapshot_id).with_for_update(key_share=True)
    await tx.execute(held)
    row = (await tx.execute(_versions(saved_query_id).where(t.snapshots.c.id == snapshot_id))).one_or_none()
    return None if row is None else _version(row)


class CurrentVersion(NamedTuple):
    """The version of a view that readers see now.

    `last_run_completed` is of the last run that ran the view's query, `has_readers` says whether a live view reads it.
    """

    snapshot: Snapshot
    last_run_completed: bool
    has_readers: bool


async def current(tx: Transaction, saved_query_ids: Collection[UUID]) -> dict[UUID, CurrentVersion]:
    """The current versions of these views, as far as they have one."""
    found: dict[UUID, CurrentVersion] = {}
    for row in await tx.execute(_current_stmt(), {"views": list(saved_query_ids)}):
        snapshot = Snapshot.model_validate({name: row._mapping[name] for name in Snapshot.model_fields})
        found[snapshot.saved_query_id] = CurrentVersion(
            snapshot, row.last_status == RunStatus.COMPLETED, row.has_readers
        )
    return found


async def contents(tx: Transaction, snapshot_ids: Collection[UUID]) -> dict[UUID, str]:
    """The digests of the rows of these versions, as far as they are known, also of versions whose files are gone."""
    query = select(t.snapshots.c.id, t.snapshots.c.content)
    rows = await tx.execute(query.where(t.snapshots.c.id.in_(snapshot_ids), t.snapshots.c.content.is_not(None)))
    return {row.id: row.content for row in rows}


async def set_content(tx: Transaction, snapshot_id: UUID, content: str) -> None:
    """Record the digest of a version's rows."""
    await tx.execute(update(t.snapshots).where(t.snapshots.c.id == snapshot_id).values(content=content))


async def set_inputs(tx: Transaction, snapshot_id: UUID, inputs: Collection[ResolvedInput]) -> None:
    """Record the inputs of a version with other identities of files whose content is the same."""
    await tx.execute(update(t.snapshots).where(t.snapshots.c.id == snapshot_id).values(inputs=to_jsonb(inputs)))


async def lock_kept(tx: Transaction, snapshot_ids: Collection[UUID]) -> bool:
    """Keep these snapshots from being removed until the transaction ends. False if one was removed before."""
    wanted = set(snapshot_ids)
    # The lock waits for a removal in progress, and makes a later one wait until a lease is committed.
    kept = select(t.snapshots.c.id).where(t.snapshots.c.id.in_(wanted), t.snapshots.c.removed_at.is_(None))
    return not wanted or len((await tx.execute(kept.with_for_update(read=True))).all()) == len(wanted)


async def page(
    tx: Transaction, saved_query_id: UUID, *, limit: int, offset: int, published_only: bool = False
) -> tuple[int, list[PublishedSnapshot]]:
    """The number of versions of a view that can be read, and those of one page, newest first."""
    versions = _versions(saved_query_id)
    if published_only:
        versions = versions.where(t.snapshots.c.blocked_at.is_(None))
    count = await tx.scalar(select(func.count()).select_from(versions.subquery()))
    newest_first = (t.snapshots.c.published_at.desc(), t.snapshots.c.id)
    rows = await tx.execute(versions.order_by(*newest_first).limit(limit).offset(offset))
    return count or 0, [_version(row) for row in rows]


async def before_current(tx: Transaction, saved_query_id: UUID) -> Snapshot | None:
    """The version that readers of a view saw before the current one, if it can still be read."""
    latest = (t.snapshots.c.superseded_at.desc(), t.snapshots.c.id)
    seen_before = (t.snapshots.c.blocked_at.is_(None), t.snapshots.c.superseded_at.is_not(None))
    versions = _versions(saved_query_id).where(*seen_before)
    row = (await tx.execute(versions.order_by(*latest).limit(1))).one_or_none()
    return None if row is None else _version(row).snapshot


async def set_pinned(tx: Transaction, snapshot_id: UUID, *, pinned: bool) -> None:
    """Pin a version, which keeps it at any age, or unpin it."""
    await tx.execute(update(t.snapshots).where(t.snapshots.c.id == snapshot_id).values(pinned=pinned))


async def supersede_current(tx: Transaction, saved_query_ids: Collection[UUID]) -> Sequence[Row[Any]]:
    """Record that the current snapshots of these views are so no longer; returns `saved_query_id` and `columns`."""
    result = await tx.execute(_supersede_stmt(), {"views": list(saved_query_ids)})
    return list(result)


def is_reverted() -> ColumnElement[bool]:
    """Whether the view was reverted since: then no client can see, pin or choose the snapshot any more."""
    view = t.saved_queries
    undone = view.c.sync_frequency.is_(None) | (t.snapshots.c.published_at <= view.c.reverted_at)
    return exists().where(view.c.id == t.snapshots.c.saved_query_id, undone).correlate(t.snapshots)


def _versions(saved_query_id: UUID) -> Select[Any]:
    is_current = func.coalesce(t.saved_queries.c.current_snapshot_id == t.snapshots.c.id, false())
    return (
        select(t.snapshots, is_current.label("is_current"))
        .join(t.saved_queries, t.saved_queries.c.id == t.snapshots.c.saved_query_id)
        .where(t.snapshots.c.saved_query_id == saved_query_id, t.snapshots.c.removed_at.is_(None), ~is_reverted())
    )


def _version(row: Row[Any]) -> PublishedSnapshot:
    return PublishedSnapshot(
        snapshot=Snapshot.model_validate({name: row._mapping[name] for name in Snapshot.model_fields}),
        is_current=row.is_current,
        pinned=row.pinned,
        superseded_at=row.superseded_at,
        is_blocked=row.blocked_at is not None,
    )


# Each of these is cached: building the statement takes longer than running it.


@cache
def _current_stmt() -> Select[Any]:
    view, live = t.saved_queries, t.saved_queries.alias("live")
    ended = (
        ran_query(t.runs),
        t.runs.c.status != RunStatus.RUNNING,
        t.runs.c.saved_query_id == view.c.id,
    )
    reader = exists().where(
        *(t.inputs.c.input_view_id == view.c.id, live.c.id == t.inputs.c.saved_query_id),
        live.c.deleted_at.is_(None),
    )
    last = select(t.runs.c.status).where(*ended).order_by(t.runs.c.started_at.desc(), t.runs.c.id).limit(1)
    return (
        select(
            t.snapshots,
            last.correlate(view).scalar_subquery().label("last_status"),
            reader.correlate(view).label("has_readers"),
        )
        .join(view, view.c.current_snapshot_id == t.snapshots.c.id)
        .where(view.c.id == any_(bindparam("views", type_=ARRAY(Uuid))))
    )


@cache
def _insert_stmt() -> Any:  # noqa: ANN401 - the statement's type is as long as the statement
    rows = given(**{name: t.snapshots.c[name].type for name in Snapshot.model_fields})
    return insert(t.snapshots).from_select([*Snapshot.model_fields], select(*rows.c))


@cache
def _supersede_stmt() -> ReturningUpdate[Any]:
    current = select(t.saved_queries.c.current_snapshot_id).where(
        t.saved_queries.c.id == any_(bindparam("views", type_=ARRAY(Uuid)))
    )
    change = update(t.snapshots).where(t.snapshots.c.id.in_(current))
    return change.values(superseded_at=func.clock_timestamp()).returning(
        t.snapshots.c.saved_query_id, t.snapshots.c.columns
    )


@cache
def _set_current_stmt() -> Update:
    new = given(view=Uuid(), snapshot=Uuid(), revision=Uuid(), columns=JSONB(), run=Uuid())
    view = t.saved_queries.c
    # The columns of the view's inputs may have changed since it was saved, and its own with them.
    columns = case((view.revision_id == new.c.revision, new.c.columns), else_=view.columns)
    as_of = select(t.runs.c.started_at).where(t.runs.c.id == new.c.run).scalar_subquery()
    change = update(t.saved_queries).where(view.id == new.c.view)
    return change.values(current_snapshot_id=new.c.snapshot, columns=columns, data_as_of=as_of)
