"""The checks of source tables in a generation: each table is checked once, before members that read it are written."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

from temporalio import workflow

Check = Callable[[UUID], Awaitable[None]]


class TableChecks:
    """The checks of the tables of one generation. `check` makes those of a table, and raises if one keeps it back."""

    def __init__(self, check: Check) -> None:
        """No table has been checked."""
        self._check = check
        self._tasks: dict[UUID, asyncio.Future[None]] = {}
        self._forgotten: list[asyncio.Future[None]] = []

    async def require(self, tables: Iterable[UUID]) -> None:
        """Return when these tables have been checked. Raises what one of them raised."""
        tables = list(tables)
        # A check that is forgotten before it has ended says nothing of the files that are pinned now.
        while pending := [one for one in map(self._begun, tables) if not (one.done() and one.exception() is None)]:
            # Shielded: another member may wait for it, too.
            await asyncio.shield(pending[0])

    def _begun(self, table: UUID) -> asyncio.Future[None]:
        if table not in self._tasks:
            self._tasks[table] = asyncio.ensure_future(self._check(table))
        return self._tasks[table]

    def forget(self) -> None:
        """Have every table checked again, once the old pin of one is gone: a check may read other tables than its own.

        A check that begins before that looks at the old pin.
        """
        self._forgotten += self._tasks.values()
        self._tasks.clear()

    async def wait(self) -> None:
        """Cancel the checks that are in progress, and return when they have ended."""
        running = [task for task in (*self._tasks.values(), *self._forgotten) if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await workflow.wait(running)
