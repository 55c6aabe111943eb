"""Bearer keys: a middleware authenticates a request before it is parsed, and each route checks the key's scope."""

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
    """Answers 401 below `/api/` unless the key is known; otherwise puts its principal into the request's state.

    It runs before routing and parsing, so that a client without a key learns nothing from either.
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
                # Many requests with one key wait here, before the lookup. Otherwise all others would wait behind them.
                async with shares.turn(("key", token)):
                    request.state.principal = await services.access.authenticate(token)
            except OrchestratorError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


@dataclass(frozen=True)
class RequestContext:
    """The user, the project and the services that a route works with."""

    user: User
    project_id: int
    services: Services


def require_scope(*scopes: Scope, keeps_turn: bool = True) -> Callable[..., AsyncIterator[RequestContext]]:
    """A dependency that requires a key with these scopes for the project, and waits for a turn of the project.

    The turn lasts until the route has done its work. A body that arrives slowly or an answer that is read slowly takes
    no turn. A route that runs a query does not keep the turn: the reader has slots of its own, and a project whose
    queries take long can still be managed.
    """

    async def check(
        request: Request,
        project_id: Annotated[int, Path(ge=1, le=LARGEST_ID, description="The project")],
        _: Annotated[object, Security(BEARER, scopes=scopes)] = None,
    ) -> AsyncIterator[RequestContext]:
        principal: Principal = request.state.principal
        principal.require_project(project_id)
        for scope in scopes:
            principal.require(scope)
        services: Services = request.app.state.services
        shares: Shares = request.app.state.shares
        async with shares.turn(("project", project_id)):
            if principal.project_ids is None:  # otherwise the key names it, so it exists
                await services.access.require_project(project_id)
            context = RequestContext(user=principal.user, project_id=project_id, services=services)
            if keeps_turn:
                yield context
        if not keeps_turn:
            yield context

    return check


AnyKey = Annotated[RequestContext, Depends(require_scope(), scope="function")]
ViewReader = Annotated[RequestContext, Depends(require_scope(Scope.VIEW_READ), scope="function")]
ViewWriter = Annotated[RequestContext, Depends(require_scope(Scope.VIEW_WRITE), scope="function")]
ActivityReader = Annotated[RequestContext, Depends(require_scope(Scope.ACTIVITY_READ), scope="function")]
QueryReader = Annotated[RequestContext, Depends(require_scope(Scope.QUERY_READ, keeps_turn=False), scope="function")]
RowReader = Annotated[RequestContext, Depends(require_scope(Scope.VIEW_READ, keeps_turn=False), scope="function")]
ProjectReader = Annotated[RequestContext, Depends(require_scope(Scope.VIEW_READ, Scope.TABLE_READ), scope="function")]
ProjectWriter = Annotated[RequestContext, Depends(require_scope(Scope.VIEW_WRITE, Scope.TABLE_WRITE), scope="function")]
# PostHog's client asks for both where it reads or changes checks.
CheckReader = Annotated[
    RequestContext, Depends(require_scope(Scope.VIEW_READ, Scope.QUERY_READ, keeps_turn=False), scope="function")
]
CheckWriter = Annotated[
    RequestContext, Depends(require_scope(Scope.VIEW_WRITE, Scope.QUERY_READ, keeps_turn=False), scope="function")
]
TableCheckReader = Annotated[
    RequestContext, Depends(require_scope(Scope.TABLE_READ, Scope.QUERY_READ, keeps_turn=False), scope="function")
]
TableCheckWriter = Annotated[
    RequestContext, Depends(require_scope(Scope.TABLE_WRITE, Scope.QUERY_READ, keeps_turn=False), scope="function")
]
TableReader = Annotated[RequestContext, Depends(require_scope(Scope.TABLE_READ), scope="function")]
SourceReader = Annotated[RequestContext, Depends(require_scope(Scope.SOURCE_READ), scope="function")]
SourceWriter = Annotated[RequestContext, Depends(require_scope(Scope.SOURCE_WRITE), scope="function")]
TableWriter = Annotated[RequestContext, Depends(require_scope(Scope.TABLE_WRITE), scope="function")]


def _token(header: str | None) -> str | None:
    kind, _, token = (header or "").partition(" ")
    if header and kind.lower() != "bearer":
        raise NotAuthenticated("Send the key as 'Authorization: Bearer <key>'.")
    return token.strip() or None
