"""Reads databases: checks the address of each, and works in threads that a cancel ends."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar
from uuid import UUID

from orchestrator.model.column_limits import too_wide
from orchestrator.model.database_tables import CopiedRows, CopyOrder, DatabaseTable
from orchestrator.model.errors import OrchestratorError, QueryTimedOut, SourceUnavailable
from orchestrator.model.names import fold
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import SourceFormat
from orchestrator.remote_sources.addresses import Addresses, refusal
from orchestrator.remote_sources.databases.copying import Copying
from orchestrator.remote_sources.databases.locations import AllowedServers, TableLocation, parse_table
from orchestrator.remote_sources.databases.mysql import MySqlSession
from orchestrator.remote_sources.databases.postgres import PostgresSession
from orchestrator.remote_sources.databases.sessions import Session, Target

T = TypeVar("T")
# Connections that one process has at a time.
_MOST_COPIES, _MOST_DESCRIPTIONS = 4, 4
_DESCRIBE_SECONDS = 20.0
# A server ends its statement a little later than this process does, which knows why.
_MARGIN_SECONDS = 10.0
# A connection that hangs is given up by the kernel after half a minute.
_STOP_SECONDS = 5.0
_LONGEST_NAME = 1_000

Open = Callable[[Target, float, Sequence[TableLocation]], Session]
_SESSIONS: dict[SourceFormat, Open] = {SourceFormat.POSTGRESQL: PostgresSession, SourceFormat.MYSQL: MySqlSession}


class Databases:
    """The databases on the servers that the operator allows. A copy has `most_mb` MiB at most. A DatabaseServers."""

    def __init__(self, allowed: Sequence[str], most_mb: int) -> None:
        self._allowed = AllowedServers(allowed)
        self._addresses = Addresses(self._allowed.servers)
        self._most_mb = most_mb
        self._turns = asyncio.Semaphore(_MOST_COPIES)
        self._threads = ThreadPoolExecutor(_MOST_COPIES + _MOST_DESCRIPTIONS, "databases")

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def describe(self, table: DatabaseTable) -> tuple[Column, ...]:
        """See DatabaseServers."""
        location = parse_table(table.url, table.format)
        target = await self._target(location, table)

        def described() -> tuple[Column, ...]:
            session = _SESSIONS[location.format](target, _DESCRIBE_SECONDS, ())
            try:
                found = session.columns(location)
            finally:
                session.close()
            return tuple(Column(name=one.name, duckdb_type=one.duckdb_type) for one in found)

        try:
            async with asyncio.timeout(_DESCRIBE_SECONDS):
                columns = await self._in_thread(described)
        except TimeoutError:
            raise SourceUnavailable(f"{location.shown} could not be described in time.") from None
        _check(columns, location)
        return columns

    async def copy(
        self, orders: Mapping[UUID, CopyOrder], seconds: float
    ) -> Mapping[UUID, CopiedRows | OrchestratorError]:
        """See DatabaseServers."""
        table = next(iter(orders.values())).table
        location = parse_table(table.url, table.format)
        target = await self._target(location, table)
        tables = [parse_table(one.table.url, one.table.format) for one in orders.values()]
        copying = Copying(orders, self._most_mb)

        def copied() -> dict[UUID, CopiedRows | OrchestratorError]:
            session = _SESSIONS[location.format](target, seconds + _MARGIN_SECONDS, tables)
            try:
                copying.use(session)
                return copying.copy_all()
            finally:
                session.close()

        async with self._turns:
            try:
                async with asyncio.timeout(seconds):
                    return await self._in_thread(copied, copying.stop)
            except TimeoutError:
                raise QueryTimedOut(
                    f"The tables of {location.database} at {location.server.host} could not be copied within "
                    f"{seconds:g} seconds."
                ) from None

    async def _target(self, location: TableLocation, table: DatabaseTable) -> Target:
        tls = self._allowed.tls_of(location.server)
        if table.credential is None:
            raise refusal(
                "A table of a database needs a credential: the user as its access_key, the password as access_secret."
            )
        addresses = await self._addresses.resolve(location.server)
        return Target(location.server, addresses, location.database, table.credential, tls)

    async def _in_thread(self, work: Callable[[], T], stop: Callable[[], None] = lambda: None) -> T:
        """Do the work in a thread. A cancel stops it, and waits for its end for a while."""
        working = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            with suppress(TimeoutError, OrchestratorError, OSError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await asyncio.to_thread(stop)
                    await asyncio.shield(working)
            working.add_done_callback(lambda done: done.cancelled() or done.exception())
            working.cancel()  # one that has not begun
            raise


def _check(columns: Sequence[Column], table: TableLocation) -> None:
    """Raise InvalidSource for columns that no source table can have."""
    seen: set[str] = set()
    for column in columns:
        if len(column.name) > _LONGEST_NAME:
            raise refusal(f"{table.shown} has a column whose name is longer than {_LONGEST_NAME:,} characters.")
        if fold(column.name) in seen:
            raise refusal(f'{table.shown} has two columns "{column.name}", which differ in small and capital letters.')
        seen.add(fold(column.name))
    excess = too_wide([(column.name, column.duckdb_type) for column in columns])
    if excess:
        raise refusal(f"{table.shown} cannot be a table: {excess}")
