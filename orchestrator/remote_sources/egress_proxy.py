"""The proxy through which all requests for source files leave this process.

The library that sends them resolves names by itself and follows redirects. Through a proxy it does neither: for each
connection the proxy resolves the name once, checks the addresses, and connects to what it has checked. A name that
changes its address in between leads nowhere else, and neither does a redirect. TLS stays between the library and the
server.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from typing import cast
from urllib.parse import urlsplit

from orchestrator.model.errors import InvalidSource, OrchestratorError
from orchestrator.model.file_patterns import is_wild
from orchestrator.remote_sources.addresses import Addresses, Server

_HEAD_SECONDS = 10.0
_CONNECT_SECONDS = 10.0
_LONGEST_HEAD = 64 << 10
_CHUNK_BYTES = 256 << 10
_MOST_CONNECTIONS = 256
_MOST_REFUSALS = 1000
_HTTP_PORT = 80


class EgressProxy:
    """An HTTP proxy on this machine, for this process: for TLS by CONNECT, and for plain HTTP to trusted servers."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Lock()
        self._refusals: OrderedDict[Server, InvalidSource] = OrderedDict()

    async def url(self) -> str:
        """The URL of the proxy, which is started by the first call."""
        async with self._starting:
            if self._server is None:
                self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_LONGEST_HEAD)
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def refusal_of(self, server: Server) -> InvalidSource | None:
        """Why the latest connection to a server was refused, since a client of a proxy sees a failure only."""
        return self._refusals.get(server)

    async def close(self) -> None:
        """End every connection."""
        if self._server is not None:
            self._server.close()
        for one in self._connections:
            one.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._connections.add(task)
        try:
            if len(self._connections) > _MOST_CONNECTIONS:
                await _answer(writer, "503 Too Many Connections")
            else:
                await self._serve(reader, writer)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the connection is lost, or what came over it is no request
        except asyncio.CancelledError:
            pass  # by `close`; asyncio would log it as an error of the server
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
        is_tunnel = method == "CONNECT"
        server = None
        try:
            server = server_of(f"//{target}" if is_tunnel else target, is_tunnel=is_tunnel)
            if not (is_tunnel or self._addresses.trusts(server)):
                raise InvalidSource(f"{server.host} is read over HTTPS only.", attr="url_pattern")
            addresses = await self._addresses.resolve(server)
        except OrchestratorError as error:
            if isinstance(error, InvalidSource) and server is not None:
                self._refuse(server, error)
            await _answer(writer, "403 Forbidden")
            return
        upstream = await _connected(addresses, server.port)
        if upstream is None:
            await _answer(writer, "502 Bad Gateway")
            return
        try:
            if is_tunnel:
                writer.write(b"HTTP/1.1 200 Connection Established\r\n\r\n")
                await _relay(_pump(reader, upstream[1]), _pump(upstream[0], writer))
            else:
                await _relay(_pass_requests(head, server, reader, upstream[1]), _pump(upstream[0], writer))
        finally:
            upstream[1].close()

    def _refuse(self, server: Server, error: InvalidSource) -> None:
        self._refusals[server] = error
        if len(self._refusals) > _MOST_REFUSALS:
            self._refusals.popitem(last=False)


def server_of(url: str, *, is_tunnel: bool = False) -> Server:
    """The server of a URL. Raises InvalidSource if it names none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = (parts.hostname or "").rstrip(".")
    if not host or is_wild(host):
        raise InvalidSource("The URL names no server.", attr="url_pattern")
    usual = 443 if is_tunnel or parts.scheme == "https" else _HTTP_PORT
    return Server(host.lower(), usual if port is None else port)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _connected(addresses: Sequence[str], port: int) -> Streams | None:
    for address in addresses:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CONNECT_SECONDS):
                return await asyncio.open_connection(address, port, limit=_CHUNK_BYTES)
    return None


async def _relay(*both: Coroutine[None, None, None]) -> None:
    """Send on in both directions until one of them has ended."""
    directions = [asyncio.create_task(one) for one in both]
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()


async def _pass_requests(
    head: bytes, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Send on the requests of a connection, each in the form that servers get, with the path alone.

    Ends at one that has a body, or that is for another server.
    """
    while True:
        line, _, rest = head.partition(b"\r\n")
        method, target, version = line.decode("ascii").split(" ")
        if method not in {"GET", "HEAD"} or server_of(target) != server:
            return
        path = urlsplit(target)._replace(scheme="", netloc="").geturl() or "/"
        writer.write(f"{method} {path} {version}\r\n".encode() + rest)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")


async def _answer(writer: asyncio.StreamWriter, status: str) -> None:
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
    with contextlib.suppress(OSError):
        await writer.drain()
