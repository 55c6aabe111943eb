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

    async def require(self, tables: Iterable[UUID]) -> None:
        """Return when these tables have been checked. Raises what one of them raised."""
        for table in tables:
            if table not in self._tasks:
                self._tasks[table] = asyncio.ensure_future(self._check(table))
            # Shielded: another member may wait for it, too.
            await asyncio.shield(self._tasks[table])

    def forget(self, table: UUID) -> None:
        """Have a table checked again, whose files are pinned again."""
        self._tasks.pop(table, None)

    async def wait(self) -> None:
        """Cancel the checks that are in progress, and return when they have ended."""
        running = [task for task in self._tasks.values() if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await workflow.wait(running)
