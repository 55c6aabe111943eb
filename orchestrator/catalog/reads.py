"""Reads in progress: the leases that keep the files of their snapshots, and the cancels of other processes."""

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.snapshots import lock_kept


async def begin(
    tx: Transaction,
    read_id: UUID,
    project_id: int,
    snapshot_ids: Collection[UUID],
    *,
    client_query_id: str | None,
    lasts: timedelta,
) -> bool:
    """Record a read, and keep the files of these snapshots until it ends or `lasts` is over. False if one was removed.

    A read of no snapshots that cannot be cancelled by an id is not recorded.
    """
    wanted = set(snapshot_ids)
    if not await lock_kept(tx, wanted):
        return False
    if wanted or client_query_id:
        row = {"id": read_id, "project_id": project_id, "client_query_id": client_query_id}
        await tx.execute(insert(t.reads).values(**row, expires_at=func.now() + lasts))
    if wanted:
        await tx.execute(insert(t.read_leases), [{"read_id": read_id, "snapshot_id": one} for one in wanted])
    return True


async def renew(tx: Transaction, read_ids: Collection[UUID], lasts: timedelta) -> set[UUID]:
    """Keep the files of these reads for as long again. Returns those that are to end, since they were cancelled."""
    change = update(t.reads).where(t.reads.c.id.in_(read_ids)).values(expires_at=func.now() + lasts)
    rows = await tx.execute(change.returning(t.reads.c.id, t.reads.c.cancelled_at))
    return {row.id for row in rows if row.cancelled_at is not None}


async def cancelled(tx: Transaction, read_ids: Collection[UUID]) -> set[UUID]:
    """Those of the reads that were cancelled."""
    query = select(t.reads.c.id).where(t.reads.c.id.in_(read_ids), t.reads.c.cancelled_at.is_not(None))
    return set(await tx.scalars(query))


async def cancel(tx: Transaction, project_id: int, client_query_id: str) -> set[UUID]:
    """Mark the reads that a client began under this id as cancelled; returns their ids."""
    mine = (t.reads.c.project_id == project_id, t.reads.c.client_query_id == client_query_id)
    change = update(t.reads).where(*mine, t.reads.c.expires_at > func.now())
    return set(await tx.scalars(change.values(cancelled_at=func.now()).returning(t.reads.c.id)))


async def existing(tx: Transaction, read_ids: Collection[UUID]) -> set[UUID]:
    """Those of the reads that have not ended."""
    query = select(t.reads.c.id).where(t.reads.c.id.in_(read_ids), t.reads.c.expires_at > func.now())
    return set(await tx.scalars(query))


async def end(tx: Transaction, read_id: UUID) -> None:
    """Remove a read and its leases."""
    await tx.execute(delete(t.reads).where(t.reads.c.id == read_id))


async def delete_expired(tx: Transaction) -> None:
    """Remove the reads of processes that were killed."""
    await tx.execute(delete(t.reads).where(t.reads.c.expires_at <= func.now()))
