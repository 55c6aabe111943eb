"""Retention of snapshots: the leases of running runs, and the removal of expired snapshots."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import cache
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.types import Uuid

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import given, giving
from orchestrator.catalog.snapshots import is_reverted, lock_kept
from orchestrator.model.run import RunStatus
from orchestrator.model.snapshot import Retention


async def lease(tx: Transaction, read: Mapping[UUID, Collection[UUID]]) -> bool:
    """Keep the files of the snapshots that each run reads, for as long as it is Running. False if one was just removed.

    `read` has the ids of snapshots by that of the run.
    """
    rows = [{"run_id": run, "snapshot_id": snapshot} for run, some in read.items() for snapshot in set(some)]
    if not rows:
        return True
    if not await lock_kept(tx, {row["snapshot_id"] for row in rows}):
        return False
    await tx.execute(_lease_stmt(), giving(rows))
    return True


@cache  # building the statement takes longer than running it
def _lease_stmt() -> Insert:
    rows = given(run_id=Uuid(), snapshot_id=Uuid())
    return insert(t.leases).from_select(["run_id", "snapshot_id"], select(*rows.c)).on_conflict_do_nothing()


async def remove_expired(tx: Transaction, retention: Retention) -> list[UUID]:
    """Mark expired snapshots as removed, so that none can be read; returns their ids. The caller deletes the files.

    The rows are locked first. The statement that then removes them sees every lease, rollback and pin committed
    before; a later one waits for the lock, and finds the snapshot removed.
    """
    locked = select(t.snapshots.c.id).where(t.snapshots.c.id.in_(_expired(retention)))
    await tx.execute(locked.order_by(t.snapshots.c.id).with_for_update())
    change = update(t.snapshots).where(
        t.snapshots.c.id.in_(_expired(retention)), _grace_period_over(retention.grace), _may_be_removed()
    )
    removed = await tx.scalars(change.values(removed_at=func.now()).returning(t.snapshots.c.id))
    return list(removed)


async def expired(tx: Transaction, retention: Retention) -> list[UUID]:
    """The ids of the snapshots that `remove_expired` would remove now."""
    return list(await tx.scalars(_expired(retention)))


async def backfill_superseded_at(tx: Transaction) -> None:
    """Set `superseded_at` to now where it is missing from a snapshot that is not current.

    Workers of a release that knew no versions leave such snapshots, while that release is being replaced.
    """
    current = exists().where(t.saved_queries.c.current_snapshot_id == t.snapshots.c.id).correlate(t.snapshots)
    change = update(t.snapshots).where(t.snapshots.c.removed_at.is_(None), t.snapshots.c.superseded_at.is_(None))
    await tx.execute(change.where(~current).values(superseded_at=func.now()))


async def delete_finished_leases(tx: Transaction) -> None:
    """Delete the leases of runs that have ended: they no longer keep any files."""
    over = select(t.runs.c.id).where(t.runs.c.status != RunStatus.RUNNING)
    await tx.execute(delete(t.leases).where(t.leases.c.run_id.in_(over)))


async def retained_locations(tx: Transaction, locations: Sequence[str]) -> set[str]:
    """Those of the locations whose files may still be read, since their snapshot is not removed."""
    query = select(t.snapshots.c.location).where(
        t.snapshots.c.location.in_(locations), t.snapshots.c.removed_at.is_(None)
    )
    return set(await tx.scalars(query))


def _may_be_removed() -> ColumnElement[bool]:
    """Whether the row itself permits removal: not removed yet, and not pinned unless the view was reverted."""
    return t.snapshots.c.removed_at.is_(None) & (~t.snapshots.c.pinned | is_reverted())


def _grace_period_over(grace: timedelta) -> ColumnElement[bool]:
    """Whether it was superseded so long ago that readers which found it as the current one have finished."""
    return t.snapshots.c.superseded_at < func.now() - grace


def _expired(retention: Retention) -> Select[tuple[UUID]]:
    # Blocked versions are counted apart: a view that is blocked for days keeps those that it can go back to.
    rank = func.row_number().over(
        partition_by=(t.snapshots.c.saved_query_id, t.snapshots.c.blocked_at.is_not(None)),
        order_by=(t.snapshots.c.published_at.desc(), t.snapshots.c.id),
    )
    # Pinned snapshots do not count towards the number that is kept.
    counted = (t.snapshots.c.removed_at.is_(None), ~t.snapshots.c.pinned)
    ranked = select(t.snapshots.c.id, rank.label("rank")).where(*counted).subquery("ranked")
    read = (
        exists()
        .where(t.leases.c.snapshot_id == t.snapshots.c.id)
        .where(t.runs.c.id == t.leases.c.run_id, t.runs.c.status == RunStatus.RUNNING)
    )
    served = (
        exists()
        .where(t.read_leases.c.snapshot_id == t.snapshots.c.id)
        .where(t.reads.c.id == t.read_leases.c.read_id, t.reads.c.expires_at > func.now())
    )
    too_many = (ranked.c.rank > retention.count) | (t.snapshots.c.published_at < func.now() - retention.age)
    return (
        select(t.snapshots.c.id)
        .outerjoin(ranked, ranked.c.id == t.snapshots.c.id)
        .where(_grace_period_over(retention.grace), too_many | is_reverted(), _may_be_removed(), ~read, ~served)
    )
