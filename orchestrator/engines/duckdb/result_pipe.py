"""The parent's end of the pipe that a child process writes the result of a query into."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator

from orchestrator.model.errors import EngineCrashed, QueryTimedOut
from orchestrator.model.reading import ResultSummary

# So much is read at a time, and lies in the pipe at the most while the client keeps the query waiting.
_CHUNK_BYTES = 1 << 18
_PIPE_BYTES = 1 << 20
_SET_PIPE_SIZE = 1031  # fcntl's F_SETPIPE_SZ, which Linux has
# A result that is no longer than this, or ends within this time, is complete before the client's answer begins. So a
# query that fails early is an error, and not an answer that breaks off.
_HELD_BACK_BYTES = 1 << 16
_HELD_BACK_SECONDS = 0.05
# A child answers right after it has closed the pipe, unless its query has taken it over.
_ANSWER_SECONDS = 5.0
# How long a client may take for a result in all: while it reads, it holds one of its project's processes.
_LONGEST_READ_SECONDS = 3600.0


class ResultPipe:
    """A pipe whose reading end this process has. It waits for data at most `seconds` in all.

    `answer` is the child's own answer, which gives the summary or raises the error of the query.
    """

    def __init__(self, seconds: float, answer: "asyncio.Future[ResultSummary]") -> None:
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        with contextlib.suppress(OSError):  # a user may have only so many large pipes: then this one stays small
            fcntl.fcntl(self._reader, _SET_PIPE_SIZE, _PIPE_BYTES)
        self._limit = self._seconds_left = seconds
        self._until = asyncio.get_running_loop().time() + _LONGEST_READ_SECONDS
        self._answer = answer
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
            if loop.time() > self._until:
                raise QueryTimedOut("The result was not read in time.")
            began = loop.time()
            is_readable = await self._wait(self._seconds_left)
            self._seconds_left -= loop.time() - began
            if self._answer.done():
                self._answer.result()  # a query that failed may leave the pipe open
            if not is_readable:
                if self._seconds_left > 0 and self._answer.done():
                    continue
                raise QueryTimedOut(f"The query ran longer than {self._limit:g} seconds.")
            try:
                chunk = os.read(self._reader, _CHUNK_BYTES)
            except BlockingIOError:
                continue
            if not chunk:
                self.summary = await self._finished()
            return chunk

    async def _finished(self) -> ResultSummary:
        try:
            return await asyncio.wait_for(asyncio.shield(self._answer), _ANSWER_SECONDS)
        except TimeoutError:
            raise EngineCrashed("The process that ran the query gave no answer.") from None

    async def _wait(self, seconds: float) -> bool:
        """Whether the pipe has data, or its end, within this time. An answer that is an error ends the wait too."""
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._reader, _resolve, readable)
        waited: set[asyncio.Future[None] | asyncio.Future[ResultSummary]] = {readable}
        if not self._answer.done():
            waited.add(self._answer)
        try:
            await asyncio.wait(waited, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
            return readable.done()
        finally:
            loop.remove_reader(self._reader)
            readable.cancel()


def _resolve(readable: "asyncio.Future[None]") -> None:
    if not readable.done():
        readable.set_result(None)
