"""The owner of a key and its projects, which PostHog's clients request before anything else."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Security
from pydantic import BaseModel, Field

from api.auth import BEARER, LARGEST_ID
from api.schemas import UserOut
from orchestrator.model.principal import Principal, Scope
from orchestrator.services.access import AccessService

router = APIRouter(prefix="/api", tags=["identity"])


class KeyOut(BaseModel):
    """The key that made the request. Its text is never shown again."""

    id: UUID = Field(description="The id of the key")
    user_id: int = Field(description="Whose key it is")
    scopes: list[Scope] = Field(description="What it may do; a :write scope includes the :read scope")
    scoped_teams: list[int] = Field(description="The projects it may be used in; empty: every project")
    scoped_organizations: list[UUID] = Field(description="Always empty: there are no organizations here")


class MeOut(UserOut):
    """The person whose key made the request."""

    organization: None = Field(default=None, description="Always null: there are no organizations here")
    team: None = Field(default=None, description="Always null: no user has a current project; name it in the path")


class ProjectOut(BaseModel):
    """A project."""

    id: int = Field(description="The id of the project")
    name: str = Field(description="What it is called")
    organization: None = Field(default=None, description="Always null: there are no organizations here")


def _asker(request: Request, _: Annotated[object, Security(BEARER)] = None) -> Principal:
    """The principal of the request. Every known key is accepted, with any scopes."""
    principal: Principal = request.state.principal
    return principal


CurrentPrincipal = Annotated[Principal, Depends(_asker)]


@router.get("/personal_api_keys/@current/")
async def current_key(principal: CurrentPrincipal) -> KeyOut:
    """Show what the key that makes this request may do, and where."""
    return KeyOut(
        id=principal.key_id,
        user_id=principal.user.id,
        scopes=sorted(principal.scopes),
        scoped_teams=sorted(principal.project_ids or ()),
        scoped_organizations=[],
    )


@router.get("/users/@me/")
async def current_user(principal: CurrentPrincipal) -> MeOut:
    """Show the person whose key makes this request."""
    return MeOut(**principal.user.model_dump())


@router.get("/projects/{project_id}/")
async def retrieve_project(
    request: Request,
    project_id: Annotated[int, Path(ge=1, le=LARGEST_ID, description="The project")],
    principal: CurrentPrincipal,
) -> ProjectOut:
    """Show a project that the key may be used in."""
    principal.require_project(project_id)
    access: AccessService = request.app.state.services.access
    project = await access.get_project(project_id)
    return ProjectOut(id=project.id, name=project.name)
