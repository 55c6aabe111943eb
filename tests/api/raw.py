"""Requests as raw bytes, which no client library would send."""

import asyncio
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.support.tenants import PATIENCE


@dataclass(frozen=True)
class Answer:
    """The bytes that the server sent on one connection."""

    raw: bytes

    @property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0].lower()

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def body(self) -> Any:
        return json.loads(self.raw.partition(b"\r\n\r\n")[2])

    @property
    def answers(self) -> int:
        """The number of responses: as many requests as the server read in the bytes."""
        return len(re.findall(rb"HTTP/1\.1 [1-5]\d\d ", self.raw))

    def is_refusal(self, status: int) -> bool:
        """Whether it is one response in the shape of every error, with the id of its request."""
        shape = set(self.body) == {"type", "code", "detail", "attr"}
        return self.answers == 1 and self.status == status and shape and b"x-request-id: " in self.head


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    return await asyncio.open_connection(parts.hostname, parts.port)


async def ask_raw(url: str, *pieces: bytes) -> Answer:
    """Send the pieces, and read until the server closes the connection."""
    reader, writer = await connect(url)
    try:
        with suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        async with asyncio.timeout(PATIENCE):
            return Answer(await reader.read())
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def one_answer(reader: asyncio.StreamReader) -> Answer:
    """The next answer on a connection that stays open."""
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return Answer(head + await reader.readexactly(int(length.split(b":")[1])))
