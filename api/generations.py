"""The routes of generations: refreshes of several views as one. PostHog has none, so its clients do not use them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from api.auth import ViewReader, ViewWriter
from api.bodies import JsonRoute
from api.pagination import GenerationPage, Page, make_page
from api.schemas import IgnoredBody, RequestModel, RunOut, Timestamp
from api.serializers import run_out
from orchestrator.model.generation import (
    Direction,
    Generation,
    GenerationStatus,
    Member,
    MemberPhase,
    PublishMode,
)
from orchestrator.model.names import MAX_LENGTH
from orchestrator.model.run import RunStatus, Trigger
from orchestrator.services.generations import GenerationState, RefreshOrder
from orchestrator.services.runs import RunState

router = APIRouter(prefix="/api/projects/{project_id}/generations", tags=["generations"], route_class=JsonRoute)

GenerationId = Annotated[UUID, Path(description="The generation")]
_MOST_VIEWS = 10_000


class Select(RequestModel):
    """Which views to refresh."""

    views: list[Annotated[str, Field(max_length=MAX_LENGTH)]] = Field(
        default=[], fail_fast=True, max_length=_MOST_VIEWS, description="Ids or names of views"
    )
    direction: Direction = Field(
        default=Direction.NONE, description="With what these views read (upstream), with their readers (downstream)"
    )
    all: bool = Field(default=False, description="All materialized views of the project, instead")


class Refresh(RequestModel):
    """A refresh to start."""

    select: Select = Field(description="Which views")
    force: bool = Field(default=False, description="Run the queries also if nothing that they read has changed")
    publish: PublishMode = Field(
        default=PublishMode.WHAT_SUCCEEDED, description="What becomes visible if the query of a view fails"
    )


class SelectionOut(BaseModel):
    """The views that a generation was asked for."""

    views: list[UUID] = Field(description="Ids of views")
    direction: Direction = Field(description="Which of their relatives were refreshed with them")
    all: bool = Field(description="Whether it was all views of the project")


class GenerationSummary(BaseModel):
    """A refresh of one or several views, as a list shows it."""

    id: UUID = Field(description="The id of the generation")
    status: GenerationStatus = Field(description="How it stands; Partial: some of its views failed or were cancelled")
    trigger: Trigger = Field(description="Who started it")
    select: SelectionOut = Field(description="What it was asked for")
    force: bool = Field(description="Whether queries ran also if nothing had changed")
    publish: PublishMode = Field(description="What became visible if a view failed")
    created_at: Timestamp = Field(description="When it was asked for")
    started_at: Timestamp | None = Field(description="When it began; null while it waits for other runs of its views")
    finished_at: Timestamp | None = Field(description="When it ended")
    view_count: int = Field(description="How many views it has; 0 until it begins")
    counts: dict[RunStatus, int] = Field(description="How many of their runs have each status")
    workflow_id: str = Field(description="Where to find it in Temporal")


class MemberOut(BaseModel):
    """A view of a generation."""

    id: UUID = Field(description="The id of the view")
    name: str = Field(description="The name of the view")
    parents: list[UUID] = Field(description="The views of the generation that it reads, and waits for")
    phase: MemberPhase | None = Field(
        description="How far its run is: waiting, querying, written, or found unchanged; null once it has ended"
    )
    written_at: Timestamp | None = Field(
        description="When its rows were written: members that read it begin then; null without rows of its own"
    )
    run: RunOut = Field(description="Its run")


class GenerationOut(GenerationSummary):
    """A refresh of one or several views."""

    views: list[MemberOut] = Field(description="Its views, by name; empty until it begins")


@router.post("/", status_code=202)
async def start_generation(body: Refresh, context: ViewWriter) -> GenerationOut:
    """Refresh several views as one: each after those that it reads, published together.

    A view that is being refreshed already is waited for. If there is only one, its refresh in progress is joined.
    """
    order = RefreshOrder(
        views=tuple(map(_view, body.select.views)),
        direction=body.select.direction,
        all=body.select.all,
        force=body.force,
        publish=body.publish,
    )
    started = await context.services.generations.start(context.project_id, order, context.user)
    return _shown(await context.services.generations.get(context.project_id, started))


@router.get("/")
async def list_generations(
    request: Request,
    context: ViewReader,
    params: GenerationPage,
    view: Annotated[
        str | None, Query(max_length=MAX_LENGTH, description="Only those that refreshed this view: its id or name")
    ] = None,
    status: Annotated[GenerationStatus | None, Query(description="Only those of this status")] = None,
) -> Page[GenerationSummary]:
    """List refreshes of one or several views, newest first."""
    count, found = await context.services.generations.page(
        context.project_id,
        view=None if view is None else _view(view),
        status=status,
        limit=params.page_size,
        offset=params.offset,
    )
    return make_page(request, params, count, [_summary(one.generation, one.counts) for one in found])


@router.get("/{generation_id}/")
async def retrieve_generation(generation_id: GenerationId, context: ViewReader) -> GenerationOut:
    """Show a refresh with its views: enough to draw it."""
    return _shown(await context.services.generations.get(context.project_id, generation_id))


@router.post("/{generation_id}/cancel/")
async def cancel_generation(generation_id: GenerationId, context: ViewWriter, _: IgnoredBody = None) -> GenerationOut:
    """Stop a refresh; the answer comes when its queries have stopped, and nothing more of it is published then."""
    return _shown(await context.services.generations.cancel(context.project_id, generation_id))


def _view(text: str) -> UUID | str:
    try:
        return UUID(text)
    except ValueError:
        return text.replace("\x00", "\ufffd")  # PostgreSQL refuses a NUL character, and no name holds one


def _shown(state: GenerationState) -> GenerationOut:
    counts: dict[RunStatus, int] = {}
    for member in state.members:
        counts[member.run.status] = counts.get(member.run.status, 0) + 1
    summary = _summary(state.generation, counts)
    return GenerationOut(**dict(summary), views=[_member(member) for member in state.members])


def _member(member: Member) -> MemberOut:
    return MemberOut(
        id=member.run.saved_query_id,
        name=member.name,
        parents=list(member.parents),
        phase=member.phase,
        written_at=member.written_at,
        run=run_out(RunState(run=member.run)),
    )


def _summary(generation: Generation, counts: dict[RunStatus, int]) -> GenerationSummary:
    return GenerationSummary(
        id=generation.id,
        status=generation.status,
        trigger=generation.trigger,
        select=SelectionOut(**generation.selection.model_dump()),
        force=generation.full_refresh,
        publish=generation.publish,
        created_at=generation.created_at,
        started_at=generation.started_at,
        finished_at=generation.finished_at,
        view_count=sum(counts.values()),
        counts=counts,
        workflow_id=generation.workflow_id,
    )
