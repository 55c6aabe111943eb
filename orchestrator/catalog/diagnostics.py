"""The queries by which the doctor examines PostgreSQL and the current snapshots."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.model.base import Value
from orchestrator.model.snapshot import SnapshotFile


class CurrentSnapshotFiles(Value):
    """The location and the files of one view's current snapshot, those of quarantined rows included."""

    view: str
    location: str
    files: tuple[SnapshotFile, ...]


async def server_version(tx: Transaction) -> str:
    """PostgreSQL's version."""
    return str(await tx.scalar(text("SHOW server_version")))


async def clock(tx: Transaction) -> datetime:
    """The time by PostgreSQL's clock."""
    moment: datetime = (await tx.execute(select(func.clock_timestamp()))).scalar_one()
    return moment


async def list_current_snapshots(tx: Transaction) -> list[CurrentSnapshotFiles]:
    """The current snapshots of all views."""
    files = t.snapshots.c.files.op("||")(t.snapshots.c.quarantine)
    query: Any = (
        select(t.saved_queries.c.name.label("view"), t.snapshots.c.location, files.label("files"))
        .join(t.snapshots, t.snapshots.c.id == t.saved_queries.c.current_snapshot_id)
        .where(t.saved_queries.c.deleted_at.is_(None))
        .order_by(t.saved_queries.c.name)
    )
    return [CurrentSnapshotFiles.model_validate(row._mapping) for row in await tx.execute(query)]
