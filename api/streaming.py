"""Answers that are sent while they are made, and work that ends when its client has left."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.errors import Answer, log_broken_off
from api.protocol import BREAK_OFF
from orchestrator.model.errors import Invalid, OrchestratorError

T = TypeVar("T")

# The status that proxies log for a request whose client did not wait. No client sees it.
_CLIENT_HAS_LEFT = 499


class HeldResponse(StreamingResponse):
    """A stream that holds resources. They are given back when it has ended, or its client has gone."""

    held: AsyncExitStack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. An error after the first bytes is logged, and breaks the answer off."""
        answer = Answer(send)
        try:
            async with self.held:
                await super().__call__(scope, receive, answer)
        except OrchestratorError as error:
            server = scope.get("extensions", {}).get(BREAK_OFF)
            if not answer.has_begun or server is None:
                raise
            log_broken_off(scope, error)
            # Raised, the error would be logged with a traceback, as if it had not been foreseen.
            server["close"]()


def require_chunks(request: Request) -> None:
    """Raise Invalid if the answer could not be sent in chunks, whose end shows that it is complete."""
    if request.scope.get("http_version") == "1.0":
        raise Invalid(
            "Results are streamed, which needs HTTP/1.1: in HTTP/1.0, an answer that breaks off looks complete. "
            "If a proxy sends this request, let it speak HTTP/1.1 (in nginx: proxy_http_version 1.1)."
        )


async def holding(request: Request, build: Callable[[AsyncExitStack], Coroutine[Any, Any, HeldResponse]]) -> Response:
    """The response that `build` makes with the resources that it enters.

    If it raises, or its client goes away before, they are given back at once.
    """
    async with AsyncExitStack() as stack:
        response = await unless_left(request, build(stack))
        if isinstance(response, HeldResponse):
            response.held = stack.pop_all()
        return response


async def unless_left(request: Request, work: Awaitable[T]) -> T | Response:
    """The result of `work`, which is cancelled if the client goes away before: then a response that goes nowhere."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_has_left(request))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else Response(status_code=_CLIENT_HAS_LEFT)
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _has_left(request: Request) -> None:
    """Wait until the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
