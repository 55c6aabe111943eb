"""The server of the API around a small application, in the process of the test."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

from api.connections import Bounds
from api.server import guarded_by

BOUNDS = Bounds(in_all=100, of_one=100)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, wait half a second if it is `wait`, and answer with a description of the request."""
    if scope["type"] != "http":
        return
    body = b""
    if scope["path"] != "/unread":
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
    if body == b"wait":
        await asyncio.sleep(0.5)
    seen = {"path": scope["path"], "client": scope["client"][0], "scheme": scope["scheme"], "bytes": len(body)}
    answer = b"x" * 50_000_000 if scope["path"] == "/large" else json.dumps(seen).encode()
    length = str(len(answer)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def echo_server(*, trusted: tuple[str, ...] = (), **bounds: Any) -> AsyncIterator[str]:
    """Run the server, and yield its URL."""
    networks = tuple(ip_network(one) for one in trusted)
    config = uvicorn.Config(
        echo,
        port=0,
        http=guarded_by(replace(BOUNDS, trusted=networks, **bounds)),
        log_config=None,
        lifespan="off",
        proxy_headers=bool(trusted),
        forwarded_allow_ips=list(trusted),
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
