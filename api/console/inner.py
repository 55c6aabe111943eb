"""Calls of the API's own routes in the same process, with the key of a session.

A page that called the services itself could grant what the key may not do, or refuse it in other words. Through the
routes it has the scopes, projects, limits and errors of the API, since it is the API that answers.
"""

import json
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from starlette.types import Message

from orchestrator.model.principal import Principal

# Cells may hold megabytes. A page of more than that would stop the browser, and block this process.
_MOST_BYTES = 8 * 1024 * 1024
_SHARED = ("asgi", "http_version", "server", "client", "scheme", "root_path", "app", "starlette.exception_handlers")
_NOT_FOUND = 404
_FIRST_ERROR = 400


class Refused(Exception):
    """The API has answered with an error. `status` is its HTTP status, `body` the error as the API words it."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body.get("detail"))
        self.status = status
        self.body = body

    @property
    def detail(self) -> str:
        """The sentence for people."""
        return str(self.body.get("detail") or "The request failed.")


class _TooLarge(Exception):
    """The answer is larger than a page may be."""


class InnerApi:
    """The API as the key of a session has it, below one project."""

    def __init__(self, request: Request, principal: Principal, project_id: int) -> None:
        self._request = request
        self._principal = principal
        self._base = f"/api/projects/{project_id}"

    async def get(self, path: str, **query: object) -> Any:  # noqa: ANN401 - JSON
        """The body of an answer to GET. Raises Refused."""
        given = {name: value for name, value in query.items() if value is not None}
        return await self._call("GET", path, urlencode(given, doseq=True), b"")

    async def send(self, method: str, path: str, body: object = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        """The body of an answer to another method. Raises Refused."""
        return await self._call(method, path, urlencode(query), b"" if body is None else json.dumps(body).encode())

    async def _call(self, method: str, path: str, query: str, content: bytes) -> Any:  # noqa: ANN401 - JSON
        answer = _Answer()
        try:
            async with AsyncExitStack() as stack:
                scope = self._scope(method, self._base + path, query, content, stack)
                await self._request.app.router(scope, _receiver(self._request, content), answer)
        except _TooLarge:
            detail = f"This is more than a page can show: {_MOST_BYTES // 2**20} MiB. Select fewer rows or columns."
            raise Refused(_FIRST_ERROR, {"detail": detail, "code": "too_large"}) from None
        return answer.value()

    def _scope(self, method: str, path: str, query: str, content: bytes, stack: AsyncExitStack) -> dict[str, Any]:
        outer = self._request.scope
        return {
            **{name: outer[name] for name in _SHARED if name in outer},
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [
                (b"host", self._request.headers.get("host", "").encode("latin-1")),
                (b"accept", b"application/json"),
                (b"content-type", b"application/json"),
                (b"content-length", str(len(content)).encode()),
            ],
            "state": {"principal": self._principal},
            "extensions": {},
            "fastapi_middleware_astack": stack,
        }


class _Answer:
    """ASGI's `send`, which keeps the answer."""

    def __init__(self) -> None:
        self._status = 500
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        else:
            self._body += message.get("body", b"")
            if len(self._body) > _MOST_BYTES:
                raise _TooLarge

    def value(self) -> Any:  # noqa: ANN401 - JSON
        found = json.loads(self._body) if self._body else None
        if self._status >= _FIRST_ERROR:
            raise Refused(self._status, found if isinstance(found, dict) else {})
        return found


def _receiver(request: Request, content: bytes) -> Any:  # noqa: ANN401 - ASGI's receive
    """ASGI's `receive`: the body, and then that the browser has left."""
    is_sent = False

    async def receive() -> Message:
        nonlocal is_sent
        if not is_sent:
            is_sent = True
            return {"type": "http.request", "body": content, "more_body": False}
        return await request.receive()

    return receive
