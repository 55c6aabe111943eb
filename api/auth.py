"""Bearer keys: who asks is settled before anything of the request is looked at, what they may do by each route."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp, Receive, Scope as ASGIScope, Send

from api.errors import error_response
from api.project_shares import Shares
from orchestrator.model.errors import NotAuthenticated, OrchestratorError
from orchestrator.model.principal import Principal, Scope, User
from orchestrator.services.services import Services

# For the OpenAPI document: the header itself is read by the middleware.
BEARER = HTTPBearer(auto_error=False, description="A personal API key")

LARGEST_ID = 2**31 - 1  # what PostgreSQL's integer holds
_OPEN = ("/api/schema/",)


class AuthenticationMiddleware:
    """Answers 401 below `/api/` unless the key is known; otherwise puts its owner into the request's state.

    It stands before routing and parsing, so that someone without a key learns nothing from either.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"].startswith("/api/") and scope["path"] not in _OPEN:
            request = Request(scope)
            services: Services = request.app.state.services
            shares: Shares = request.app.state.shares
            try:
                token = _token(request.headers.get("authorization"))
                # A crowd with one key queues before it is looked up, or all others would queue behind it.
                async with shares.turn(("key", token)):
                    request.state.principal = await services.access.authenticate(token)
            except OrchestratorError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


@dataclass(frozen=True)
class RequestContext:
    """What a route works with: who asks, about which project, and the parts that serve them."""

    user: User
    project_id: int
    services: Services


def require_scope(scope: Scope) -> Callable[..., AsyncIterator[RequestContext]]:
    """A dependency that lets a request pass whose key has the scope and may be used in the project.

    And when it is the project's turn, which lasts until the route has done its work: neither a body that comes slowly
    nor an answer that is read slowly takes a turn.
    """

    async def check(
        request: Request,
        project_id: Annotated[int, Path(ge=1, le=LARGEST_ID, description="The project")],
        _: Annotated[object, Security(BEARER, scopes=[scope])] = None,
    ) -> AsyncIterator[RequestContext]:
        principal: Principal = request.state.principal
        principal.require_project(project_id)
        principal.require(scope)
        services: Services = request.app.state.services
        shares: Shares = request.app.state.shares
        async with shares.turn(("project", project_id)):
            if principal.project_ids is None:  # otherwise the key could not have been made for it
                await services.access.require_project(project_id)
            yield RequestContext(user=principal.user, project_id=project_id, services=services)

    return check


ViewReader = Annotated[RequestContext, Depends(require_scope(Scope.VIEW_READ), scope="function")]
ViewWriter = Annotated[RequestContext, Depends(require_scope(Scope.VIEW_WRITE), scope="function")]
JournalReader = Annotated[RequestContext, Depends(require_scope(Scope.ACTIVITY_READ), scope="function")]
TableReader = Annotated[RequestContext, Depends(require_scope(Scope.TABLE_READ), scope="function")]
TableWriter = Annotated[RequestContext, Depends(require_scope(Scope.TABLE_WRITE), scope="function")]


def _token(header: str | None) -> str | None:
    kind, _, token = (header or "").partition(" ")
    if header and kind.lower() != "bearer":
        raise NotAuthenticated("Send the key as 'Authorization: Bearer <key>'.")
    return token.strip() or None
