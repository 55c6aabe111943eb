"""Reads the catalog in PostgreSQL directly, one statement at a time, so that each result is of one moment."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

Row = dict[str, Any]
_PATIENCE = 10.0


class Unavailable(Exception):
    """A server does not answer, which is expected while faults are injected."""


@dataclass(frozen=True)
class Pointer:
    """The row of a current snapshot, and the state of the run that made it at the same moment."""

    snapshot: Row
    run_status: str
    run_snapshot_id: str | None


class Catalog:
    """One connection to the catalog, reopened whenever it was lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.AsyncConnection[Row] | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                await self._connection.close()
            self._connection = None

    async def rows(self, statement: str, *values: object) -> list[Row]:
        """The rows that a statement returns. Raises Unavailable."""
        async with self._lock:
            try:
                async with asyncio.timeout(_PATIENCE):
                    connection = await self._connected()
                    return await (await connection.execute(statement.encode(), values)).fetchall()
            except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError) as error:
                await self.close()
                raise Unavailable from error
            except asyncio.CancelledError:
                await self.close()
                raise

    @asynccontextmanager
    async def row_locked(self, view_id: str) -> AsyncIterator[int]:
        """Lock a view's row so that publishing and rolling back wait, and beginning a run does not. Raises Unavailable.

        Yields the id of the PostgreSQL backend that holds the lock, for `waiting`.
        """
        try:
            async with await psycopg.AsyncConnection.connect(self._url, connect_timeout=5) as connection:
                lock = "SELECT 1 FROM saved_queries WHERE id = %s FOR SHARE"
                await connection.execute(lock, [view_id])
                yield connection.info.backend_pid
                await connection.rollback()
        except psycopg.OperationalError as error:
            raise Unavailable from error

    async def waiting(self, holder: int, count: int, seconds: float) -> bool:
        """Whether `count` backends wait for `holder`, or for one another, within `seconds`. Raises Unavailable."""
        statement = (
            "WITH RECURSIVE waiting AS (SELECT pid FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid)) UNION "
            "SELECT a.pid FROM pg_stat_activity a JOIN waiting w ON w.pid = ANY(pg_blocking_pids(a.pid))) "
            "SELECT count(*) AS number FROM waiting"
        )
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            (row,) = await self.rows(statement, holder)
            if row["number"] >= count:
                return True
            await asyncio.sleep(0.1)
        return False

    async def running(self, view_id: str) -> set[str]:
        """The ids of a view's runs whose status is Running. Raises Unavailable."""
        found = await self.rows("SELECT id FROM runs WHERE saved_query_id = %s AND status = 'Running'", view_id)
        return {str(row["id"]) for row in found}

    async def runs(self, run_ids: Sequence[str]) -> dict[str, Row]:
        """The rows of some runs, by id. Raises Unavailable."""
        found = await self.rows("SELECT * FROM runs WHERE id = ANY(%s::uuid[])", list(run_ids))
        return {str(row["id"]): row for row in found}

    async def now(self) -> datetime:
        """The time of PostgreSQL's clock. Raises Unavailable."""
        (row,) = await self.rows("SELECT clock_timestamp() AS at")
        found: datetime = row["at"]
        return found

    async def pointer(self, view_id: str) -> Pointer | None:
        """The current snapshot of a view, or None. Raises Unavailable."""
        found = await self.rows(
            "SELECT s.*, r.status AS run_status, r.snapshot_id AS run_snapshot_id FROM saved_queries v "
            "JOIN snapshots s ON s.id = v.current_snapshot_id JOIN runs r ON r.id = s.run_id WHERE v.id = %s",
            view_id,
        )
        if not found:
            return None
        row = found[0]
        run_snapshot_id = row.pop("run_snapshot_id")
        return Pointer(row, row.pop("run_status"), None if run_snapshot_id is None else str(run_snapshot_id))

    async def _connected(self) -> psycopg.AsyncConnection[Row]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, row_factory=dict_row, connect_timeout=5
            )
        return self._connection
