"""The shelf: saving, finding and listing views and source tables. Nothing here runs a query or needs Temporal."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID, uuid4

from orchestrator.catalog import journal, keys, names, saved_queries, source_tables
from orchestrator.catalog.database import Database, Transaction
from orchestrator.catalog.names import Named
from orchestrator.engines.base import Engine
from orchestrator.model.base import Value, now
from orchestrator.model.errors import EditConflict, InUse, Invalid, InvalidQuery, NotFound, Transient
from orchestrator.model.journal import Change, Verb
from orchestrator.model.names import check_name, name_key
from orchestrator.model.principal import User
from orchestrator.model.query_text import check_query
from orchestrator.model.saved_query import Revision, SavedQuery
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import SourceFormat, SourceTable

T = TypeVar("T")

_TRIES = 5
# PostHog's limit, and the longest that a pattern may be.
_LONGEST_PATTERN = 500


class Draft(Value):
    """A view as somebody wants to save it. `edited_history_id` is the revision that they believe to be current."""

    name: str
    query: Any = None
    description: str | None = None
    edited_history_id: str | None = None
    soft_update: bool = False


class _Bound(Value):
    """A statement that has been held against the project as it was a moment ago."""

    query: dict[str, Any]
    columns: tuple[Column, ...]
    inputs: tuple[Named, ...]


class Library:
    """The views and source tables of every project."""

    def __init__(self, database: Database, engine: Engine) -> None:
        self._database = database
        self._engine = engine

    async def save(self, project_id: int, draft: Draft, user: User) -> tuple[SavedQuery, bool]:
        """Create a view, or update the live one of that name. The second value says whether it is new.

        All or nothing. Raises InvalidName, NameTaken, InvalidQuery, or EditConflict if the query of an existing view
        would change and `edited_history_id` is not its current revision.
        """
        check_name(draft.name)
        query = check_query(draft.query)
        for _ in range(_TRIES):
            bound = await self._bind(project_id, query)
            async with self._database.begin() as tx:
                await keys.lock_definitions(tx, project_id)
                if await self._inputs(tx, project_id, [named.name for named in bound.inputs]) != bound.inputs:
                    continue  # what it reads was changed while it was being read: look again
                view_id = await names.view_of(tx, project_id, draft.name)
                if view_id is None:
                    return await self._insert(tx, project_id, draft, bound, user), True
                view = _found(await saved_queries.find(tx, project_id, view_id, lock=True))
                return await self._update(tx, view, draft, bound, user), False
        raise Transient("The tables that this view reads keep changing. Try again in a moment.")

    async def get(self, project_id: int, saved_query_id: UUID) -> SavedQuery:
        """A live view. Raises NotFound."""
        async with self._database.begin() as tx:
            return _found(await saved_queries.find(tx, project_id, saved_query_id))

    async def page(
        self, project_id: int, *, search: str | None, limit: int, offset: int
    ) -> tuple[int, list[SavedQuery]]:
        """The number of live views that match and one page of them, newest first."""
        async with self._database.begin() as tx:
            return await saved_queries.page(tx, project_id, search=search, limit=limit, offset=offset)

    async def add_table(
        self, project_id: int, *, name: str, source_format: SourceFormat, url_pattern: str, user: User
    ) -> SourceTable:
        """Register files as a source table; its columns are read from them now.

        Raises InvalidName, NameTaken, or InvalidSource if no file matches, one cannot be read, or may not be.
        """
        check_name(name, noun="table")
        if len(url_pattern) > _LONGEST_PATTERN:
            raise Invalid(f"Ensure this field has no more than {_LONGEST_PATTERN} characters.", attr="url_pattern")
        columns = await self._engine.describe_source(url_pattern, source_format)
        table = SourceTable(
            id=uuid4(),
            project_id=project_id,
            name=name,
            format=source_format,
            url_pattern=url_pattern,
            columns=columns,
            created_by=user,
            created_at=now(),
        )
        async with self._database.begin() as tx:
            await keys.lock_definitions(tx, project_id)
            await source_tables.insert_new(tx, table)
            await names.claim(tx, project_id, name, source_table_id=table.id)
            return _found(await source_tables.find(tx, project_id, table.id))

    async def get_table(self, project_id: int, table_id: UUID) -> SourceTable:
        """A live source table. Raises NotFound."""
        async with self._database.begin() as tx:
            return _found(await source_tables.find(tx, project_id, table_id))

    async def tables(
        self, project_id: int, *, search: str | None, limit: int, offset: int
    ) -> tuple[int, list[SourceTable]]:
        """The number of live source tables that match and one page of them, newest first."""
        async with self._database.begin() as tx:
            return await source_tables.page(tx, project_id, search=search, limit=limit, offset=offset)

    async def delete_table(self, project_id: int, table_id: UUID) -> None:
        """Forget a source table; its files are not touched. Raises InUse, naming the views that read it."""
        async with self._database.begin() as tx:
            await keys.lock_definitions(tx, project_id)
            _found(await source_tables.find(tx, project_id, table_id))
            dependents = await saved_queries.dependents_of_table(tx, table_id)
            if dependents:
                listed = ", ".join(dependents)
                raise InUse(f"Cannot delete this table because views depend on it: {listed}.")
            await names.release(tx, source_table_id=table_id)
            await source_tables.mark_deleted(tx, table_id)

    async def _bind(self, project_id: int, query: dict[str, Any]) -> _Bound:
        sql = query["query"]
        references = await self._engine.references(sql)
        async with self._database.begin() as tx:
            inputs = await self._inputs(tx, project_id, references)
        columns = await self._engine.describe(sql, {named.name: named.columns for named in inputs})
        return _Bound(query=query, columns=columns, inputs=inputs)

    async def _inputs(self, tx: Transaction, project_id: int, references: Sequence[str]) -> tuple[Named, ...]:
        """What the names in a statement stand for, each once. Raises InvalidQuery for a name that nobody has."""
        known: Mapping[str, Named] = await names.resolve(tx, project_id, references)
        found: dict[str, Named] = {}
        for reference in references:
            key = name_key(reference)
            if key not in known:
                raise InvalidQuery(
                    f"Invalid query: Catalog Error: Table with name {reference} does not exist!", attr="query"
                )
            found[key] = known[key]
        return tuple(found.values())

    async def _insert(self, tx: Transaction, project_id: int, draft: Draft, bound: _Bound, user: User) -> SavedQuery:
        view = SavedQuery(
            id=uuid4(),
            project_id=project_id,
            name=draft.name,
            description=draft.description,
            revision=Revision(id=uuid4(), number=1, query=bound.query),
            columns=bound.columns,
            sync_frequency=None,
            sync_frequency_set_at=now(),
            created_by=user,
            created_at=now(),
        )
        await saved_queries.insert_new(tx, view, bound.inputs)
        await names.claim(tx, project_id, draft.name, saved_query_id=view.id)
        created = Change(field="query", action="created", after=bound.query)
        await _note(tx, view, Verb.CREATED, user, [created])
        return _found(await saved_queries.find(tx, project_id, view.id))

    async def _update(self, tx: Transaction, view: SavedQuery, draft: Draft, bound: _Bound, user: User) -> SavedQuery:
        changes = []
        if bound.query["query"] != view.revision.sql:
            _check_token(draft, view)
            await _refuse_cycle(tx, view, bound.inputs)
            await saved_queries.revise(
                tx, view, query=bound.query, columns=bound.columns, inputs=bound.inputs, by=user.id
            )
            changes.append(Change(field="query", action="changed", before=view.revision.query, after=bound.query))
        elif bound.query != view.revision.query:
            await saved_queries.respell(tx, view.revision.id, bound.query)
        if "description" in draft.model_fields_set and draft.description != view.description:
            await saved_queries.describe(tx, view.id, draft.description)
            changes.append(
                Change(field="description", action="changed", before=view.description, after=draft.description)
            )
        if changes:
            await _note(tx, view, Verb.UPDATED, user, changes)
        return _found(await saved_queries.find(tx, view.project_id, view.id))


def _check_token(draft: Draft, view: SavedQuery) -> None:
    """Let a query change only if its author has seen the current one. How a UUID is spelled does not matter."""
    if draft.soft_update:
        return
    try:
        seen = UUID(draft.edited_history_id or "")
    except ValueError:
        seen = None
    if seen != view.revision.id:
        raise EditConflict(attr="edited_history_id")


async def _refuse_cycle(tx: Transaction, view: SavedQuery, inputs: Sequence[Named]) -> None:
    start = [named.saved_query_id for named in inputs if named.saved_query_id is not None]
    path = await saved_queries.path_between(tx, start, view.id) if start else None
    if path is not None:
        raise InvalidQuery(f"Model contains a cycle: {' -> '.join([view.name, *path])}", attr="query")


async def _note(tx: Transaction, view: SavedQuery, verb: Verb, user: User, changes: Sequence[Change] = ()) -> None:
    await journal.append(
        tx,
        project_id=view.project_id,
        item_id=view.id,
        name=view.name,
        verb=verb,
        user_id=user.id,
        changes=changes,
    )


def _found(value: T | None) -> T:
    if value is None:
        raise NotFound
    return value
