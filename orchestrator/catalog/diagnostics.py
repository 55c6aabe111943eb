"""The queries by which the doctor examines PostgreSQL and the current snapshots."""

from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, select, text

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.model.base import Value
from orchestrator.model.errors import InputMissing
from orchestrator.model.run import RunStatus, SourceRelation
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


async def list_source_tables(tx: Transaction, most: int) -> list[tuple[int, SourceRelation]]:
    """The live source tables, newest first, each with its project; their columns are left out."""
    table = t.source_tables.c
    query = (
        select(table.project_id, table.id, table.name, table.format, table.url_pattern)
        .where(table.deleted_at.is_(None))
        .order_by(table.created_at.desc())
        .limit(most)
    )
    return [
        (
            row.project_id,
            SourceRelation(name=row.name, id=row.id, format=row.format, url_pattern=row.url_pattern, columns=()),
        )
        for row in await tx.execute(query)
    ]


async def views_without_input(tx: Transaction) -> list[str]:
    """The names of the live views whose newest run that ended failed because an input was missing."""
    newest = (
        select(t.runs.c.status, t.runs.c.error_code)
        .where(
            and_(
                t.runs.c.saved_query_id == t.saved_queries.c.id,
                t.runs.c.status.not_in((RunStatus.RUNNING, RunStatus.SKIPPED)),
            )
        )
        .order_by(t.runs.c.started_at.desc())
        .limit(1)
        .lateral()
    )
    query = (
        select(t.saved_queries.c.name)
        .join(newest, newest.c.status == RunStatus.FAILED)
        .where(t.saved_queries.c.deleted_at.is_(None), newest.c.error_code == InputMissing.code)
        .order_by(t.saved_queries.c.name)
    )
    return [*await tx.scalars(query)]
