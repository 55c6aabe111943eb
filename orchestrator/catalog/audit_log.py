"""The audit log: each entry is inserted in the transaction of the change that it describes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.pagination import on_page, select_page, shown
from orchestrator.catalog.rows import label_columns, parse_labelled, to_jsonb
from orchestrator.model.audit import AuditEntry, FieldChange, Verb
from orchestrator.model.principal import User
from orchestrator.model.saved_query import SavedQuery

SAVED_QUERY = "DataWarehouseSavedQuery"


class CreatedView(NamedTuple):
    """A view that was created, with its query object."""

    id: UUID
    name: str
    query: Mapping[str, Any]


async def insert_entry(
    tx: Transaction,
    *,
    project_id: int,
    item_id: UUID,
    name: str,
    verb: Verb,
    user_id: int | None,
    changes: Sequence[FieldChange] = (),
    entry_id: UUID | None = None,
) -> None:
    """Insert an entry about a change of a view. `user_id` None is the system itself.

    A caller that may be repeated gives the `entry_id`: an id that is stored already is not inserted again.
    """
    await tx.execute(
        insert(t.journal)
        .values(
            id=entry_id or uuid4(),
            project_id=project_id,
            scope=SAVED_QUERY,
            item_id=item_id,
            item_name=name,
            verb=verb,
            changes=to_jsonb(changes),
            user_id=user_id,
        )
        .on_conflict_do_nothing(index_elements=["id"])
    )


async def record(
    tx: Transaction, view: SavedQuery, verb: Verb, user: User | None, changes: Sequence[FieldChange] = ()
) -> None:
    """Insert an entry about a change of a view; `user` None is the system itself."""
    await insert_entry(
        tx,
        project_id=view.project_id,
        item_id=view.id,
        name=view.name,
        verb=verb,
        user_id=user.id if user else None,
        changes=changes,
    )


async def record_all(
    tx: Transaction,
    project_id: int,
    views: Mapping[UUID, str],
    verb: Verb,
    user: User | None,
    *,
    changes: Mapping[UUID, Sequence[FieldChange]] = MappingProxyType({}),
) -> list[UUID]:
    """Insert an entry for each of these views, which are given by id and name, as `changes` are by id.

    Returns the ids of the entries.
    """
    entry = {"project_id": project_id, "scope": SAVED_QUERY, "verb": verb, "user_id": user.id if user else None}
    ids = {view: uuid4() for view in views}
    rows = [
        {**entry, "id": ids[view], "item_id": view, "item_name": name, "changes": to_jsonb(changes.get(view, ()))}
        for view, name in views.items()
    ]
    if rows:
        await tx.execute(insert(t.journal), rows)
    return [*ids.values()]


async def withdraw(tx: Transaction, entry_ids: Collection[UUID]) -> None:
    """Remove the entries of a change that was not made after all."""
    await tx.execute(delete(t.journal).where(t.journal.c.id.in_(entry_ids)))


async def record_created(tx: Transaction, project_id: int, views: Iterable[CreatedView], user: User) -> None:
    """Insert an entry for each of these new views, with the query that it was created with."""
    created = list(views)
    queries = {one.id: [FieldChange(field="query", action="created", after=one.query)] for one in created}
    await record_all(tx, project_id, {one.id: one.name for one in created}, Verb.CREATED, user, changes=queries)


async def page(tx: Transaction, item_id: UUID, *, limit: int, offset: int) -> tuple[int, list[AuditEntry]]:
    """The number of entries about a view, and those of one page, newest first."""
    newest_first = (t.journal.c.created_at.desc(), t.journal.c.id)
    matches = [t.journal.c.item_id == item_id]
    chosen = await select_page(tx, t.journal, matches, newest_first, large=["changes"], limit=limit, offset=offset)
    query = (
        select(*shown(t.journal, "changes"), *label_columns("author", t.users, User.model_fields))
        .outerjoin(t.users, t.users.c.id == t.journal.c.user_id)
        .where(on_page(t.journal))
    )
    entries = [
        AuditEntry(
            id=row.id,
            item_id=row.item_id,
            name=row.item_name,
            verb=row.verb,
            changes=row.changes,
            user=parse_labelled("author", row, User),
            created_at=row.created_at,
            is_abridged=row.is_abridged,
        )
        for row in chosen.in_order(await tx.execute(query, chosen.shown))
    ]
    return chosen.count, entries
