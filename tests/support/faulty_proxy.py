"""A proxy before an HTTP server that fails now and then, as networks and overloaded servers do."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from urllib.parse import urlsplit

_BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Fault(StrEnum):
    """The faults of a request."""

    BUSY = "the answer is 503, and the server gets nothing"
    CUT = "the connection ends in the middle of the request"
    UNANSWERED = "the server does what it is asked, and its answer is lost"
    TORN = "the connection ends in the middle of the answer"
    SILENT = "the server does what it is asked, and no answer comes for seconds"


# Those that a client notices at once.
QUICK = (Fault.BUSY, Fault.CUT, Fault.UNANSWERED, Fault.TORN)
_SILENT_SECONDS = 12.0


class FaultyProxy:
    """Passes requests on to `target`. A share of them, `rate`, has a fault of `kinds`; `faults` counts those."""

    def __init__(self, target: str, seed: int, kinds: Sequence[Fault] = QUICK) -> None:
        address = urlsplit(target)
        self.rate = 0.0
        self.faults: Counter[Fault] = Counter()
        self.endpoint = ""
        self._host, self._port = address.hostname or "", address.port or 80
        self._kinds = tuple(kinds)
        self._serving: set[asyncio.Task[None]] = set()
        self._random = random.Random(seed)  # noqa: S311 - faults are no secret

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FaultyProxy"]:
        """Serve while the context lasts."""
        server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request, after which the connection ends."""
        with (
            contextlib.closing(writer),
            contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError),
        ):
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_length(head))
            fault = self._random.choice(self._kinds) if self._random.random() < self.rate else None
            if fault is not None:
                self.faults[fault] += 1
            if fault is Fault.BUSY:
                writer.write(_BUSY)
            else:
                request = _closing(head) + body
                answer = await self._ask(request[: len(request) // 2] if fault is Fault.CUT else request)
                if fault is None:
                    writer.write(answer)
                elif fault is Fault.SILENT:
                    await asyncio.sleep(_SILENT_SECONDS)
                elif fault is Fault.TORN:
                    writer.write(answer[: len(answer) // 2])
            await writer.drain()

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(request)
            writer.write_eof()
            return await reader.read(-1)
        finally:
            writer.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def _closing(head: bytes) -> bytes:
    lines = [line for line in head.rstrip().split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])
