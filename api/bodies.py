"""Request bodies: limits of their size and depth, and values that are refused."""

import asyncio
import json
import math
import re
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Enough for the largest useful request: a statement of 200,000 bytes, each written as an escape like \\u0000, a
# description likewise, notes beside the statement, and a view's columns, which clients send back and the API ignores.
MOST_BYTES = 2 * 1024 * 1024
# All views of a project at once, on these paths alone.
_MOST_BYTES_OF_ALL = 32 * 1024 * 1024
_OF_ALL = ("/definitions/plan/", "/definitions/apply/")
_DEEPEST = 50
# Parsing more bytes than this would noticeably delay other requests.
_MUCH = 32_768
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CLOSE = (b"connection", b"close")


class BadBody(HTTPException):
    """The body is refused: it is too large, is not strictly JSON, or holds a value that cannot be stored."""

    def __init__(self, detail: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(status, detail)


class BodyMiddleware:
    """Limits the size of bodies, and closes the connection after an answer that precedes the end of the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = _length_of(scope)
        most = _MOST_BYTES_OF_ALL if scope["path"].endswith(_OF_ALL) else MOST_BYTES
        received, is_whole = 0, length == 0

        async def counted() -> Message:
            nonlocal received, is_whole
            if length is not None and length > most:
                raise _too_large(most)
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                is_whole = not message.get("more_body", False)
                if received > most:
                    raise _too_large(most)
            return message

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_whole:
                message = {**message, "headers": [*message["headers"], _CLOSE]}
            await send(message)

        await self._app(scope, counted, marked)


class JsonRoute(APIRoute):
    """A route whose bodies are read by `read_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, called with a request whose body is read by `read_json`."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return handle


class _JsonRequest(Request):
    async def json(self) -> Any:  # noqa: ANN401 - what was sent
        """The body's value. A large one is parsed in a thread, so that it does not block the event loop."""
        body = await self.body()
        return read_json(body) if len(body) <= _MUCH else await asyncio.to_thread(read_json, body)


def read_json(body: bytes) -> Any:  # noqa: ANN401 - what was sent
    """The value of a JSON text. Raises JSONDecodeError, or BadBody for a value that PostgreSQL cannot store."""
    try:
        value = json.loads(body.decode(), object_pairs_hook=_unambiguous, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise json.JSONDecodeError("The body is not UTF-8", "", 0) from None
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python limits the digits of a number
        raise BadBody("A number has more digits than can be read.") from None
    check_storable(value)
    return value


def check_storable(value: object, depth: int = 0) -> None:
    """Raise BadBody for a value that JSON can express and PostgreSQL cannot store."""
    if depth > _DEEPEST:
        raise _too_deep()
    if isinstance(value, str) and _UNSTORABLE.search(value):
        raise BadBody("Text cannot hold NUL characters or halves of surrogate pairs.")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadBody("A number must be finite.")
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        check_storable(item, depth + 1)


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object. Raises BadBody if a key occurs twice, since programs differ in which of the two they use."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise BadBody(f"The key {twice[:100]!r} stands twice in one object.")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise BadBody(f"{name} is not JSON: a number must be finite.")


def _too_deep() -> BadBody:
    return BadBody(f"Values may be nested {_DEEPEST} deep at the most.")


def _too_large(most: int) -> BadBody:
    return BadBody(f"The body of a request may have {most:,} bytes.", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def _length_of(scope: Scope) -> int | None:
    """The content-length of a request; 0 without one, None if the body comes in chunks."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return None
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else None
