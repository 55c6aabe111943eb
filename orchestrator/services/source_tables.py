"""Source tables: files that views may read under a name."""

from typing import NamedTuple
from uuid import UUID, uuid4

from orchestrator.catalog import names, projects, saved_queries, source_tables
from orchestrator.catalog.database import Database, Transaction
from orchestrator.engines.base import QueryAnalyzer
from orchestrator.model.base import Value, now
from orchestrator.model.column_changes import ColumnChanges
from orchestrator.model.errors import InUse, TableBusy
from orchestrator.model.file_patterns import is_remote_pattern
from orchestrator.model.names import check_name, name_key
from orchestrator.model.principal import User
from orchestrator.model.read_options import check_pattern, check_stated, format_of, options_of
from orchestrator.model.remote_files import is_same_place
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import (
    AS_USUAL,
    Credential,
    DescribedSource,
    ReadOptions,
    SourceFormat,
    SourceTable,
)
from orchestrator.services.found import found
from orchestrator.services.reader_guard import ReaderGuard
from orchestrator.services.table_credentials import TableCredentials
from orchestrator.services.view_columns import ColumnPropagation

# An edit starts again if another one changed the table while this one read the files.
_EDIT_TRIES = 3
# The fields that decide which columns are found.
_DECIDING = ("format", "url_pattern", "options", "stated")


class SourceTableUpdate(Value):
    """The changes that a client requests of a source table: the fields that are set, and of `options` those set.

    `header` says whether CSV files have a header line, and so which of the two CSV formats applies. `stated` replaces
    all columns that were stated before. `break_dependents` says that readers may stop binding.
    """

    name: str = ""
    format: SourceFormat = SourceFormat.PARQUET
    header: bool | None = None
    url_pattern: str = ""
    options: ReadOptions = AS_USUAL
    stated: tuple[Column, ...] = ()
    credential: Credential | None = None
    break_dependents: bool = False


class StoredTable(NamedTuple):
    """A table that was stored, what its files were found to hold if they were read, and how its columns changed."""

    table: SourceTable
    described: DescribedSource | None
    changes: ColumnChanges


class SourceTableService:
    """The source tables of every project."""

    def __init__(
        self, database: Database, engine: QueryAnalyzer, credentials: TableCredentials, guard: ReaderGuard
    ) -> None:
        self._database = database
        self._engine = engine
        self._guard = guard
        self._credentials = credentials

    async def add(self, project_id: int, draft: SourceTableUpdate, user: User) -> StoredTable:
        """Register files as a source table; its columns are read from them now.

        Raises InvalidName or NameTaken; Invalid for options or columns that make no sense, or for a credential that
        cannot be stored; InvalidSource if no file matches, or one cannot be read, may not be read or does not fit the
        stated columns.
        """
        blank = SourceTable(
            id=uuid4(),
            project_id=project_id,
            name=draft.name,
            format=draft.format,
            url_pattern=draft.url_pattern,
            columns=(),
            created_by=user,
            created_at=now(),
        )
        sealed = self._encrypted_credential(draft)
        table, described = await self._described(_changed(blank, draft), draft.credential)
        async with self._database.begin() as tx:
            await projects.lock_project(tx, project_id)
            await source_tables.insert_new(tx, table, sealed)
            await names.reserve_name(tx, project_id, draft.name, source_table_id=table.id)
            stored = found(await source_tables.find(tx, project_id, table.id))
        return StoredTable(stored, described, ColumnChanges())

    async def edit(self, project_id: int, table_id: UUID, edit: SourceTableUpdate) -> StoredTable:
        """Change a source table. All or nothing.

        Its columns are read again, unless only its name changes, or the credential of files on the disk. A credential
        is for a bucket: with the URL of another one, the table has none until it is given one.

        Raises NotFound, what `add` raises, InUse if views read it by the name that it would lose, ReadersBreak if views
        that read it would stop binding, or TableBusy.
        """
        return await self._edit(project_id, table_id, edit, reread=False)

    async def refresh(self, project_id: int, table_id: UUID, *, break_dependents: bool = False) -> StoredTable:
        """Read the columns from the files again.

        Raises NotFound, InvalidSource or TableBusy, and ReadersBreak unless readers may stop binding.
        """
        edit = SourceTableUpdate(break_dependents=break_dependents)
        return await self._edit(project_id, table_id, edit, reread=True)

    async def get(self, project_id: int, table_id: UUID) -> SourceTable:
        """A live source table. Raises NotFound."""
        async with self._database.begin() as tx:
            return found(await source_tables.find(tx, project_id, table_id))

    async def page(
        self, project_id: int, *, search: str | None, name: str | None = None, limit: int, offset: int
    ) -> tuple[int, list[SourceTable]]:
        """The number of live source tables that match and one page of them, newest first."""
        async with self._database.begin() as tx:
            return await source_tables.page(tx, project_id, search=search, name=name, limit=limit, offset=offset)

    async def delete(self, project_id: int, table_id: UUID) -> None:
        """Delete a source table; its files are not touched.

        Raises NotFound, or InUse, naming the views that read it.
        """
        async with self._database.begin() as tx:
            await projects.lock_project(tx, project_id)
            found(await source_tables.find(tx, project_id, table_id))
            await self._refuse_if_read(tx, table_id, "delete")
            await names.release_name(tx, source_table_id=table_id)
            await source_tables.mark_deleted(tx, table_id)

    async def _edit(self, project_id: int, table_id: UUID, edit: SourceTableUpdate, *, reread: bool) -> StoredTable:
        sealed = self._encrypted_credential(edit)
        for _ in range(_EDIT_TRIES):
            table = await self.get(project_id, table_id)
            changed, described = _changed(table, edit), None
            if reread or _may_read_otherwise(table, changed, edit):
                changed, described = await self._described(changed, await self._credential_of(table, edit))
            checked = await self._guard.of_table(table, changed, may_break=edit.break_dependents)
            async with self._database.begin() as tx:
                await projects.lock_project(tx, project_id)
                # Reading files takes a while: a change that was saved in between must not be overwritten.
                if found(await source_tables.find(tx, project_id, table_id)) != table:
                    continue
                if await checked.is_stale(tx, project_id):
                    continue
                await self._store(tx, table, changed)
                if "credential" in edit.model_fields_set:
                    await source_tables.set_credential(tx, table_id, sealed)
                propagation = ColumnPropagation(self._engine, [table_id] if changed.columns != table.columns else [])
                await propagation.step(tx)
                after = found(await source_tables.find(tx, project_id, table_id))
            await propagation.finish(self._database, project_id)
            return StoredTable(after, described, ColumnChanges.between(table.columns, after.columns))
        raise TableBusy

    async def _credential_of(self, table: SourceTable, edit: SourceTableUpdate) -> Credential | None:
        if "credential" in edit.model_fields_set:
            return edit.credential
        if "url_pattern" in edit.model_fields_set and not is_same_place(table.url_pattern, edit.url_pattern):
            return None
        return await self._credentials.of_table(table.id, table.url_pattern)

    async def _described(
        self, table: SourceTable, credential: Credential | None
    ) -> tuple[SourceTable, DescribedSource]:
        """The table with the columns that its files have now, and all that they were found to hold."""
        found = await self._engine.inspect_source(
            table.url_pattern,
            table.format,
            table.options,
            table.stated,
            credential=credential,
            project_id=table.project_id,
        )
        return table.model_copy(update={"columns": found.columns, "files": found.files}), found

    async def _store(self, tx: Transaction, before: SourceTable, after: SourceTable) -> None:
        if name_key(after.name) != name_key(before.name):
            await self._refuse_if_read(tx, before.id, "rename")
            await names.release_name(tx, source_table_id=before.id)
            await names.reserve_name(tx, before.project_id, after.name, source_table_id=before.id)
        await source_tables.change(tx, before, after)

    def _encrypted_credential(self, edit: SourceTableUpdate) -> bytes | None:
        return None if edit.credential is None else self._credentials.encrypt(edit.credential)

    async def _refuse_if_read(self, tx: Transaction, table_id: UUID, verb: str) -> None:
        readers = await saved_queries.dependents(tx, source_table_id=table_id)
        if readers:
            raise InUse(f"Cannot {verb} this table because views depend on it: {', '.join(readers)}.")


def _may_read_otherwise(table: SourceTable, changed: SourceTable, edit: SourceTableUpdate) -> bool:
    """Whether other files, or the files otherwise, may be read after an edit."""
    if "credential" in edit.model_fields_set and is_remote_pattern(changed.url_pattern):
        return True
    return any(getattr(changed, name) != getattr(table, name) for name in _DECIDING)


def _changed(table: SourceTable, edit: SourceTableUpdate) -> SourceTable:
    """The table with the edit applied, except for its columns. Raises InvalidName or Invalid."""
    plain = edit.model_dump(include={"name", "format", "url_pattern"}, exclude_unset=True)
    changed = table.model_copy(update=plain)
    check_name(changed.name, noun="table")
    check_pattern(changed.url_pattern)
    stated = edit.stated if "stated" in edit.model_fields_set else table.stated
    check_stated(stated)
    source_format = format_of(changed.format, edit.header)
    options = options_of(source_format, table.options, edit.options)
    return changed.model_copy(update={"format": source_format, "options": options, "stated": stated})
