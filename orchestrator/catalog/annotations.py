"""The descriptions of views, source tables and their columns."""

from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Row, Select, Table, Text, delete, func, literal, select, union_all, update
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.model.annotation import Annotation, Described
from orchestrator.model.names import fold

_UPPER, _LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
_NOTES = t.column_annotations


async def page(
    tx: Transaction, project_id: int, kind: Described, *, owner_id: UUID | None, limit: int, offset: int
) -> tuple[int, list[Annotation]]:
    """The number of annotations of live views, or of live source tables, and some of them, by name and column."""
    found = _all(project_id, kind, owner_id).subquery("found")
    count = await tx.scalar(select(func.count()).select_from(found)) or 0
    rows = select(found).order_by(found.c.owner_name, found.c.owner_id, found.c.column_key).limit(limit).offset(offset)
    return count, [_annotation(row) for row in await tx.execute(rows)]


async def find(tx: Transaction, project_id: int, kind: Described, annotation_id: UUID) -> Annotation | None:
    """The annotation of that id, if its view or source table is live."""
    found = _all(project_id, kind, None).subquery("found")
    row = (await tx.execute(select(found).where(found.c.id == annotation_id))).one_or_none()
    return None if row is None else _annotation(row)


async def find_of_column(tx: Transaction, kind: Described, owner_id: UUID, column: str) -> UUID | None:
    """The id of the annotation of a column; for a source table, also of the table itself."""
    mine = (_owner(kind) == owner_id, _NOTES.c.column_key == fold(column))
    return await tx.scalar(select(_NOTES.c.id).where(*mine))


async def total_length(tx: Transaction, kind: Described, owner_id: UUID, *, besides: str) -> int:
    """The length of all descriptions of the columns of a view or source table, `besides` one of them."""
    mine = (_owner(kind) == owner_id, _NOTES.c.column_key != fold(besides))
    return await tx.scalar(select(func.coalesce(func.sum(func.length(_NOTES.c.description)), 0)).where(*mine)) or 0


async def put(tx: Transaction, kind: Described, owner_id: UUID, *, column: str, description: str, user_id: int) -> UUID:
    """Store the description of a column, in place of the one that it had; returns the annotation's id."""
    row: dict[str, Any] = {
        _owner(kind).name: owner_id,
        "id": uuid4(),
        "column_key": fold(column),
        "column_name": column,
        "description": description,
        "created_by": user_id,
    }
    changed = {"description": description, "updated_at": func.clock_timestamp()}
    statement = insert(_NOTES).values(**row)
    upsert = statement.on_conflict_do_update(index_elements=[_owner(kind).name, "column_key"], set_=changed)
    stored: UUID = (await tx.execute(upsert.returning(_NOTES.c.id))).scalar_one()
    return stored


async def change(tx: Transaction, annotation_id: UUID, description: str) -> None:
    """Replace a description."""
    values = {"description": description, "updated_at": func.clock_timestamp()}
    await tx.execute(update(_NOTES).where(_NOTES.c.id == annotation_id).values(**values))


async def remove(tx: Transaction, annotation_id: UUID) -> None:
    """Delete a description."""
    await tx.execute(delete(_NOTES).where(_NOTES.c.id == annotation_id))


def descriptions_of(owner: ColumnElement[Any], kind: Described) -> ColumnElement[Any]:
    """The descriptions of the columns of a row's view or source table: a JSON object by the key of the column."""
    return (
        select(func.jsonb_object_agg(_NOTES.c.column_key, _NOTES.c.description))
        .where(_owner(kind) == owner)
        .scalar_subquery()
        .label("column_descriptions")
    )


async def of_view(tx: Transaction, saved_query_id: UUID) -> dict[str, str]:
    """The descriptions of a view's columns, by the key of the column."""
    query = select(_NOTES.c.column_key, _NOTES.c.description).where(_NOTES.c.saved_query_id == saved_query_id)
    return {row.column_key: row.description for row in await tx.execute(query)}


async def by_owner(tx: Transaction, project_id: int) -> dict[UUID, dict[str, str]]:
    """The descriptions of the columns of all live views and source tables of a project, by the column's name.

    That of a source table itself has an empty name.
    """
    found: dict[UUID, dict[str, str]] = {}
    for kind, owners in ((Described.VIEW, t.saved_queries), (Described.TABLE, t.source_tables)):
        query = (
            select(owners.c.id, _NOTES.c.column_name, _NOTES.c.description)
            .join(owners, owners.c.id == _owner(kind))
            .where(owners.c.project_id == project_id, owners.c.deleted_at.is_(None))
            .order_by(owners.c.id, _NOTES.c.column_key)
        )
        for owner_id, column, description in await tx.execute(query):
            found.setdefault(owner_id, {})[column] = description
    return found


async def digest(tx: Transaction, project_id: int) -> str | None:
    """A digest of all descriptions that `by_owner` has; None if there are none."""
    live = (
        select(one.c.id).where(one.c.project_id == project_id, one.c.deleted_at.is_(None))
        for one in (t.saved_queries, t.source_tables)
    )
    owners = union_all(*live).subquery("owners")
    owner = func.coalesce(_NOTES.c.saved_query_id, _NOTES.c.source_table_id)
    row = func.md5(func.jsonb_build_array(owner, _NOTES.c.column_name, _NOTES.c.description).cast(Text))
    every = func.md5(func.string_agg(row, aggregate_order_by(literal(""), _NOTES.c.id)))
    return await tx.scalar(select(every).where(owner.in_(select(owners.c.id))))


def _owner(kind: Described) -> ColumnElement[Any]:
    return _NOTES.c.saved_query_id if kind is Described.VIEW else _NOTES.c.source_table_id


def _all(project_id: int, kind: Described, owner_id: UUID | None) -> Any:  # noqa: ANN401 - a SELECT, or a UNION of two
    owners = t.saved_queries if kind is Described.VIEW else t.source_tables
    mine = [owners.c.project_id == project_id, owners.c.deleted_at.is_(None)]
    if owner_id is not None:
        mine.append(owners.c.id == owner_id)
    exists = (_NOTES.c.column_key == "") | _has_column(owners)
    notes: Select[Any] = (
        select(
            *(_NOTES.c.id, owners.c.id.label("owner_id"), owners.c.name.label("owner_name"), _NOTES.c.column_key),
            *(_NOTES.c.column_name, _NOTES.c.description, exists.label("exists"), _NOTES.c.created_at),
            _NOTES.c.updated_at,
        )
        .join(owners, owners.c.id == _owner(kind))
        .where(*mine)
    )
    if kind is Described.TABLE:
        return notes
    view, empty = t.saved_queries.c, literal("", Text)
    own = select(
        *(view.id, view.id.label("owner_id"), view.name.label("owner_name"), empty.label("column_key")),
        *(empty.label("column_name"), view.description, literal(True).label("exists"), view.created_at),
        view.created_at.label("updated_at"),
    ).where(*mine, view.description.is_not(None), view.description != "")
    return union_all(own, notes)


def _has_column(owners: Table) -> ColumnElement[bool]:
    column = func.jsonb_array_elements(owners.c.columns).table_valued("value").render_derived(name="present")
    key = func.translate(column.c.value.op("->>")("name"), _UPPER, _LOWER)
    return select(literal(1)).select_from(column).where(key == _NOTES.c.column_key).exists()


def _annotation(row: Row[Any]) -> Annotation:
    return Annotation.model_validate({name: row._mapping[name] for name in Annotation.model_fields})
