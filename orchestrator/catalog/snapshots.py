"""Snapshots: recorded when published, pointed to, listed as versions, leased by what reads them, and removed.

Which one readers see is `saved_queries.current_snapshot_id`, and only the `point_…` functions move it. A row
outlives its files, since runs and later snapshots name it; `removed_at` says that its files may go.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Update,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.sql.dml import ReturningUpdate

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import dump
from orchestrator.model.run import RunStatus
from orchestrator.model.snapshot import Column, Retention, Snapshot, Version, seen

_LISTS = ("files", "quarantine", "columns", "inputs")
_PLAIN = tuple(name for name in Snapshot.model_fields if name not in _LISTS)


async def insert_new(tx: Transaction, snapshot: Snapshot) -> None:
    """Store a snapshot that is about to become its view's current one."""
    row = {name: getattr(snapshot, name) for name in _PLAIN}
    await tx.execute(insert(t.snapshots), row | {name: dump(getattr(snapshot, name)) for name in _LISTS})


async def point_to(tx: Transaction, snapshot: Snapshot) -> tuple[Column, ...] | None:
    """Make a stored snapshot its view's current one. The view's row must be locked.

    Returns the columns of the one that was, if there was one.
    """
    before = await _supersede_current(tx, snapshot.saved_query_id)
    shown = {
        "snapshot": snapshot.id,
        "revision": snapshot.revision_id,
        "snapshot_columns": dump(seen(snapshot.columns)),
    }
    await tx.execute(_pointed(), {"view": snapshot.saved_query_id, **shown})
    return before


async def point_back_to(tx: Transaction, snapshot: Snapshot) -> tuple[Column, ...] | None:
    """Make a snapshot that was superseded its view's current one again, as `point_to` does."""
    before = await point_to(tx, snapshot)
    await tx.execute(update(t.snapshots).where(t.snapshots.c.id == snapshot.id).values(superseded_at=None))
    return before


async def point_to_none(tx: Transaction, saved_query_id: UUID) -> None:
    """Make none of a view's snapshots visible."""
    await _supersede_current(tx, saved_query_id)
    view = update(t.saved_queries).where(t.saved_queries.c.id == saved_query_id)
    await tx.execute(view.values(current_snapshot_id=None))


async def find(tx: Transaction, saved_query_id: UUID, snapshot_id: UUID) -> Version | None:
    """A version of a view that can still be read. Nobody can remove or pin it until the transaction ends."""
    held = select(t.snapshots.c.id).where(t.snapshots.c.id == snapshot_id).with_for_update(key_share=True)
    await tx.execute(held)
    row = (await tx.execute(_versions(saved_query_id).where(t.snapshots.c.id == snapshot_id))).one_or_none()
    return None if row is None else _version(row)


async def page(tx: Transaction, saved_query_id: UUID, *, limit: int, offset: int) -> tuple[int, list[Version]]:
    """How many versions of a view can be read, and those of one page, newest first."""
    versions = _versions(saved_query_id)
    count = await tx.scalar(select(func.count()).select_from(versions.subquery()))
    newest_first = (t.snapshots.c.published_at.desc(), t.snapshots.c.id)
    rows = await tx.execute(versions.order_by(*newest_first).limit(limit).offset(offset))
    return count or 0, [_version(row) for row in rows]


async def set_pinned(tx: Transaction, snapshot_id: UUID, *, pinned: bool) -> None:
    """Keep a version whatever its age, or no longer."""
    await tx.execute(update(t.snapshots).where(t.snapshots.c.id == snapshot_id).values(pinned=pinned))


async def lease(tx: Transaction, run_id: UUID, snapshot_ids: Collection[UUID]) -> bool:
    """Keep the files of these snapshots for as long as the run is Running. False if one is being removed just now."""
    if not snapshot_ids:
        return True
    # The lock waits for a removal that is going on, and holds up one that comes later until the lease is there.
    held = select(t.snapshots.c.id).where(t.snapshots.c.id.in_(snapshot_ids), t.snapshots.c.removed_at.is_(None))
    if len((await tx.execute(held.with_for_update(read=True))).all()) < len(set(snapshot_ids)):
        return False
    rows = [{"run_id": run_id, "snapshot_id": snapshot_id} for snapshot_id in set(snapshot_ids)]
    await tx.execute(insert(t.leases).on_conflict_do_nothing(), rows)
    return True


async def remove_expired(tx: Transaction, retention: Retention) -> list[UUID]:
    """Take away from everybody what need not be kept any more; returns the ids. Files are deleted by the caller.

    The conditions on the row itself are asked once more when it is locked, so a rollback or a pin that comes at the
    same moment either finds it gone or keeps it.
    """
    change = update(t.snapshots).where(
        t.snapshots.c.id.in_(_expired(retention)), _is_past(retention.grace), _removable()
    )
    removed = await tx.scalars(change.values(removed_at=func.now()).returning(t.snapshots.c.id))
    return list(removed)


async def expired(tx: Transaction, retention: Retention) -> list[UUID]:
    """What `remove_expired` would take away now."""
    return list(await tx.scalars(_expired(retention)))


async def supersede_forgotten(tx: Transaction) -> None:
    """Note of every snapshot that is not current, and of which nobody noted it, that it is superseded now.

    Workers of a release that knew no versions leave such ones, while it is being replaced.
    """
    current = exists().where(t.saved_queries.c.current_snapshot_id == t.snapshots.c.id).correlate(t.snapshots)
    change = update(t.snapshots).where(t.snapshots.c.removed_at.is_(None), t.snapshots.c.superseded_at.is_(None))
    await tx.execute(change.where(~current).values(superseded_at=func.now()))


async def forget_leases(tx: Transaction) -> None:
    """Remove the leases of runs that are over: they hold nothing any more."""
    over = select(t.runs.c.id).where(t.runs.c.status != RunStatus.RUNNING)
    await tx.execute(delete(t.leases).where(t.leases.c.run_id.in_(over)))


async def kept_locations(tx: Transaction, locations: Sequence[str]) -> set[str]:
    """Those of the locations whose files somebody may read."""
    query = select(t.snapshots.c.location).where(
        t.snapshots.c.location.in_(locations), t.snapshots.c.removed_at.is_(None)
    )
    return set(await tx.scalars(query))


async def _supersede_current(tx: Transaction, saved_query_id: UUID) -> tuple[Column, ...] | None:
    columns = (await tx.execute(_superseded(), {"view": saved_query_id})).scalar_one_or_none()
    return None if columns is None else tuple(map(Column.model_validate, columns))


def _removable() -> ColumnElement[bool]:
    """Whether nothing on the row itself stands against removing it."""
    return t.snapshots.c.removed_at.is_(None) & (~t.snapshots.c.pinned | _is_undone())


def _is_undone() -> ColumnElement[bool]:
    """Whether the view's materialization was undone since: then nobody can see, pin or choose the snapshot any more."""
    view = t.saved_queries
    undone = view.c.sync_frequency.is_(None) | (t.snapshots.c.published_at <= view.c.reverted_at)
    return exists().where(view.c.id == t.snapshots.c.saved_query_id, undone).correlate(t.snapshots)


def _is_past(grace: timedelta) -> ColumnElement[bool]:
    """Whether it was replaced so long ago that nobody reads it any more who found it by the pointer."""
    return t.snapshots.c.superseded_at < func.now() - grace


def _expired(retention: Retention) -> Select[tuple[UUID]]:
    rank = func.row_number().over(
        partition_by=t.snapshots.c.saved_query_id, order_by=(t.snapshots.c.published_at.desc(), t.snapshots.c.id)
    )
    # Pinned ones are kept besides the number that is kept anyway.
    counted = (t.snapshots.c.removed_at.is_(None), ~t.snapshots.c.pinned)
    ranked = select(t.snapshots.c.id, rank.label("rank")).where(*counted).subquery("ranked")
    read = (
        exists()
        .where(t.leases.c.snapshot_id == t.snapshots.c.id)
        .where(t.runs.c.id == t.leases.c.run_id, t.runs.c.status == RunStatus.RUNNING)
    )
    too_many = (ranked.c.rank > retention.count) | (t.snapshots.c.published_at < func.now() - retention.age)
    return (
        select(t.snapshots.c.id)
        .outerjoin(ranked, ranked.c.id == t.snapshots.c.id)
        .where(_is_past(retention.grace), too_many | _is_undone(), _removable(), ~read)
    )


def _versions(saved_query_id: UUID) -> Select[Any]:
    is_current = func.coalesce(t.saved_queries.c.current_snapshot_id == t.snapshots.c.id, false())
    return (
        select(t.snapshots, is_current.label("is_current"))
        .join(t.saved_queries, t.saved_queries.c.id == t.snapshots.c.saved_query_id)
        .where(t.snapshots.c.saved_query_id == saved_query_id, t.snapshots.c.removed_at.is_(None), ~_is_undone())
    )


def _version(row: Row[Any]) -> Version:
    return Version(
        snapshot=Snapshot.model_validate({name: row._mapping[name] for name in Snapshot.model_fields}),
        is_current=row.is_current,
        pinned=row.pinned,
        superseded_at=row.superseded_at,
    )


# Each of these is made once: putting it together takes longer than running it.


@cache
def _superseded() -> ReturningUpdate[Any]:
    current = select(t.saved_queries.c.current_snapshot_id).where(t.saved_queries.c.id == bindparam("view"))
    change = update(t.snapshots).where(t.snapshots.c.id == current.scalar_subquery())
    return change.values(superseded_at=func.clock_timestamp()).returning(t.snapshots.c.columns)


@cache
def _pointed() -> Update:
    # What the view reads may have changed since it was saved, and its columns with that.
    same_query = t.saved_queries.c.revision_id == bindparam("revision")
    columns = case((same_query, bindparam("snapshot_columns", type_=JSONB)), else_=t.saved_queries.c.columns)
    view = update(t.saved_queries).where(t.saved_queries.c.id == bindparam("view"))
    return view.values(current_snapshot_id=bindparam("snapshot"), columns=columns)
