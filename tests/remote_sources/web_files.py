"""A web server of single files, which knows ranges and conditions as real ones do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import unquote, urlsplit

_LONG_AGO = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class WebFile:
    """A file, and how its server describes it."""

    content: bytes
    etag: str | None = None
    modified: datetime | None = _LONG_AGO
    gives_ranges: bool = True

    def changed(self, content: bytes) -> "WebFile":
        """The file after a change."""
        later = None if self.modified is None else self.modified + timedelta(seconds=5)
        return replace(
            self, content=content, etag=None if self.etag is None else self.etag.replace("1", "2"), modified=later
        )

    def answer(self, head: dict[str, str], *, body: bool) -> bytes:
        """The answer to a request with these headers."""
        headers = {"Accept-Ranges": "bytes"} if self.gives_ranges else {}
        if self.etag:
            headers["ETag"] = self.etag
        if self.modified:
            headers["Last-Modified"] = format_datetime(self.modified, usegmt=True)
        condition, since = head.get("if-match"), head.get("if-unmodified-since")
        if condition and condition != self.etag:
            return _response("412 Precondition Failed", headers, b"")
        if since and self.modified and parsedate_to_datetime(since) < self.modified:
            return _response("412 Precondition Failed", headers, b"")
        asked = head.get("range") if self.gives_ranges else None
        if not asked:
            return _response("200 OK", headers, self.content, body=body)
        start, _, end = asked.removeprefix("bytes=").partition("-")
        part = self.content[int(start) : int(end) + 1]
        headers["Content-Range"] = f"bytes {start}-{int(start) + len(part) - 1}/{len(self.content)}"
        return _response("206 Partial Content", headers, part)


def _response(status: str, headers: dict[str, str], content: bytes, *, body: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join([*lines, f"Content-Length: {len(content)}", "Connection: close", "", ""])
    return head.encode() + (content if body else b"")


@dataclass
class WebFiles:
    """The files of a server, by their paths."""

    url: str = ""
    files: dict[str, WebFile] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        with suppress(OSError, asyncio.IncompleteReadError):
            first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            method, target, _ = first.split(" ")
            self.requests.append("\n".join([first, *rest]))
            head = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
            found = self.files.get(unquote(urlsplit(target).path))
            missing = _response("404 Not Found", {}, b"")
            writer.write(found.answer(head, body=method == "GET") if found else missing)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def web_files() -> AsyncIterator[WebFiles]:
    """Serve files while the context lasts."""
    web = WebFiles()
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0)
    web.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield web
    finally:
        server.close()
