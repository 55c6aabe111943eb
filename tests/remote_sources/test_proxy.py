"""The proxy that all requests for source files take."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from orchestrator.remote_sources.addresses import Addresses, Server
from orchestrator.remote_sources.egress_proxy import EgressProxy


@asynccontextmanager
async def web_server(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers each request so; its port, and the heads of the requests that it got."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()


@asynccontextmanager
async def proxy(*trusted: Server) -> AsyncIterator[EgressProxy]:
    running = EgressProxy(Addresses(trusted))
    try:
        yield running
    finally:
        await running.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nrows"


async def test_a_trusted_server_is_reached_through_it() -> None:
    async with web_server(OK) as (port, heads), proxy(Server("127.0.0.1", port)) as running:
        async with httpx.AsyncClient(proxy=await running.url()) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/a%20b.csv?x=1")).text == "rows"
        (head,) = heads
        assert head.startswith(b"GET /a%20b.csv?x=1 HTTP/1.1\r\n"), "as servers get it, not as proxies do"


async def test_plain_http_to_any_other_server_is_refused() -> None:
    async with web_server(OK) as (port, heads), proxy() as running:
        async with httpx.AsyncClient(proxy=await running.url()) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/a.csv")).status_code == 403
        assert heads == []
        assert running.refusal_of(Server("127.0.0.1", port)) is not None
        assert running.refusal_of(Server("127.0.0.1", port + 1)) is None


async def test_a_tunnel_to_an_address_that_is_not_public_is_refused() -> None:
    async with web_server(OK) as (port, heads), proxy() as running:
        url = httpx.URL(await running.url())
        for target in (f"127.0.0.1:{port}", f"localhost:{port}", "127.0.0.1:443", "169.254.169.254:443", "[::1]:443"):
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 403"), target
            writer.close()
        assert heads == []


async def test_a_redirect_of_a_trusted_server_leads_to_no_other_one() -> None:
    async with web_server(OK) as (inner, heads):
        moved = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{inner}/secret\r\nContent-Length: 0\r\n\r\n".encode()
        async with (
            web_server(moved) as (outer, _),
            proxy(Server("127.0.0.1", outer)) as running,
            httpx.AsyncClient(proxy=await running.url(), follow_redirects=True) as client,
        ):
            assert (await client.get(f"http://127.0.0.1:{outer}/a.csv")).status_code == 403
        assert heads == []


async def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that changes its address after the check leads nowhere else."""
    loop = asyncio.get_running_loop()
    asked: list[str] = []
    resolve = loop.getaddrinfo

    async def resolved(host: str, port: int, **options: object) -> list[tuple[object, ...]]:
        if host != "data.example":
            return await resolve(host, port, **options)  # type: ignore[arg-type, return-value]
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return await resolve(address, port, **options)  # type: ignore[arg-type, return-value]

    async with web_server(OK) as (port, heads), proxy(Server("data.example", port)) as running:
        url = await running.url()
        monkeypatch.setattr(loop, "getaddrinfo", resolved)
        async with httpx.AsyncClient(proxy=url) as client:
            assert (await client.get(f"http://data.example:{port}/a.csv")).text == "rows"
        assert (asked, len(heads)) == (["data.example"], 1)


@pytest.mark.parametrize(
    "said", [b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"CONNECT :443 HTTP/1.1\r\n\r\n", b"x" * 100_000]
)
async def test_no_request_ends_the_connection(said: bytes) -> None:
    async with proxy() as running:
        url = httpx.URL(await running.url())
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(said)
        assert not (await reader.read(12)).startswith(b"HTTP/1.1 200")
        writer.close()
