"""The class of the console's routes, which holds what no single one may forget.

It finds the session, refuses acts without its CSRF token and requests of other sites, shows errors as pages, and adds
the headers. A test goes over all routes of this class.
"""

import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from api.console.inner import Refused
from api.console.rendering import render, render_error
from api.console.security import (
    COOKIE,
    add_headers,
    check_csrf,
    csrf_token,
    drop_session_cookie,
    read_form,
    refuse_other_sites,
)
from api.console.visitors import Visitor
from api.errors import status_of
from api.project_shares import Shares
from orchestrator.model.errors import NotAuthenticated, NotFound, OrchestratorError
from orchestrator.services.services import Services
from orchestrator.services.sessions import hash_of

logger = logging.getLogger(__name__)

_SAFE = {"GET", "HEAD"}


class PageRoute(APIRoute):
    """A route of the console that needs a session."""

    is_open = False
    is_document = False

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, with all that is around it."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            response = await _answer(request, handler, is_open=self.is_open)
            add_headers(response, docs=self.is_document)
            return response

        return handle


class OpenRoute(PageRoute):
    """A route of the console that needs no session: signing in."""

    is_open = True


class DocumentRoute(OpenRoute):
    """A page of the API's document, whose scripts need more than those of the console."""

    is_document = True


async def _answer(
    request: Request, handler: Callable[[Request], Coroutine[Any, Any, Response]], *, is_open: bool
) -> Response:
    request.state.visitor = None
    request.state.form = {}
    try:
        if request.method not in _SAFE:
            refuse_other_sites(request)
            request.state.form = await read_form(request)
        if not is_open:
            request.state.visitor = await _visitor(request)
            if request.method not in _SAFE:
                check_csrf(request, request.cookies[COOKIE], request.state.form)
        return await handler(request)
    except NotAuthenticated as error:
        return _to_sign_in(request, error)
    except Exception as error:
        return _failed(request, error)


def _failed(request: Request, error: Exception) -> Response:
    """The page that shows an error, in the API's own words."""
    match error:
        case OrchestratorError():
            return render_error(request, status_of(error), error.message, error.code)
        case Refused():
            return render_error(request, error.status, error.detail, str(error.body.get("code", "")))
        case RequestValidationError():  # a path or a query of no page
            return render_error(request, HTTPStatus.NOT_FOUND, NotFound().message, NotFound.code)
        case HTTPException():
            return render_error(request, error.status_code, str(error.detail), "")
        case _:
            logger.error("unforeseen error in %s %s", request.method, request.scope["path"], exc_info=error)
            return render_error(request, HTTPStatus.INTERNAL_SERVER_ERROR, "A server error occurred.", "error")


async def _visitor(request: Request) -> Visitor:
    services: Services = request.app.state.services
    shares: Shares = request.app.state.shares
    token = request.cookies.get(COOKIE)
    if not token:
        raise NotAuthenticated("Sign in to see this page.")
    token_hash = hash_of(token)
    async with shares.turn(("session", token_hash)):
        principal = await services.sessions.find(token)
    return Visitor(principal=principal, token_hash=token_hash, csrf=csrf_token(token))


def _to_sign_in(request: Request, error: NotAuthenticated) -> Response:
    """The way to sign in. A request of a script, or an act, gets the page itself, with the status of the error."""
    has_cookie = COOKIE in request.cookies
    if request.method in _SAFE and request.headers.get("sec-fetch-site") == "cross-site" and not has_cookie:
        # A link on another site: the browser keeps the cookie back, and sends it when the page loads itself again.
        return render(request, "again.html")
    if request.method in _SAFE and "hx-request" not in request.headers and not request.url.path.endswith("/live"):
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        response: Response = RedirectResponse(
            f"/sign-in?next={quote(asked)}" if asked != "/" else "/sign-in", HTTPStatus.SEE_OTHER
        )
    else:
        response = render_error(request, HTTPStatus.UNAUTHORIZED, error.message, error.code)
        if "hx-request" in request.headers:
            response.headers["HX-Redirect"] = "/sign-in"
    if has_cookie:
        drop_session_cookie(response)
    return response
