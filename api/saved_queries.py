"""`warehouse_saved_queries`: views, their schedules and their runs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.auth import ViewReader, ViewWriter
from api.pagination import AskedPage, Page, page_of
from api.schemas import (
    AnyObject,
    Materialize,
    RunHistory,
    RunView,
    SaveView,
    ViewOut,
    ViewSummary,
    run_out,
    view_out,
    view_summary,
)
from orchestrator.library import Draft

router = APIRouter(prefix="/api/projects/{project_id}/warehouse_saved_queries", tags=["warehouse_saved_queries"])


@router.get("/")
async def list_views(request: Request, caller: ViewReader, asked: AskedPage) -> Page[ViewSummary]:
    """List the live views, newest first."""
    count, views = await caller.library.page(
        caller.project_id, search=asked.search, limit=asked.page_size, offset=asked.offset
    )
    return page_of(request, asked, count, [view_summary(view) for view in views])


@router.post("/", status_code=201, responses={200: {"model": ViewOut, "description": "A view of that name existed"}})
async def create_view(body: SaveView, caller: ViewWriter, response: Response) -> ViewOut:
    """Create a view, or update the one of that name. It schedules nothing and runs nothing."""
    draft = Draft(**body.model_dump(exclude_unset=True))
    view, is_new = await caller.library.save(caller.project_id, draft, caller.user)
    response.status_code = 201 if is_new else 200
    return view_out(await caller.control.show(caller.project_id, view.id))


@router.get("/{saved_query_id}/")
async def retrieve_view(saved_query_id: UUID, caller: ViewReader) -> ViewOut:
    """Show a view."""
    return view_out(await caller.control.show(caller.project_id, saved_query_id))


@router.post("/{saved_query_id}/materialize/")
async def materialize_view(saved_query_id: UUID, caller: ViewWriter, body: Materialize | None = None) -> ViewOut:
    """Give a view its schedule, every 24 hours unless asked otherwise, and start a first run."""
    frequency = body.sync_frequency if body else None
    return view_out(await caller.control.materialize(caller.project_id, saved_query_id, frequency, caller.user))


@router.post("/{saved_query_id}/run/")
async def run_view(saved_query_id: UUID, caller: ViewWriter, body: RunView | None = None) -> ViewOut:
    """Run a materialized view now. A run in progress is joined."""
    full = body.full_refresh if body else False
    return view_out(await caller.control.run(caller.project_id, saved_query_id, caller.user, full_refresh=full))


@router.post("/{saved_query_id}/cancel/")
async def cancel_view(saved_query_id: UUID, caller: ViewWriter, _: AnyObject = None) -> ViewOut:
    """Stop the run in progress; the answer comes when its query has stopped."""
    return view_out(await caller.control.cancel(caller.project_id, saved_query_id, caller.user))


@router.get("/{saved_query_id}/run_history/")
async def run_history(
    saved_query_id: UUID, caller: ViewReader, limit: Annotated[int, Query(ge=1, le=100)] = 5
) -> RunHistory:
    """Show the last runs of a view, newest first."""
    states = await caller.control.run_history(caller.project_id, saved_query_id, limit)
    return RunHistory(run_history=[run_out(state) for state in states])
