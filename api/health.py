"""The liveness and readiness of the API process."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from api.errors import ErrorBody
from orchestrator.services.health import HealthService

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = Field(default="ok", description="Always ok")


@router.get("/livez")
async def livez() -> Alive:
    """Answer, if the process can answer at all."""
    return Alive()


@router.get("/readyz", responses={503: {"model": ErrorBody, "description": "Something that it needs is away"}})
async def readyz(request: Request) -> Alive:
    """Answer, if PostgreSQL and Temporal do and the schema is this release's."""
    health: HealthService = request.app.state.services.health
    await health.check()
    return Alive()
