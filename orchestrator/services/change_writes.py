"""Writes a planned change into the catalog, in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from orchestrator.catalog import (
    annotations,
    audit_log,
    definition_writes,
    definitions,
    names,
    projects,
    runs,
    saved_queries,
    source_tables,
    view_columns,
)
from orchestrator.catalog.audit_log import CreatedView
from orchestrator.catalog.database import Database, Transaction
from orchestrator.catalog.definition_writes import Input, NewView
from orchestrator.catalog.names import NameTarget
from orchestrator.model.annotation import Described
from orchestrator.model.audit import FieldChange, Verb, broken_readers
from orchestrator.model.base import now
from orchestrator.model.check import Subject
from orchestrator.model.check_definition import Target
from orchestrator.model.definitions import TableDefinition, ViewDefinition
from orchestrator.model.engine import with_text
from orchestrator.model.names import name_key
from orchestrator.model.principal import User
from orchestrator.model.run import Run
from orchestrator.model.saved_query import SavedQuery
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import SourceTable
from orchestrator.services.change_plans import Prepared
from orchestrator.services.check_writes import CheckWrites
from orchestrator.services.definitions import DELETED_MESSAGE
from orchestrator.services.materialization import REVERTED_MESSAGE
from orchestrator.services.timings import record_timing, resumes, timing_changes

_CONTRACT = ("name", "format", "url_pattern", "options", "stated")
_LABELS = ("name", "description", "freshness", "max_staleness")


@dataclass
class Written:
    """The consequences of a change: views whose schedule may differ now, or whose query was edited, and ended runs.

    `resumed` are views whose new timing lifts a pause of their schedule. `paths` are the names whose path in the store
    may lead elsewhere now.
    """

    scheduled: set[UUID] = field(default_factory=set)
    resumed: set[UUID] = field(default_factory=set)
    edited: set[UUID] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)
    ended: list[Run] = field(default_factory=list)


@dataclass(frozen=True)
class ChangeWriter:
    """Writes changes of any project."""

    database: Database

    async def write(self, project_id: int, prepared: Prepared, user: User) -> Written | None:
        """Write a change that was prepared. None, with nothing written, if the definitions have changed since."""
        async with self.database.begin() as tx:
            await projects.lock_project(tx, project_id)
            if await definitions.base(tx, project_id) != prepared.plan.base:
                return None
            writing = _Writing(tx, project_id, prepared, user)
            await writing.delete()
            await writing.save_tables()
            await writing.save_views()
            await writing.save_checks()
            return writing.written


class _Writing:
    """One change, while it is written."""

    def __init__(self, tx: Transaction, project_id: int, prepared: Prepared, user: User) -> None:
        self.written = Written()
        self._tx = tx
        self._project_id = project_id
        self._columns = prepared.columns
        self._translated = prepared.translated
        self._files = prepared.tables
        self._proposal = prepared.proposal
        self._stored = prepared.proposal.stored
        self._found = prepared.proposal.differences
        self._broken = {name_key(one.name): one.name for one in prepared.plan.broken}
        self._user = user
        self._view_ids = {key: one.id for key, one in self._stored.views.items()}
        self._table_ids = {key: one.id for key, one in self._stored.tables.items()}
        self._checks = CheckWrites(prepared, self._check_target)

    async def delete(self) -> None:
        """Delete the views and tables that go, and free their names."""
        for key in sorted(self._found.deleted_views):
            view = await self._locked(self._view_ids.pop(key))
            await names.release_name(self._tx, saved_query_id=view.id)
            await saved_queries.mark_deleted(self._tx, view.id)
            await audit_log.record(self._tx, view, Verb.DELETED, self._user, self._breaks(key))
            self.written.ended += await runs.cancel_running(self._tx, view.id, DELETED_MESSAGE, "deleted")
            if view.is_materialized:
                self.written.scheduled.add(view.id)
                self.written.paths.add(view.name)
        for key in sorted(self._found.deleted_tables):
            table_id = self._table_ids.pop(key)
            await names.release_name(self._tx, source_table_id=table_id)
            await source_tables.mark_deleted(self._tx, table_id)

    async def save_tables(self) -> None:
        """Create and change source tables."""
        for key, definition in self._found.tables.items():
            if key in self._table_ids:
                found = await source_tables.find(self._tx, self._project_id, self._table_ids[key])
                before = found or self._blank(definition)
                await source_tables.change(self._tx, before, self._table(key, before))
                await self._describe_table(key)
                continue
            table = self._table(key, self._blank(definition))
            self._table_ids[key] = table.id
            await source_tables.insert_new(self._tx, table, None)
            await names.reserve_name(self._tx, self._project_id, definition.name, source_table_id=table.id)
            await self._describe_table(key)

    async def save_views(self) -> None:
        """Create and change views, and store the columns of others that have changed with them."""
        new = {key: one for key, one in self._found.views.items() if key not in self._view_ids}
        self._view_ids |= {key: uuid4() for key in new}
        await self._create(new)
        for key, definition in self._found.views.items():
            if key not in new:
                await self._change(key, definition)
        for key in self._columns.keys() - new.keys() - set(self._found.queries):
            await view_columns.set_columns(self._tx, self._view_ids[key], self._columns[key])
        await self._repoint()

    async def save_checks(self) -> None:
        """Write the checks of the views and source tables that were saved."""
        for key in self._found.tables:
            self._checks.collect(key)
        await self._checks.write(self._tx, self._project_id, self._user.id)

    async def _create(self, new: Mapping[str, ViewDefinition]) -> None:
        views = [
            NewView(self._view_ids[key], uuid4(), one, self._columns_of(key), self._translated.get(key))
            for key, one in new.items()
        ]
        await definition_writes.insert_views(self._tx, self._project_id, views, self._user.id)
        inputs = {self._view_ids[key]: [self._input(read) for read in self._proposal.reads[key]] for key in new}
        await definition_writes.insert_inputs(self._tx, inputs)
        for key, one in new.items():
            await self._describe(Described.VIEW, self._view_ids[key], {}, one.column_descriptions)
        created = [CreatedView(self._view_ids[key], one.name, one.query) for key, one in new.items()]
        await audit_log.record_created(self._tx, self._project_id, created, self._user)
        timed = {self._view_ids[key]: one for key, one in new.items() if one.is_materialized}
        materialized = {view_id: one.name for view_id, one in timed.items()}
        changes = {view_id: timing_changes(None, one.timing) for view_id, one in timed.items()}
        verb = Verb.MATERIALIZATION_ENABLED
        await audit_log.record_all(self._tx, self._project_id, materialized, verb, self._user, changes=changes)
        self.written.scheduled.update(materialized)
        checks = {self._view_ids[key]: self._checks.collect(key) for key in new}
        checked = {self._view_ids[key]: one.name for key, one in new.items() if checks[self._view_ids[key]]}
        await audit_log.record_all(self._tx, self._project_id, checked, Verb.UPDATED, self._user, changes=checks)

    async def _change(self, key: str, definition: ViewDefinition) -> None:
        view, fields = await self._locked(self._view_ids[key]), self._found.view_fields[key]
        changes = [
            FieldChange(field=one, action="changed", before=getattr(view, one), after=getattr(definition, one))
            for one in _LABELS
            if one in fields
        ]
        if "name" in fields:
            await saved_queries.rename(self._tx, view.id, definition.name)
            self.written.paths |= {view.name, definition.name}
            self.written.scheduled.add(view.id)
        if "description" in fields:
            await saved_queries.set_description(self._tx, view.id, definition.description)
        if "query" in fields:
            inputs = [self._target(read) for read in self._proposal.reads[key]]
            query = with_text(view.revision.query, definition.query)
            await saved_queries.add_revision(
                self._tx,
                view,
                query=query,
                columns=self._columns_of(key),
                inputs=inputs,
                by=self._user.id,
                translated=self._translated.get(key),
            )
            changes.append(FieldChange(field="query", action="changed", before=view.revision.query, after=query))
            self.written.edited |= {view.id} if view.is_materialized else set()
        before = self._stored.views[key].definition.column_descriptions
        await self._describe(Described.VIEW, view.id, before, definition.column_descriptions)
        if "column_descriptions" in fields:
            after = dict(definition.column_descriptions)
            changes.append(FieldChange(field="column_descriptions", action="changed", before=dict(before), after=after))
        changes += self._checks.collect(key)
        if "query" in fields:
            changes += self._breaks(key)
        if changes:
            await audit_log.record(self._tx, view, Verb.UPDATED, self._user, changes)
        if "timing" in fields:
            await self._set_timing(view, definition)
        if {"freshness", "max_staleness", "timing"} & {*fields}:
            await saved_queries.set_freshness(self._tx, view.id, definition.freshness, definition.max_staleness)

    async def _repoint(self) -> None:
        """Have unchanged views read what has a name now, where a view has taken that of a table, or the reverse."""
        moved = self._found.deleted_views & self._found.tables.keys()
        moved |= self._found.deleted_tables & self._found.views.keys()
        for key, view in self._stored.views.items():
            if moved & set(view.reads) and key in self._view_ids and key not in self._found.queries:
                await saved_queries.replace_inputs(self._tx, view.id, [self._target(read) for read in view.reads])

    async def _set_timing(self, view: SavedQuery, definition: ViewDefinition) -> None:
        if definition.timing is None:
            await saved_queries.revert(self._tx, view.id)
            self.written.ended += await runs.cancel_running(self._tx, view.id, REVERTED_MESSAGE, "reverted")
            self.written.paths.add(view.name)
        else:
            await saved_queries.set_timing(self._tx, view.id, definition.timing)
        self.written.scheduled.add(view.id)
        if resumes(view.timing, definition.timing):
            self.written.resumed.add(view.id)
        await record_timing(self._tx, view, definition.timing, self._user)

    async def _describe_table(self, key: str) -> None:
        """Store the descriptions of a source table, and of its columns."""
        stored, definition = self._stored.tables.get(key), self._found.tables[key]
        before = _with_own(stored.definition) if stored else {}
        await self._describe(Described.TABLE, self._table_ids[key], before, _with_own(definition))

    async def _describe(
        self, kind: Described, owner_id: UUID, before: Mapping[str, str], after: Mapping[str, str]
    ) -> None:
        old, new = ({name_key(name): (name, text) for name, text in some.items()} for some in (before, after))
        for key in old.keys() - new.keys():
            note = await annotations.find_of_column(self._tx, kind, owner_id, old[key][0])
            if note is not None:
                await annotations.remove(self._tx, note)
        for key, (name, text) in new.items():
            if old.get(key, ("", None))[1] != text:
                await annotations.put(self._tx, kind, owner_id, column=name, description=text, user_id=self._user.id)

    def _breaks(self, key: str) -> list[FieldChange]:
        """The views that read this one, directly or not, and that the change breaks, as the activity shows them."""
        below = self._proposal.graph.below([key]) if self._broken else set()
        return broken_readers(name for reader, name in self._broken.items() if reader in below)

    async def _locked(self, view_id: UUID) -> SavedQuery:
        view = await saved_queries.find(self._tx, self._project_id, view_id, lock=True)
        if view is None:  # under the project's lock, no other transaction deletes it
            raise RuntimeError(f"view {view_id} is gone")
        return view

    def _columns_of(self, key: str) -> tuple[Column, ...]:
        if key in self._columns:
            return self._columns[key]
        stored = self._stored.views.get(key)
        return stored.columns if stored else ()

    def _input(self, key: str) -> Input:
        return Input(self._view_ids.get(key), None if key in self._view_ids else self._table_ids[key])

    def _target(self, key: str) -> NameTarget:
        one = self._input(key)
        return NameTarget(name=key, saved_query_id=one.view_id, source_table_id=one.table_id, columns=())

    def _check_target(self, key: str) -> Target:
        one = self._input(key)
        return Target(Subject.TABLE, self._table_ids[key]) if one.view_id is None else Target(Subject.VIEW, one.view_id)

    def _table(self, key: str, before: SourceTable) -> SourceTable:
        """A source table as it is to be: its files as they were found to be, unless it is only renamed."""
        definition = self._found.tables[key]
        changed = before.model_copy(update={name: getattr(definition, name) for name in _CONTRACT})
        found = self._files.get(key)
        if found is None:
            return changed
        return changed.model_copy(update={"columns": found.columns, "files": found.files})

    def _blank(self, definition: TableDefinition) -> SourceTable:
        return SourceTable(
            id=uuid4(),
            project_id=self._project_id,
            name=definition.name,
            format=definition.format,
            url_pattern=definition.url_pattern,
            columns=(),
            created_by=self._user,
            created_at=now(),
        )


def _with_own(table: TableDefinition) -> dict[str, str]:
    """The descriptions of a source table's columns, and its own under an empty name."""
    own = {"": table.description} if table.description else {}
    return {**own, **table.column_descriptions}
