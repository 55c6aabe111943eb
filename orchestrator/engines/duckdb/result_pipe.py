"""The parent's end of the pipe that a child process writes the result of a query into."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable

from orchestrator.model.errors import QueryTimedOut
from orchestrator.model.reading import ResultSummary

# So much is read at a time, and lies in the pipe at the most while the client keeps the query waiting.
_CHUNK_BYTES = 1 << 18
_PIPE_BYTES = 1 << 20
_SET_PIPE_SIZE = 1031  # fcntl's F_SETPIPE_SZ, which Linux has
# A result that is no longer than this, or ends within this time, is complete before the client's answer begins. So a
# query that fails early is an error, and not an answer that breaks off.
_HELD_BACK_BYTES = 1 << 16
_HELD_BACK_SECONDS = 0.05


class ResultPipe:
    """A pipe whose reading end this process has. It waits for data at most `seconds` in all.

    `finish` is called once, at the end of the data. It returns the summary, or raises the error of the query.
    """

    def __init__(self, seconds: float, finish: Callable[[], Awaitable[ResultSummary]]) -> None:
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        with contextlib.suppress(OSError):  # a user may have only so many large pipes: then this one stays small
            fcntl.fcntl(self._reader, _SET_PIPE_SIZE, _PIPE_BYTES)
        self._limit = self._seconds_left = seconds
        self._finish = finish
        self._head: list[bytes] = []
        self.summary: ResultSummary | None = None

    async def begin(self) -> None:
        """Wait until the result has begun. Raises the error of a query that failed before."""
        self.close_writer()
        loop = asyncio.get_running_loop()
        size, until = 0, None
        while self.summary is None and size < _HELD_BACK_BYTES:
            if until is not None and not await self._wait(until - loop.time()):
                return
            chunk = await self._next()
            if not chunk:
                return
            self._head.append(chunk)
            size += len(chunk)
            until = until or loop.time() + _HELD_BACK_SECONDS

    async def chunks(self) -> AsyncIterator[bytes]:
        """See ResultStream."""
        while self._head:
            yield self._head.pop(0)
        while self.summary is None:
            chunk = await self._next()
            if chunk:
                yield chunk

    def close_writer(self) -> None:
        """Close this process's copy of the writing end, so that the data ends when the child closes its own."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close(self) -> None:
        """Close both ends."""
        self.close_writer()
        os.close(self._reader)

    async def _next(self) -> bytes:
        """The next data; empty at the end, when the summary is there."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            is_readable = await self._wait(self._seconds_left)
            self._seconds_left -= loop.time() - began
            if not is_readable:
                raise QueryTimedOut(f"The query ran longer than {self._limit:g} seconds.")
            try:
                chunk = os.read(self._reader, _CHUNK_BYTES)
            except BlockingIOError:
                continue
            if not chunk:
                self.summary = await self._finish()
            return chunk

    async def _wait(self, seconds: float) -> bool:
        """Whether the pipe has data, or its end, within this time."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._reader, readable.set)
        try:
            await asyncio.wait_for(readable.wait(), max(0.0, seconds))
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._reader)
        return True
