"""Helpers for asyncio that several layers need."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


async def uninterruptible(work: Awaitable[T]) -> T:
    """Wait until `work` has ended, also if this task is cancelled in between; the cancellation is raised after that."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        with contextlib.suppress(Exception):
            task.result()
        raise cancelled
    return task.result()


async def acquire(work: Awaitable[T], release: Callable[[T], object]) -> T:
    """Wait for `work`, which opens something. If this task is cancelled in between, what was opened is released."""
    task = asyncio.ensure_future(work)
    try:
        return await uninterruptible(task)
    except asyncio.CancelledError:
        if not task.cancelled() and task.exception() is None:
            release(task.result())
        raise


async def each(work: Callable[[T], Coroutine[object, object, None]], items: Iterable[T], *, most: int) -> None:
    """Do `work` for each item, for `most` of them at a time. The first error ends the others, and is raised."""
    turns = asyncio.Semaphore(most)

    async def in_turn(item: T) -> None:
        async with turns:
            await work(item)

    tasks = [asyncio.create_task(in_turn(item)) for item in items]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Grouped(Generic[K, V]):
    """One piece of work for many callers: calls that come while it is in progress gather, and are served together next.

    So a caller that is alone is served at once, and the more there are, the larger the groups.
    """

    def __init__(
        self, work: Callable[[list[K]], Awaitable[Mapping[K, V]]], *, most: int, shared: type[Exception]
    ) -> None:
        """`work` gets `most` different keys at most, and returns what it has found for them.

        An error of the type `shared` concerns every call of a group. After any other one, each is served alone.
        """
        self._work = work
        self._most = most
        self._shared = shared
        self._waiting: list[tuple[K, asyncio.Future[V | None]]] = []
        self._serving: asyncio.Task[None] | None = None

    async def __call__(self, key: K) -> V | None:
        """The value that the work finds for the key, None if nothing. Raises what the work raises."""
        future: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, future))
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        return await future

    async def _serve(self) -> None:
        try:
            while self._waiting:
                group: dict[K, asyncio.Future[V | None]] = {}
                left: list[tuple[K, asyncio.Future[V | None]]] = []
                for key, future in self._waiting:
                    if future.cancelled():
                        continue
                    if key in group or len(group) == self._most:
                        left.append((key, future))
                    else:
                        group[key] = future
                self._waiting = left
                await self._serve_group(group)
        finally:
            self._serving = None

    async def _serve_group(self, group: Mapping[K, "asyncio.Future[V | None]"]) -> None:
        try:
            found = await self._work([*group])
        except Exception as error:
            if len(group) > 1 and not isinstance(error, self._shared):
                for key, future in group.items():
                    await self._serve_group({key: future})
                return
            for future in group.values():
                if not future.done():
                    future.set_exception(error)
            return
        for key, future in group.items():
            if not future.done():
                future.set_result(found.get(key))
