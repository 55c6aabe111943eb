"""The checks of all views and source tables of a project, read at one moment, and changes of many of them at once."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Text, and_, bindparam, func, insert, literal, null, select, update
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.types import Uuid

from orchestrator.catalog import checks, tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.model.batches import batches
from orchestrator.model.check import Check, CheckFields, Subject
from orchestrator.model.check_definition import CheckDefinition, Target, definition_of

_LIVE = t.checks.c.deleted_at.is_(None)
# PostgreSQL takes 65,535 parameters in a statement.
_AT_ONCE = 500


class StoredCheck(NamedTuple):
    """A check: as it is stored, and its definition. `reads` are names that a `custom_sql` reads.

    `target_id` is the id of the view or table that a `relationships` looks into; None if that was deleted.
    """

    check: Check
    definition: CheckDefinition
    reads: tuple[str, ...]
    target_id: UUID | None


async def by_subject(tx: Transaction, project_id: int) -> dict[UUID, list[StoredCheck]]:
    """The checks of each view and source table of a project that has some, in the order of their creation."""
    views, tables = t.saved_queries.alias("views"), t.source_tables.alias("tables")
    to = t.checks.c.config["to_subject_uuid"].astext.cast(Uuid)
    query = (
        select(
            t.checks,
            func.coalesce(views.c.name, tables.c.name).label("to_name"),
            func.coalesce(views.c.deleted_at, tables.c.deleted_at).label("to_deleted_at"),
            func.coalesce(views.c.id, tables.c.id).label("to_id"),
        )
        .outerjoin(views, and_(views.c.id == to, views.c.project_id == project_id))
        .outerjoin(tables, and_(tables.c.id == to, tables.c.project_id == project_id))
        .where(t.checks.c.project_id == project_id, _LIVE)
        .order_by(*checks.ORDER)
    )
    found: dict[UUID, list[StoredCheck]] = {}
    for row in await tx.execute(query):
        check = checks.check_of(row)
        definition = definition_of(check, row.to_name)
        target = row.to_id if row.to_deleted_at is None else None
        found.setdefault(check.subject_id, []).append(StoredCheck(check, definition, tuple(row.reads), target))
    return found


async def digest(tx: Transaction, project_id: int) -> str | None:
    """A digest of all that `by_subject` has; None if there are no checks."""
    one = t.checks.c
    fields = (
        one.id,
        one.saved_query_id,
        one.source_table_id,
        one.name,
        one.description,
        one.digest,
        one.severity,
        one.enabled,
        one.tags,
    )
    row = func.md5(func.jsonb_build_array(*fields).cast(Text))
    every = func.md5(func.string_agg(row, aggregate_order_by(literal(""), one.id)))
    return await tx.scalar(select(every).where(one.project_id == project_id, _LIVE))


async def delete(tx: Transaction, check_ids: Sequence[UUID]) -> None:
    """Delete checks. Their results stay."""
    for some in batches(check_ids, _AT_ONCE):
        await tx.execute(update(t.checks).where(t.checks.c.id.in_(some)).values(deleted_at=func.clock_timestamp()))


async def change(tx: Transaction, changed: Collection[tuple[UUID, CheckFields]]) -> None:
    """Replace the fields of checks, two of which may exchange their names or what they assert."""
    ids = [check_id for check_id, _ in changed]
    for some in batches(ids, _AT_ONCE):
        # Both are unique: without this, the first of two that exchange them would have those of the second.
        free = update(t.checks).where(t.checks.c.id.in_(some))
        await tx.execute(free.values(name=null(), digest=t.checks.c.id.cast(Text)))
    rows = [{**checks.values_of(fields), "changed_id": check_id} for check_id, fields in changed]
    stmt = update(t.checks).where(t.checks.c.id == bindparam("changed_id"))
    for batch in batches(rows, _AT_ONCE):
        await tx.execute(stmt.values(updated_at=func.clock_timestamp()), list(batch))


async def add(tx: Transaction, project_id: int, added: Collection[tuple[Target, CheckFields]], *, user_id: int) -> None:
    """Store new checks of views and source tables. Those of one keep their order."""
    moment: datetime = (await tx.execute(select(func.clock_timestamp()))).scalar_one()
    rows = [
        {
            **checks.values_of(fields),
            "id": uuid4(),
            "project_id": project_id,
            "saved_query_id": of.id if of.subject is Subject.VIEW else None,
            "source_table_id": of.id if of.subject is Subject.TABLE else None,
            "created_by": user_id,
            # Checks are listed in the order of these, and would have one moment in common.
            "created_at": moment + timedelta(microseconds=number),
        }
        for number, (of, fields) in enumerate(added)
    ]
    for some in batches(rows, _AT_ONCE):
        await tx.execute(insert(t.checks), list(some))
