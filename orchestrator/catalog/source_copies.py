"""Copies of tables of databases: the newest of each is read ad hoc, and generations pin those that they read.

A copy is kept while it is the newest of a live table, while a generation or a try pins it, and for the grace period
after that. One that is being made is kept while its generation runs.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Row, Select, cast, delete, exists, func, insert, or_, select, update

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import to_jsonb
from orchestrator.model.database_tables import SourceCopy
from orchestrator.model.generation import GenerationStatus
from orchestrator.model.run import SourceRelation

_COPY = t.source_copies.c
_MADE = _COPY.file.is_not(None) & _COPY.removed_at.is_(None)


class NewCopy(NamedTuple):
    """A copy that a generation of a project makes of a table, at a location of the store."""

    id: UUID
    project_id: int
    table: SourceRelation
    generation_id: UUID
    location: str


async def begin(tx: Transaction, copies: Iterable[NewCopy]) -> None:
    """Record that copies are being made."""
    rows = [
        {
            "id": one.id,
            "project_id": one.project_id,
            "source_table_id": one.table.id,
            "generation_id": one.generation_id,
            "url": one.table.url_pattern,
            "columns": to_jsonb(one.table.columns),
            "location": one.location,
        }
        for one in copies
    ]
    await tx.execute(insert(t.source_copies), rows)


async def abandon(tx: Transaction, copy_ids: Collection[UUID]) -> set[UUID]:
    """Give up those of the copies that are not complete; returns them. Their files may be deleted."""
    change = update(t.source_copies).where(_COPY.id.in_(copy_ids), _COPY.file.is_(None)).values(removed_at=func.now())
    return {*await tx.scalars(change.returning(_COPY.id))}


async def forget(tx: Transaction, copy_ids: Collection[UUID]) -> None:
    """Delete the rows of copies that were given up and whose files are gone."""
    await tx.execute(delete(t.source_copies).where(_COPY.id.in_(copy_ids), _COPY.removed_at.is_not(None)))


async def complete(tx: Transaction, copy: SourceCopy) -> bool:
    """Record a copy whose files are sealed. False if the reconciler has given it up."""
    table = t.source_tables
    await tx.execute(select(table.c.id).where(table.c.id == copy.source_table_id).with_for_update(key_share=True))
    change = update(t.source_copies).where(_COPY.id == copy.id, _COPY.file.is_(None), _COPY.removed_at.is_(None))
    made = change.values(file=copy.file.model_dump(mode="json"), content=copy.content, read_at=copy.read_at)
    if (await tx.execute(made.returning(_COPY.id))).first() is None:
        return False
    newest = _newest(copy.source_table_id).with_only_columns(_COPY.id).scalar_subquery()
    older = update(t.source_copies).where(
        _COPY.source_table_id == copy.source_table_id, _MADE, _COPY.superseded_at.is_(None), _COPY.id != newest
    )
    await tx.execute(older.values(superseded_at=func.now()))
    return True


async def newest(tx: Transaction, table_id: UUID) -> SourceCopy | None:
    """The copy of a table that was read last, if there is one."""
    row = (await tx.execute(_newest(table_id))).one_or_none()
    return None if row is None else _source_copy(row)


async def of_content(
    tx: Transaction, table_id: UUID, content: str, size: int, read_at: datetime | None = None
) -> SourceCopy | None:
    """The newest copy of a table that has these rows, and this size in bytes. It stays until the transaction ends.

    If `read_at` is given, it is the copy that was read at this moment.
    """
    query = _newest(table_id).where(_COPY.content == content, cast(_COPY.file["bytes"].astext, BigInteger) == size)
    if read_at is not None:
        query = query.where(_COPY.read_at == read_at)
    query = query.with_for_update(read=True)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else _source_copy(row)


async def hold(tx: Transaction, copy_id: UUID) -> bool:
    """Whether a copy is still there. It stays until the transaction ends."""
    query = select(_COPY.id).where(_COPY.id == copy_id, _MADE).with_for_update(read=True)
    return (await tx.execute(query)).first() is not None


async def over_by_id(tx: Transaction, ids: Collection[UUID]) -> dict[UUID, bool]:
    """Whether the files of each of these copies may be deleted, by id. Unknown copies are missing."""
    query = select(_COPY.id, _COPY.removed_at.is_not(None)).where(_COPY.id.in_(ids))
    return {row[0]: row[1] for row in await tx.execute(query)}


async def expired(tx: Transaction, grace: timedelta) -> list[UUID]:
    """The copies that need not be kept any more."""
    return [*await tx.scalars(select(_COPY.id).where(_is_expired(grace)))]


async def remove_expired(tx: Transaction, grace: timedelta) -> list[UUID]:
    """Mark these copies as removed; returns them."""
    change = update(t.source_copies).where(_is_expired(grace)).values(removed_at=func.now())
    return [*await tx.scalars(change.returning(_COPY.id))]


async def delete_removed(tx: Transaction, with_files: Collection[UUID], grace: timedelta) -> None:
    """Delete the rows of removed copies, but not of those that still have files."""
    gone = (_COPY.removed_at < func.now() - grace, _COPY.id.not_in(with_files), ~_is_pinned())
    await tx.execute(delete(t.source_copies).where(*gone))


def _newest(table_id: UUID) -> Select[Any]:
    columns = [_COPY[name] for name in SourceCopy.model_fields]
    query = select(*columns).where(_COPY.source_table_id == table_id, _MADE)
    return query.order_by(_COPY.read_at.desc(), _COPY.id).limit(1)


def _is_expired(grace: timedelta) -> ColumnElement[bool]:
    live = exists().where(
        t.source_tables.c.id == _COPY.source_table_id,
        or_(t.source_tables.c.deleted_at.is_(None), t.source_tables.c.deleted_at > func.now() - grace),
    )
    is_needed = live & (_COPY.superseded_at.is_(None) | (_COPY.superseded_at > func.now() - grace))
    runs = exists().where(t.generations.c.id == _COPY.generation_id, t.generations.c.status == GenerationStatus.RUNNING)
    made = _COPY.file.is_not(None) & ~is_needed & ~_is_pinned()
    return _COPY.removed_at.is_(None) & (made | (_COPY.file.is_(None) & ~runs))


def _is_pinned() -> ColumnElement[bool]:
    return exists().where(t.source_pins.c.copy_id == _COPY.id)


def _source_copy(row: Row[Any]) -> SourceCopy:
    return SourceCopy.model_validate(row._mapping)
