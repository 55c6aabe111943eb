"""Signing in and out, links to sign in with, and the choice of a project."""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from api.auth import LARGEST_ID, AnyKey
from api.bodies import JsonRoute
from api.console.rendering import render
from api.console.routes import OpenRoute, PageRoute
from api.console.security import COOKIE, drop_session_cookie, refuse_other_sites, set_session_cookie
from api.console.visitors import Visitor, projects_of
from api.identity import CurrentPrincipal
from api.page_links import base_of
from api.project_shares import Shares
from api.schemas import IgnoredBody
from orchestrator.model.errors import NotAuthenticated
from orchestrator.services.services import Services
from orchestrator.services.sessions import SESSION_LASTS

opened = APIRouter(route_class=OpenRoute, include_in_schema=False)
router = APIRouter(route_class=PageRoute, include_in_schema=False)
links = APIRouter(prefix="/api/projects/{project_id}/console_links", tags=["console"], route_class=JsonRoute)

_LONGEST_TOKEN = 500


class SignInLink(BaseModel):
    """An address that signs a browser in to the console."""

    url: str = Field(
        description="Opens the console, signed in with this key; works once, within an hour. Relative if the server "
        "does not know by which name it is reached"
    )


def _services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


AllServices = Annotated[Services, Depends(_services)]


@opened.get("/sign-in")
async def sign_in_form(request: Request, next_path: Annotated[str, Query(alias="next")] = "/") -> Response:
    """The form to sign in."""
    return render(request, "sign_in.html", next=_own_path(next_path), detail=None)


@opened.post("/sign-in")
async def sign_in(request: Request, services: AllServices) -> Response:
    """Begin a session with an API key."""
    form: dict[str, str] = request.state.form
    key, shares = form.get("key", "").strip()[:_LONGEST_TOKEN], request.app.state.shares
    assert isinstance(shares, Shares)  # noqa: S101 - the application sets it
    try:
        async with shares.turn(("key", key)):
            token = await services.sessions.sign_in(key)
    except NotAuthenticated as error:
        next_path = _own_path(form.get("next", "/"))
        return render(request, "sign_in.html", status=HTTPStatus.UNAUTHORIZED, next=next_path, detail=error.message)
    return _begin(request, token, form.get("next", "/"))


@opened.get("/sign-in/{link}")
async def follow_link(
    request: Request,
    link: Annotated[str, Path(max_length=_LONGEST_TOKEN)],
    services: AllServices,
    project: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None,
) -> Response:
    """Begin a session with a link, which works once."""
    refuse_other_sites(request)
    try:
        token = await services.sessions.follow_link(link)
    except NotAuthenticated as error:
        return render(request, "sign_in.html", status=HTTPStatus.UNAUTHORIZED, next="/", detail=error.message)
    return _begin(request, token, "/" if project is None else f"/projects/{project}/views")


@router.post("/sign-out")
async def sign_out(request: Request, services: AllServices) -> Response:
    """End the session, also for a copy of its cookie."""
    await services.sessions.sign_out(request.cookies[COOKIE])
    response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    drop_session_cookie(response)
    return response


@router.get("/")
async def start(request: Request) -> Response:
    """The views of the only project, or the choice of one."""
    visitor: Visitor = request.state.visitor
    found = await projects_of(request, visitor)
    if len(found) == 1:
        return RedirectResponse(f"/projects/{found[0].id}/views", HTTPStatus.SEE_OTHER)
    return render(request, "projects.html", projects=found)


@router.get("/projects")
async def choose_project(request: Request) -> Response:
    """The projects in which the key may be used."""
    return render(request, "projects.html", projects=await projects_of(request, request.state.visitor))


@links.post("/", status_code=201)
async def create_console_link(
    request: Request, context: AnyKey, principal: CurrentPrincipal, _: IgnoredBody = None
) -> SignInLink:
    """Make an address that opens the console signed in with this key. It works once, within an hour."""
    token = await context.services.sessions.new_link(principal)
    return SignInLink(url=f"{base_of(request)}/sign-in/{token}?project={context.project_id}")


def _begin(request: Request, token: str, next_path: str) -> Response:
    response = RedirectResponse(_own_path(next_path), HTTPStatus.SEE_OTHER)
    set_session_cookie(request, response, token, int(SESSION_LASTS.total_seconds()))
    return response


def _own_path(path: str) -> str:
    """The path, if it is one of this site; a browser takes //name and backslashes for another site."""
    parts = urlsplit(path)
    is_own = path.startswith("/") and not path.startswith("//") and "\\" not in path and not parts.netloc
    return path if is_own and path.isprintable() else "/"
