"""Reading: the rows of a view, and the results of queries, as of one moment of the catalog."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from orchestrator.catalog import projects, saved_queries, snapshots
from orchestrator.catalog.database import Database, Transaction
from orchestrator.engines.base import QueryReader, ReadSession
from orchestrator.model.base import Value
from orchestrator.model.errors import EngineCrashed, Invalid, NotFound, OrchestratorError
from orchestrator.model.limits import Limits
from orchestrator.model.names import name_key, quoted
from orchestrator.model.position import moved
from orchestrator.model.reading import ReadPlan, ResultFormat, ResultStream
from orchestrator.model.run import SnapshotRelation
from orchestrator.model.saved_query import SavedQuery
from orchestrator.model.snapshot import Column, Retention, Snapshot
from orchestrator.services.read_inputs import ReadInputs
from orchestrator.services.reads import Read, ReadRegistry
from orchestrator.services.unknown_names import UnknownName, explained, known_names
from orchestrator.stores.base import SnapshotStore, StoredFile

_NO_ROWS_YET = "This view has no rows yet: its first run has not been published. See its run history."
_LINK_LASTS = timedelta(minutes=15)
_PLAIN = "This view is not materialized, so it has no rows of its own. Materialize it, or select from it in a query."


class QueryText(Value):
    """A statement that a client sends: with `values` of its parameters, and the id by which it can be cancelled.

    `written` is the statement as its client wrote it, where `sql` is a variant of that.
    """

    sql: str
    values: Mapping[str, Any] = {}
    written: str | None = None
    client_query_id: str | None = None
    large_as_text: bool = False


class RowsRequest(Value):
    """The part of a snapshot that a client wants. No `columns` are all of them; the order is the stored one."""

    format: ResultFormat
    columns: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0
    large_as_text: bool = False
    lz4: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it is all rows and columns."""
        return not self.columns and self.limit is None and not self.offset


class ViewVersion(NamedTuple):
    """A version of a view that can be read."""

    view: SavedQuery
    snapshot: Snapshot

    @property
    def data_as_of(self) -> datetime:
        """The moment for which the version is known to be right; of an older one, when it was computed."""
        current = self.view.current_snapshot
        is_current = current is not None and current.id == self.snapshot.id
        return (self.view.data_as_of if is_current else None) or self.snapshot.created_at


class OpenRead(NamedTuple):
    """A read in progress, its slot, and the limits that hold for it."""

    read: Read
    session: ReadSession
    limits: Limits
    seconds: float


class ReadService:
    """Reads for the clients of all projects. A query may take `limits` and `seconds`, or less if its project may.

    `retention` says how long the files of a version stay after it was replaced.
    """

    def __init__(
        self,
        database: Database,
        store: SnapshotStore,
        reader: QueryReader,
        *,
        limits: Limits,
        seconds: float,
        retention: Retention,
    ) -> None:
        self._database = database
        self._store = store
        self._reader = reader
        self._limits = limits
        self._seconds = seconds
        self._registry = ReadRegistry(database, retention.grace)
        self._inputs = ReadInputs(database, self._registry)

    async def close(self) -> None:
        """End the tasks of this service."""
        await self._registry.close()

    async def cancel(self, project_id: int, client_query_id: str) -> None:
        """End a query that runs, and return when it has ended. Raises NotFound if there is none of that id."""
        if not await self._registry.cancel(project_id, client_query_id):
            raise NotFound("No query of this id is running.")

    @asynccontextmanager
    async def query(
        self,
        project_id: int,
        text: QueryText,
        result_format: ResultFormat,
        *,
        default_rows: int | None = None,
        most_rows: int | None = None,
    ) -> AsyncIterator[ResultStream]:
        """The result of a SELECT over views and tables of the project, as of one moment of the catalog.

        The context ends the query. Raises InvalidQuery, the errors of a run, QueryCancelled, or TooManyRequests.
        """
        async with AsyncExitStack() as stack:
            read, session, limits, seconds = await self.open(stack, project_id, text.client_query_id)
            stack.enter_context(_placed_as_written(text))
            references = await session.references(text.sql, text.values)
            try:
                relations = await self._inputs.pin(read, references)
            except UnknownName as error:
                find = partial(session.find_name, text.sql, parameters=text.values)
                raise await explained(error, await known_names(self._database, project_id), find) from None
            plan = ReadPlan(
                sql=text.sql,
                relations=relations,
                parameters=text.values,
                format=result_format,
                limits=limits,
                timeout_seconds=seconds,
                default_rows=default_rows,
                most_rows=most_rows,
                large_as_text=text.large_as_text,
            )
            read.raise_if_cancelled()
            yield await stack.enter_async_context(session.read(plan, self._store.file_url))

    async def version(self, project_id: int, saved_query_id: UUID, snapshot_id: UUID | None) -> ViewVersion:
        """The current version of a view, or another one that is kept. Raises NotFound, which says why there is none."""
        async with self._database.begin() as tx:
            return await _version(tx, project_id, saved_query_id, snapshot_id)

    @asynccontextmanager
    async def rows(
        self, project_id: int, version: ViewVersion, wanted: RowsRequest, *, leases: bool = True
    ) -> AsyncIterator[ResultStream]:
        """The rows of a version. Raises Invalid for an unknown column, NotFound if it has just been removed.

        `leases` False: no lease keeps its files, since it is no published one.
        """
        view, snapshot = version
        relation = SnapshotRelation(
            name=view.name,
            id=view.id,
            snapshot_id=snapshot.id,
            location=snapshot.location,
            files=snapshot.files,
            columns=snapshot.columns,
        )
        is_wide = any(c.duckdb_type == "HUGEINT" and c.stored_type == "VARCHAR" for c in snapshot.columns)
        async with AsyncExitStack() as stack:
            sql = _select(view.name, snapshot, wanted)
            read, session, limits, seconds = await self.open(stack, project_id, None)
            if leases:
                await self.lease(read, [snapshot.id])
            plan = ReadPlan(
                sql=sql,
                relations=(relation,),
                format=wanted.format,
                limits=limits,
                timeout_seconds=seconds,
                large_as_text=wanted.large_as_text,
                lz4=wanted.lz4,
                wide=is_wide,
            )
            yield await stack.enter_async_context(session.read(plan, self._store.file_url))

    async def download_url(self, version: ViewVersion) -> str | None:
        """A URL at which a client reads the only file of a version without a key, for a while. None: there is none.

        The file stays for as long as one of a replaced version does.
        """
        snapshot = version.snapshot
        return await self._store.signed_url(snapshot.location, snapshot.files[0].name, _LINK_LASTS)

    @asynccontextmanager
    async def file(self, project_id: int, version: ViewVersion) -> AsyncIterator[StoredFile]:
        """The only file of a version, which holds all of its rows. Raises NotFound if it has just been removed."""
        async with self._registry.read(project_id) as read:
            await self.lease(read, [version.snapshot.id])
            async with self._store.open_file(version.snapshot.location, version.snapshot.files[0].name) as file:
                yield file

    async def open(self, stack: AsyncExitStack, project_id: int, client_query_id: str | None) -> OpenRead:
        """Begin a read that ends with the stack, with a session, and the limits of its project."""
        async with self._database.single() as tx:
            own = await projects.get_limits(tx, project_id)
        limits = own.over(self._limits)
        limits = limits.model_copy(update={"memory_mb": min(limits.memory_mb, self._limits.memory_mb)})
        seconds = min(self._seconds, own.timeout_seconds or self._seconds)
        folder = await self._store.project_folder(project_id)
        read = await stack.enter_async_context(self._registry.read(project_id, client_query_id))
        stack.push(_says_cancelled(read))
        session = await self._enter(stack, read, self._reader.session(project_id, folder, limits))
        read.stop = session.stop
        read.raise_if_cancelled()
        return OpenRead(read, session, limits, seconds)

    async def _enter(
        self, stack: AsyncExitStack, read: Read, session: AbstractAsyncContextManager[ReadSession]
    ) -> ReadSession:
        """Wait for a slot. A cancel of the read ends the wait."""
        waiting = asyncio.ensure_future(stack.enter_async_context(session))

        async def leave() -> None:
            waiting.cancel()

        read.stop = leave
        try:
            return await waiting
        except asyncio.CancelledError:
            read.raise_if_cancelled()
            raise

    async def lease(self, read: Read, snapshot_ids: Collection[UUID]) -> None:
        """Keep the files of these versions until the read ends. Raises NotFound if one was just removed."""
        async with self._database.begin() as tx:
            if not await self._registry.lease(tx, read, snapshot_ids):
                raise NotFound("This version is no longer kept.")
        self._registry.recorded(read)


def _says_cancelled(read: Read) -> Any:  # noqa: ANN401 - an exit function
    def leave(_kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, EngineCrashed):  # its process was ended on purpose
            read.raise_if_cancelled()

    return leave


@contextmanager
def _placed_as_written(text: QueryText) -> Iterator[None]:
    """Change the place of an error in the statement that is run to that in the statement that was written."""
    try:
        yield
    except OrchestratorError as error:
        if text.written is not None and error.position is not None:
            error.position = moved(error.position, text.sql, text.written)
        raise


async def _version(tx: Transaction, project_id: int, saved_query_id: UUID, snapshot_id: UUID | None) -> ViewVersion:
    view = await saved_queries.find(tx, project_id, saved_query_id)
    if view is None:
        raise NotFound
    if view.current_snapshot is None and snapshot_id is None:
        raise NotFound(_NO_ROWS_YET if view.is_materialized else _PLAIN)
    wanted = snapshot_id or (view.current_snapshot.id if view.current_snapshot else None)
    version = None if wanted is None else await snapshots.find(tx, saved_query_id, wanted)
    if version is None:
        raise NotFound("There is no such version, or it is no longer kept.")
    return ViewVersion(view, version.snapshot)


def chosen_columns(snapshot: Snapshot, wanted: RowsRequest) -> tuple[Column, ...]:
    """The columns that a client wants, in its order. Raises Invalid for one that the snapshot does not have."""
    if not wanted.columns:
        return snapshot.columns
    known = {name_key(column.name): column for column in snapshot.columns}
    unknown = next((column for column in wanted.columns if name_key(column) not in known), None)
    if unknown is not None:
        raise Invalid(f'The view has no column "{unknown}".', attr="columns")
    return tuple(known[name_key(column)] for column in wanted.columns)


def _select(name: str, snapshot: Snapshot, wanted: RowsRequest) -> str:
    """The statement that gives these rows."""
    columns = ", ".join(quoted(column.name) for column in chosen_columns(snapshot, wanted)) if wanted.columns else "*"
    limit = "" if wanted.limit is None else f" LIMIT {wanted.limit}"
    offset = f" OFFSET {wanted.offset}" if wanted.offset else ""
    return f"SELECT {columns} FROM {quoted(name)}{limit}{offset}"  # noqa: S608 - every name is quoted
