"""Errors as HTTP answers: one table of statuses, and one shape of body."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.bodies import BadBody
from orchestrator.model.errors import (
    Invalid,
    NotAuthenticated,
    NotFound,
    NotMaterialized,
    NotRunning,
    OrchestratorError,
    PermissionDenied,
    RunFailed,
    TooManyRequests,
    Transient,
)

logger = logging.getLogger(__name__)

# A class that is not listed has the answer of its nearest listed parent.
_ANSWERS: dict[type[OrchestratorError], tuple[int, str]] = {
    NotAuthenticated: (401, "authentication_error"),
    PermissionDenied: (403, "permission_error"),
    NotFound: (404, "not_found"),
    NotMaterialized: (400, "invalid_request"),
    NotRunning: (400, "invalid_request"),
    Invalid: (400, "validation_error"),
    RunFailed: (400, "validation_error"),
    TooManyRequests: (429, "throttled_error"),
    Transient: (503, "server_error"),
    OrchestratorError: (500, "server_error"),
}
_RETRY_AFTER_SECONDS = "5"
_RETRY_LATER = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}


class PositionOut(BaseModel):
    """A place in a statement: lines and columns count from 1, columns in characters."""

    line: int = Field(description="The line")
    column: int = Field(description="The column in that line")
    length: int = Field(description="How many characters the word there has")
    view: str | None = Field(description="The view in whose text it is; null for the statement that was sent")
    excerpt: str = Field(description="That line, or of a long one the part around the place; empty for a view")
    excerpt_column: int = Field(description="The column in the excerpt")


def _is_unknown(value: object) -> bool:
    return value is None


class ErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    type: str = Field(
        description="The kind of error: validation_error, authentication_error, permission_error, not_found, "
        "invalid_request, throttled_error or server_error"
    )
    code: str = Field(description="A stable word for programs")
    detail: str = Field(description="What is wrong, for people")
    attr: str | None = Field(description="The field of the request that is wrong, if one is")
    position: PositionOut | None = Field(
        default=None, exclude_if=_is_unknown, description="The place in the statement that is wrong, where it is known"
    )


def add_error_handlers(app: FastAPI) -> None:
    """Register handlers that answer every failure with the same shape of body."""
    app.add_exception_handler(OrchestratorError, _handle_app_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(Exception, _handle_unexpected)


class Answer:
    """ASGI's `send`, which knows whether the answer has begun: an error can only be answered before that."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        """ASGI."""
        self.has_begun = True
        await self._send(message)


class FailureMiddleware:
    """Answers 500 for an exception that no handler has caught.

    It runs inside the middleware that adds the request's id to every answer. FastAPI's own handler for such errors runs
    outside of all middleware, so its answers would have no id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        answer = Answer(send)
        try:
            await self._app(scope, receive, answer)
        except Exception as error:
            if scope["type"] != "http" or answer.has_begun:
                raise
            await unforeseen(scope, error)(scope, receive, send)


def status_of(error: OrchestratorError) -> int:
    """The HTTP status that an OrchestratorError is answered with."""
    return _answer_of(error)[0]


def _answer_of(error: OrchestratorError) -> tuple[int, str]:
    return next(_ANSWERS[c] for c in type(error).__mro__ if c in _ANSWERS)


def error_response(error: OrchestratorError) -> JSONResponse:
    """The answer for an OrchestratorError."""
    status, kind = _answer_of(error)
    headers = {"Retry-After": _RETRY_AFTER_SECONDS} if status in _RETRY_LATER else {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    position = None if error.position is None else PositionOut(**error.position.as_json())
    return _body(status, kind, error.code, error.message, error.attr, headers, position)


def log_broken_off(scope: Scope, error: OrchestratorError) -> None:
    """Log the error of an answer that had begun, since its client sees only that the answer breaks off."""
    is_transient = isinstance(error, Transient)
    cause = f" ({error.__cause__!r})" if is_transient else ""
    logger.log(
        logging.WARNING if is_transient else logging.INFO,
        "%s %s broke off: %s: %s%s",
        scope["method"],
        scope["path"],
        error.code,
        error.message,
        cause,
    )


def range_not_satisfiable(size: int) -> JSONResponse:
    """The answer to a Range header that asks for no byte of a file of `size` bytes."""
    detail = f"The file has {size:,} bytes, and none of them was asked for."
    headers = {"Content-Range": f"bytes */{size}"}
    return _body(416, "invalid_request", "range_not_satisfiable", detail, None, headers)


async def _handle_app_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OrchestratorError)  # noqa: S101 - what the handler is registered for
    # TooManyRequests is not logged: the answer reports it, and a line for each request would only fill the log.
    if isinstance(error, Transient) and not isinstance(error, TooManyRequests):
        logger.warning("%s %s: %s (%r)", request.method, request.scope["path"], error.message, error.__cause__)
    return error_response(error)


async def _handle_validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what the handler is registered for
    errors: list[dict[str, Any]] = list(error.errors())
    if any(one["loc"][0] == "path" for one in errors):  # such a path names nothing, so other errors do not matter
        return error_response(NotFound())
    first = errors[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] == "json_invalid":
        return _body(400, "invalid_request", "parse_error", f"JSON parse error: {first['ctx']['error']}", None)
    if first["type"] == "missing":
        return _body(400, "validation_error", "required", "This field is required.", _attr(where))
    return _body(400, "validation_error", "invalid_input", first["msg"].removeprefix("Value error, "), _attr(where))


async def _handle_http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - what the handler is registered for
    kinds = {
        404: ("not_found", "not_found"),
        405: ("invalid_request", "method_not_allowed"),
        413: ("invalid_request", "request_too_large"),
    }
    unread = "parse_error" if isinstance(error, BadBody) else "invalid_request"
    kind, code = kinds.get(error.status_code, ("invalid_request", unread))
    headers = dict(error.headers or {})
    return _body(error.status_code, kind, code, str(error.detail), None, headers)


async def _handle_unexpected(request: Request, error: Exception) -> JSONResponse:
    return unforeseen(request.scope, error)


def unforeseen(scope: Scope, error: Exception) -> JSONResponse:
    """The answer to a request that failed for an unforeseen reason, which is logged with its traceback."""
    logger.error("unforeseen error in %s %s", scope["method"], scope["path"], exc_info=error)
    return _body(500, "server_error", "error", "A server error occurred.", None)


def _attr(where: list[str]) -> str | None:
    """The path of a field, without its first part, which names the part of the request, such as `body`."""
    return ".".join(where[1:]) or None


def _body(  # noqa: PLR0917 - the fields of the body, in its order
    status: int,
    kind: str,
    code: str,
    detail: str,
    attr: str | None,
    headers: dict[str, str] | None = None,
    position: PositionOut | None = None,
) -> JSONResponse:
    body = ErrorBody(type=kind, code=code, detail=detail, attr=attr, position=position)
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)
