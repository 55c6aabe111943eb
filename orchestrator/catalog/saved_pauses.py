"""Copies of the pauses of schedules, for a Temporal server that has lost its schedules.

Temporal alone decides whether a schedule is paused. The copies here hold the pauses that Temporal last reported. They
serve one purpose: a lost schedule is created again with the pause that it had. They never change a schedule that
exists.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func
from sqlalchemy.dialects.postgresql import insert

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction


async def keep(tx: Transaction, saved_query_id: UUID, note: str) -> None:
    """Store that the schedule of a view, which must exist, is paused, and why."""
    new = insert(t.pauses).values(saved_query_id=saved_query_id, note=note, seen_at=func.clock_timestamp())
    seen = {"note": new.excluded.note, "seen_at": new.excluded.seen_at}
    await tx.execute(new.on_conflict_do_update(index_elements=["saved_query_id"], set_=seen))


async def forget(tx: Transaction, ids: Sequence[UUID], *, seen_before: datetime | None = None) -> None:
    """Delete the copies of these views' pauses, or only those that were seen before a moment."""
    gone = delete(t.pauses).where(t.pauses.c.saved_query_id.in_(ids))
    await tx.execute(gone if seen_before is None else gone.where(t.pauses.c.seen_at < seen_before))
