"""Steps that several members of a generation need, each made once: checks of source tables, copies of databases."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, TypeVar

from temporalio import workflow

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class SharedSteps(Generic[K, R]):
    """The steps of one generation, by what each is about. `make` makes one, and raises if it fails."""

    def __init__(self, make: Callable[[K], Awaitable[R]]) -> None:
        """No step has been made."""
        self._make = make
        self._tasks: dict[K, asyncio.Future[R]] = {}
        self._forgotten: list[asyncio.Future[R]] = []

    async def require(self, keys: Iterable[K]) -> list[R]:
        """Return what these steps gave, once they have ended. Raises what one of them raised."""
        keys = list(keys)
        # A step that is forgotten before it has ended says nothing of what is pinned now.
        while pending := [one for one in map(self._begun, keys) if not (one.done() and one.exception() is None)]:
            # Shielded: another member may wait for it, too.
            await asyncio.shield(pending[0])
        return [self._begun(key).result() for key in keys]

    def _begun(self, key: K) -> asyncio.Future[R]:
        if key not in self._tasks:
            self._tasks[key] = asyncio.ensure_future(self._make(key))
        return self._tasks[key]

    def forget(self) -> None:
        """Have every step made again, once an old pin is gone: a check may read other tables than its own.

        A step that begins before that looks at the old pin.
        """
        self._forgotten += self._tasks.values()
        self._tasks.clear()

    async def wait(self) -> None:
        """Cancel the steps that are in progress, and return when they have ended."""
        running = [task for task in (*self._tasks.values(), *self._forgotten) if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await workflow.wait(running)
