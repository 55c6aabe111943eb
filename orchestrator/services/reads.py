"""The reads in progress of this process: their leases are renewed, and they end when a client cancels them.

The reconciler keeps the files of a version for a while after it was replaced. So a read of current versions takes its
lease only once it has lasted for some seconds: a lease costs more than most queries. A lease outlives its read only if
the process is killed, and then by LEASE_SECONDS at most.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

from orchestrator.catalog import reads
from orchestrator.catalog.database import Database, Transaction
from orchestrator.model.errors import QueryCancelled, StillStopping, Transient

logger = logging.getLogger(__name__)

LEASE_SECONDS = 120.0
_RENEW_SECONDS = 30.0
# How long a read of current versions goes without a lease, and the grace period that allows it.
_UNLEASED_SECONDS = 10.0
_ENOUGH_GRACE = timedelta(seconds=60)
# How often a cancel by another API process is looked for, and how long a cancel waits for that process.
_POLL_SECONDS = 0.25
_MOST_POLLS = 20


@dataclass(eq=False)
class Read:
    """A read in progress. `stop` ends it, also while it waits for a slot; `ended` is set when it has."""

    project_id: int
    client_query_id: str | None
    id: UUID = field(default_factory=uuid4)
    stop: Callable[[], Awaitable[None]] | None = None
    snapshot_ids: frozenset[UUID] = frozenset()
    began: float = field(default_factory=time.monotonic)
    is_recorded: bool = False
    may_be_recorded: bool = False
    is_cancelled: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def raise_if_cancelled(self) -> None:
        """Raise QueryCancelled if the client has cancelled the read."""
        if self.is_cancelled:
            raise QueryCancelled


class ReadRegistry:
    """Records reads in the catalog for as long as they last."""

    def __init__(self, database: Database, grace: timedelta) -> None:
        self._database = database
        self._may_wait = grace >= _ENOUGH_GRACE
        self._reads: set[Read] = set()
        self._keeper: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def read(self, project_id: int, client_query_id: str | None = None) -> AsyncIterator[Read]:
        """A new read, which ends with the context."""
        read = Read(project_id, client_query_id)
        self._reads.add(read)
        try:
            yield read
        finally:
            self._reads.discard(read)
            try:
                if read.may_be_recorded:
                    await asyncio.shield(self._end(read))
            finally:
                read.ended.set()

    def can_wait(self, read: Read) -> bool:
        """Whether the read needs no record yet if all that it reads is current."""
        return self._may_wait and read.client_query_id is None

    def defer(self, read: Read, snapshot_ids: Collection[UUID]) -> None:
        """Take the lease of these current snapshots later, if the read lasts."""
        read.snapshot_ids = frozenset(snapshot_ids)
        self._start_keeper()

    async def lease(self, tx: Transaction, read: Read, snapshot_ids: Collection[UUID]) -> bool:
        """Record the read and keep the files of these snapshots. False if one of them was just removed.

        The caller says `recorded` once the transaction is committed.
        """
        lasts = timedelta(seconds=LEASE_SECONDS)
        query_id = read.client_query_id
        read.may_be_recorded = True  # also if this is cancelled while the transaction is being committed
        return await reads.begin(tx, read.id, read.project_id, snapshot_ids, client_query_id=query_id, lasts=lasts)

    def recorded(self, read: Read) -> None:
        """Renew the lease of the read from now on."""
        read.is_recorded = True
        self._start_keeper()

    async def cancel(self, project_id: int, client_query_id: str) -> bool:
        """End the reads that the client began under this id, in any process; False if there are none.

        Returns when they have ended. Raises StillStopping if one of another process takes too long.
        """
        mine = [
            read for read in self._reads if (read.project_id, read.client_query_id) == (project_id, client_query_id)
        ]
        for read in mine:
            await _stop(read)
            await read.ended.wait()
        async with self._database.single() as tx:
            elsewhere = await reads.cancel(tx, project_id, client_query_id) - {read.id for read in mine}
        for _ in range(_MOST_POLLS if elsewhere else 0):
            await asyncio.sleep(_POLL_SECONDS)
            async with self._database.single() as tx:
                if not await reads.existing(tx, elsewhere):
                    return True
        if elsewhere:
            raise StillStopping
        return bool(mine)

    async def close(self) -> None:
        """End the task that renews the leases."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper

    def _start_keeper(self) -> None:
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        """Take leases that are due, renew others and look for cancels of other processes, until there is no read."""
        renewed = time.monotonic()
        while self._reads:
            await asyncio.sleep(_POLL_SECONDS)
            is_due = time.monotonic() - renewed >= _RENEW_SECONDS
            try:
                await self._take_deferred()
                await self._look(renew=is_due)
            except Transient as error:
                logger.warning("leases of reads are not renewed: %s", error.message)
                continue
            except Exception:
                logger.exception("leases of reads are not renewed")
                continue
            renewed = time.monotonic() if is_due else renewed

    async def _take_deferred(self) -> None:
        due = time.monotonic() - _UNLEASED_SECONDS
        for read in [one for one in self._reads if not one.is_recorded and one.snapshot_ids and one.began < due]:
            async with self._database.begin() as tx:
                is_leased = await self.lease(tx, read, read.snapshot_ids)
            if not is_leased:
                logger.warning("a version that is being read was removed before its lease was taken")
                read.snapshot_ids = frozenset()
            elif read in self._reads:
                self.recorded(read)
            else:  # it has ended in between
                await self._end(read)

    async def _look(self, *, renew: bool) -> None:
        wanted = {read.id: read for read in self._reads if read.is_recorded and (renew or read.client_query_id)}
        if not wanted:
            return
        async with self._database.single() as tx:
            lasts = timedelta(seconds=LEASE_SECONDS)
            ending = await (reads.renew(tx, wanted, lasts) if renew else reads.cancelled(tx, wanted))
        for read_id in ending:
            await _stop(wanted[read_id])

    async def _end(self, read: Read) -> None:
        try:
            async with self._database.single() as tx:
                await reads.end(tx, read.id)
        except Transient as error:
            logger.warning("the lease of a read ends by itself: %s", error.message)


async def _stop(read: Read) -> None:
    read.is_cancelled = True
    if read.stop is not None:
        await read.stop()
