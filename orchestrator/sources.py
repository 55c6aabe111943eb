"""Source tables: files that views may read under a name."""

from typing import TypeVar
from uuid import UUID, uuid4

from orchestrator.catalog import keys, names, saved_queries, source_tables
from orchestrator.catalog.database import Database, Transaction
from orchestrator.engines.base import Engine
from orchestrator.following import Following
from orchestrator.model.base import Value, now
from orchestrator.model.errors import InUse, Invalid, NotFound
from orchestrator.model.names import check_name, name_key
from orchestrator.model.principal import User
from orchestrator.model.source_table import Credential, SourceFormat, SourceTable
from orchestrator.secrets import Secrets

T = TypeVar("T")

# PostHog's limit, and the longest that a pattern may be.
_LONGEST_PATTERN = 500


class TableEdit(Value):
    """What somebody wants to change of a source table: the fields that are set."""

    name: str = ""
    format: SourceFormat = SourceFormat.PARQUET
    url_pattern: str = ""
    credential: Credential | None = None


class Sources:
    """The source tables of every project."""

    def __init__(self, database: Database, engine: Engine, secrets: Secrets) -> None:
        self._database = database
        self._engine = engine
        self._secrets = secrets

    async def add(self, project_id: int, draft: TableEdit, user: User) -> SourceTable:
        """Register files as a source table; its columns are read from them now.

        Raises InvalidName, NameTaken, Invalid for a credential that cannot be kept, or InvalidSource if no file
        matches, one cannot be read, or may not be.
        """
        check_name(draft.name, noun="table")
        _check_pattern(draft.url_pattern)
        sealed = self._sealed(draft)
        table = SourceTable(
            id=uuid4(),
            project_id=project_id,
            name=draft.name,
            format=draft.format,
            url_pattern=draft.url_pattern,
            columns=await self._engine.describe_source(draft.url_pattern, draft.format),
            created_by=user,
            created_at=now(),
        )
        async with self._database.begin() as tx:
            await keys.lock_definitions(tx, project_id)
            await source_tables.insert_new(tx, table, sealed)
            await names.claim(tx, project_id, draft.name, source_table_id=table.id)
            return _found(await source_tables.find(tx, project_id, table.id))

    async def edit(self, project_id: int, table_id: UUID, edit: TableEdit) -> SourceTable:
        """Change a source table; its columns are read anew. All or nothing.

        Raises NotFound, what `add` raises, or InUse if views know it by the name that it is to lose.
        """
        table = await self.get(project_id, table_id)
        changed = table.model_copy(update=edit.model_dump(exclude={"credential"}, exclude_unset=True))
        check_name(changed.name, noun="table")
        _check_pattern(changed.url_pattern)
        sealed = self._sealed(edit)
        columns = await self._engine.describe_source(changed.url_pattern, changed.format)
        changed = changed.model_copy(update={"columns": columns})
        async with self._database.begin() as tx:
            await keys.lock_definitions(tx, project_id)
            current = _found(await source_tables.find(tx, project_id, table_id))
            if name_key(changed.name) != name_key(current.name):
                await self._refuse_if_read(tx, table_id, "rename")
                await names.release(tx, source_table_id=table_id)
                await names.claim(tx, project_id, changed.name, source_table_id=table_id)
            await source_tables.change(tx, changed)
            if "credential" in edit.model_fields_set:
                await source_tables.set_credential(tx, table_id, sealed)
            following = Following(self._engine, [table_id] if columns != current.columns else [])
            await following.step(tx)
            after = _found(await source_tables.find(tx, project_id, table_id))
        await following.finish(self._database, project_id)
        return after

    async def refresh(self, project_id: int, table_id: UUID) -> SourceTable:
        """Read the columns from the files anew. Raises NotFound or InvalidSource."""
        return await self.edit(project_id, table_id, TableEdit())

    async def get(self, project_id: int, table_id: UUID) -> SourceTable:
        """A live source table. Raises NotFound."""
        async with self._database.begin() as tx:
            return _found(await source_tables.find(tx, project_id, table_id))

    async def page(
        self, project_id: int, *, search: str | None, limit: int, offset: int
    ) -> tuple[int, list[SourceTable]]:
        """The number of live source tables that match and one page of them, newest first."""
        async with self._database.begin() as tx:
            return await source_tables.page(tx, project_id, search=search, limit=limit, offset=offset)

    async def delete(self, project_id: int, table_id: UUID) -> None:
        """Forget a source table; its files are not touched.

        Raises NotFound, or InUse, naming the views that read it.
        """
        async with self._database.begin() as tx:
            await keys.lock_definitions(tx, project_id)
            _found(await source_tables.find(tx, project_id, table_id))
            await self._refuse_if_read(tx, table_id, "delete")
            await names.release(tx, source_table_id=table_id)
            await source_tables.mark_deleted(tx, table_id)

    def _sealed(self, edit: TableEdit) -> bytes | None:
        return None if edit.credential is None else self._secrets.seal(edit.credential.model_dump_json())

    async def _refuse_if_read(self, tx: Transaction, table_id: UUID, verb: str) -> None:
        readers = await saved_queries.dependents(tx, source_table_id=table_id)
        if readers:
            raise InUse(f"Cannot {verb} this table because views depend on it: {', '.join(readers)}.")


def _check_pattern(url_pattern: str) -> None:
    if len(url_pattern) > _LONGEST_PATTERN:
        raise Invalid(f"Ensure this field has no more than {_LONGEST_PATTERN} characters.", attr="url_pattern")


def _found(value: T | None) -> T:
    if value is None:
        raise NotFound
    return value
