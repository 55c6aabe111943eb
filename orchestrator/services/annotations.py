"""Describing views, source tables and their columns."""

from collections.abc import Sequence
from uuid import UUID

from orchestrator.catalog import annotations, audit_log, saved_queries, source_tables
from orchestrator.catalog.database import Database, Transaction
from orchestrator.model.annotation import MOST_DESCRIBED, Annotation, Described
from orchestrator.model.audit import FieldChange, Verb
from orchestrator.model.errors import Invalid, NotFound
from orchestrator.model.names import fold
from orchestrator.model.principal import User
from orchestrator.model.saved_query import SavedQuery
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import SourceTable

_MOST_NAMED = 20


class AnnotationService:
    """The annotations of every project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, project_id: int, kind: Described, *, owner_id: UUID | None, limit: int, offset: int
    ) -> tuple[int, list[Annotation]]:
        """The number of annotations, of one view or source table if it is given, and one page of them."""
        async with self._database.begin() as tx:
            return await annotations.page(tx, project_id, kind, owner_id=owner_id, limit=limit, offset=offset)

    async def get(self, project_id: int, kind: Described, annotation_id: UUID) -> Annotation:
        """An annotation. Raises NotFound."""
        async with self._database.begin() as tx:
            return _found(await annotations.find(tx, project_id, kind, annotation_id))

    async def put(
        self, project_id: int, kind: Described, owner_id: UUID, *, column: str, description: str, user: User
    ) -> tuple[Annotation, bool]:
        """Describe a view, a source table, or a column of it; returns the annotation and whether it is new.

        Raises Invalid for an unknown view, source table or column, or if the descriptions become too long.
        """
        async with self._database.begin() as tx:
            owner = await _owner(tx, project_id, kind, owner_id)
            if isinstance(owner, SavedQuery) and not column:
                is_new = not owner.description
                await _describe_view(tx, owner, description, user)
                return _found(await annotations.find(tx, project_id, kind, owner_id)), is_new
            known = await annotations.find_of_column(tx, kind, owner_id, column)
            if known is None and column:
                _require_column(column, owner.columns, kind)
            await _require_space(tx, kind, owner_id, column, description)
            stored = await annotations.put(tx, kind, owner_id, column=column, description=description, user_id=user.id)
            await _record(tx, owner, column, description, user)
            return _found(await annotations.find(tx, project_id, kind, stored)), known is None

    async def change(
        self, project_id: int, kind: Described, annotation_id: UUID, description: str, user: User
    ) -> Annotation:
        """Replace the description of an annotation. Raises NotFound, or Invalid as `put` does."""
        async with self._database.begin() as tx:
            note = _found(await annotations.find(tx, project_id, kind, annotation_id))
            owner = await _owner(tx, project_id, kind, note.owner_id)
            if isinstance(owner, SavedQuery) and not note.column_name:
                await _describe_view(tx, owner, description, user)
            else:
                await _require_space(tx, kind, owner.id, note.column_name, description)
                await annotations.change(tx, note.id, description)
                await _record(tx, owner, note.column_name, description, user)
            return _found(await annotations.find(tx, project_id, kind, annotation_id))

    async def remove(self, project_id: int, kind: Described, annotation_id: UUID, user: User) -> None:
        """Delete an annotation. Raises NotFound."""
        async with self._database.begin() as tx:
            note = _found(await annotations.find(tx, project_id, kind, annotation_id))
            owner = await _owner(tx, project_id, kind, note.owner_id)
            if isinstance(owner, SavedQuery) and not note.column_name:
                await _describe_view(tx, owner, None, user)
            else:
                await annotations.remove(tx, note.id)
                await _record(tx, owner, note.column_name, None, user)

    async def of_view(self, saved_query_id: UUID) -> dict[str, str]:
        """The descriptions of a view's columns, by the key of the column."""
        async with self._database.begin() as tx:
            return await annotations.of_view(tx, saved_query_id)


async def _owner(tx: Transaction, project_id: int, kind: Described, owner_id: UUID) -> SavedQuery | SourceTable:
    """The view or source table. A view is locked, so that two changes of a description are recorded one by one."""
    if kind is Described.VIEW:
        view = await saved_queries.find(tx, project_id, owner_id, lock=True)
        if view is not None:
            return view
        raise Invalid(f"There is no view {owner_id} in this project.", attr="saved_query")
    table = await source_tables.find(tx, project_id, owner_id)
    if table is None:
        raise Invalid(f"There is no source table {owner_id} in this project.", attr="table")
    return table


async def _describe_view(tx: Transaction, view: SavedQuery, description: str | None, user: User) -> None:
    if description != view.description:
        await saved_queries.set_description(tx, view.id, description)
        change = FieldChange(field="description", action="changed", before=view.description, after=description)
        await audit_log.record(tx, view, Verb.UPDATED, user, [change])


async def _record(
    tx: Transaction, owner: SavedQuery | SourceTable, column: str, description: str | None, user: User
) -> None:
    """Record the change of a view's column. Source tables have no activity."""
    before = owner.column_descriptions.get(fold(column))
    if isinstance(owner, SavedQuery) and before != description:
        action = "created" if before is None else "deleted" if description is None else "changed"
        change = FieldChange(field=f"columns.{column}.description", action=action, before=before, after=description)
        await audit_log.record(tx, owner, Verb.UPDATED, user, [change])


async def _require_space(tx: Transaction, kind: Described, owner_id: UUID, column: str, description: str) -> None:
    total = await annotations.total_length(tx, kind, owner_id, besides=column) + len(description)
    if total > MOST_DESCRIBED:
        raise Invalid(
            f"With this one, the descriptions of the columns of this {kind} have {total:,} characters; "
            f"{MOST_DESCRIBED:,} are the most. Make some of them shorter.",
            attr="description",
        )


def _require_column(column: str, columns: Sequence[Column], kind: Described) -> None:
    if any(fold(one.name) == fold(column) for one in columns):
        return
    names = ", ".join(one.name for one in columns[:_MOST_NAMED])
    more = f" and {len(columns) - _MOST_NAMED:,} more" if len(columns) > _MOST_NAMED else ""
    raise Invalid(f'This {kind} has no column "{column}". Its columns are {names}{more}.', attr="column_name")


def _found(note: Annotation | None) -> Annotation:
    if note is None:
        raise NotFound
    return note
