"""The person at the browser, and what pages need to know of a request."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request, Response

from api.auth import LARGEST_ID
from api.console.inner import InnerApi
from api.console.rendering import render
from api.project_shares import Shares
from orchestrator.model.errors import PermissionDenied
from orchestrator.model.principal import Principal, Project, Scope
from orchestrator.services.services import Services


@dataclass(frozen=True)
class Visitor:
    """The session of a request: the key's owner, the hash of the session's token, and the token of its acts."""

    principal: Principal
    token_hash: bytes
    csrf: str

    def may(self, *scopes: Scope) -> bool:
        """Whether the key has these scopes."""
        try:
            for scope in scopes:
                self.principal.require(scope)
        except PermissionDenied:
            return False
        return True


async def projects_of(request: Request, visitor: Visitor) -> list[Project]:
    """The projects in which a key may be used, the oldest first."""
    services: Services = request.app.state.services
    allowed = visitor.principal.project_ids
    return [one for one in await services.access.list_projects() if allowed is None or one.id in allowed]


@dataclass(frozen=True)
class Page:
    """A request for a page of a project."""

    request: Request
    visitor: Visitor
    project_id: int
    api: InnerApi
    services: Services

    @property
    def form(self) -> dict[str, str]:
        """The fields of the form that was sent."""
        found: dict[str, str] = self.request.state.form
        return found

    @property
    def base(self) -> str:
        """The path that the pages of the project begin with."""
        return f"/projects/{self.project_id}"

    @property
    def shares(self) -> Shares:
        """The turns of all projects."""
        found: Shares = self.request.app.state.shares
        return found

    def require(self, *scopes: Scope) -> None:
        """Raise PermissionDenied unless the key has the scopes. Pages that call no route of the API ask for them."""
        for scope in scopes:
            self.visitor.principal.require(scope)

    def render(self, template: str, *, status: int = 200, **values: object) -> Response:
        """A page of the project."""
        may = self.visitor.may
        return render(
            self.request,
            template,
            status=status,
            base=self.base,
            project_id=self.project_id,
            may_write=may(Scope.VIEW_WRITE),
            may_query=may(Scope.QUERY_READ),
            may_see_tables=may(Scope.TABLE_READ),
            may_write_tables=may(Scope.TABLE_WRITE),
            may_see_activity=may(Scope.ACTIVITY_READ),
            **values,
        )


async def _page(request: Request, project_id: Annotated[int, Path(ge=1, le=LARGEST_ID)]) -> Page:
    """The request, if the key may be used in the project. Raises PermissionDenied and NotFound, as the API does."""
    visitor: Visitor = request.state.visitor
    services: Services = request.app.state.services
    visitor.principal.require_project(project_id)
    await services.access.require_project(project_id)
    return Page(
        request=request,
        visitor=visitor,
        project_id=project_id,
        api=InnerApi(request, visitor.principal, project_id),
        services=services,
    )


AskedPage = Annotated[Page, Depends(_page)]
ViewId = Annotated[UUID, Path()]
