"""Copies of pauses, for the day on which Temporal has lost its schedules.

Whether a schedule is paused is Temporal's to say, and it alone is asked. What stands here is what it last said, and is
read for one purpose: a schedule that has to be made again begins with the pause that the lost one had. No schedule that
is there is ever changed by it.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func
from sqlalchemy.dialects.postgresql import insert

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction


async def keep(tx: Transaction, saved_query_id: UUID, note: str) -> None:
    """Remember that the schedule of a view, which must exist, is paused, and why."""
    new = insert(t.pauses).values(saved_query_id=saved_query_id, note=note, seen_at=func.clock_timestamp())
    seen = {"note": new.excluded.note, "seen_at": new.excluded.seen_at}
    await tx.execute(new.on_conflict_do_update(index_elements=["saved_query_id"], set_=seen))


async def forget(tx: Transaction, ids: Sequence[UUID], *, seen_before: datetime | None = None) -> None:
    """Remember no pause of these views any more, or none that was seen before a moment."""
    gone = delete(t.pauses).where(t.pauses.c.saved_query_id.in_(ids))
    await tx.execute(gone if seen_before is None else gone.where(t.pauses.c.seen_at < seen_before))
