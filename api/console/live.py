"""The stream of changes of a project, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from api.console.routes import PageRoute
from api.console.visitors import AskedPage, Page
from api.protocol import ENDLESS
from orchestrator.model.principal import Scope

router = APIRouter(prefix="/projects/{project_id}", route_class=PageRoute, include_in_schema=False)

# Proxies close a connection on which nothing comes for a minute.
_SIGN_SECONDS = 20.0
_SIGN = b": \n\n"
# After which the browser connects again, in milliseconds. Pages that were cut off together come back one by one.
_RETRY = b"retry: 3000\n\n"


@router.get("/live")
async def live(request: Request, page: AskedPage) -> Response:
    """The changes of the project, from now on."""
    page.require(Scope.VIEW_READ)
    request.scope.setdefault("extensions", {})[ENDLESS] = {}
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(page), media_type="text/event-stream", headers=headers)


async def _events(page: Page) -> AsyncIterator[bytes]:
    async with page.services.live.subscribed(page.project_id, page.visitor.token_hash) as subscription:
        yield _RETRY
        while True:
            try:
                async with asyncio.timeout(_SIGN_SECONDS):
                    event = await subscription.events.get()
            except TimeoutError:
                yield _SIGN
                continue
            if event is None:
                return
            yield f"event: {event.name}\ndata: {event.data}\n\n".encode()
