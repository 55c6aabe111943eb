"""`warehouse_saved_queries`: views, their schedules and their runs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from api.answers import entry_out, nodes_out, run_out, view_out, view_summary
from api.auth import JournalReader, ViewReader, ViewWriter
from api.bodies import JsonRoute
from api.pagination import AskedPage, JournalPage, Page, page_of
from api.schemas import (
    Ancestors,
    AnyObject,
    Dependencies,
    Descendants,
    EditView,
    Journal,
    Level,
    Materialize,
    Resumed,
    ResumeSchedules,
    RunHistory,
    RunView,
    SaveView,
    ViewOut,
    ViewSummary,
)
from orchestrator.library import Edit

router = APIRouter(
    prefix="/api/projects/{project_id}/warehouse_saved_queries", tags=["warehouse_saved_queries"], route_class=JsonRoute
)

ViewId = Annotated[UUID, Path(description="The view")]
_NO_IDS = ResumeSchedules()


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
    draft = Edit(**body.model_dump(exclude_unset=True))
    state, is_new = await caller.control.save(caller.project_id, draft, caller.user)
    response.status_code = 201 if is_new else 200
    return view_out(state)


# The body is needed, but whoever leaves it out is to be told which field they forgot.
@router.post("/resume_schedules/", openapi_extra={"requestBody": {"required": True}})
async def resume_schedules(caller: ViewWriter, body: ResumeSchedules = _NO_IDS) -> Resumed:
    """Resume the paused schedules of several views. Views without one are passed over."""
    return Resumed(resumed=await caller.control.resume(caller.project_id, body.view_ids or [], caller.user))


@router.get("/{saved_query_id}/")
async def retrieve_view(saved_query_id: ViewId, caller: ViewReader) -> ViewOut:
    """Show a view."""
    return view_out(await caller.control.show(caller.project_id, saved_query_id))


@router.put("/{saved_query_id}/", name="replace_view")
@router.patch("/{saved_query_id}/")
async def update_view(saved_query_id: ViewId, body: EditView, caller: ViewWriter) -> ViewOut:
    """Change a view. A changed query needs the revision that the change started from."""
    if body.deleted:
        return view_out(await caller.control.delete(caller.project_id, saved_query_id, caller.user))
    edit = Edit(**body.model_dump(exclude_unset=True, exclude={"deleted"}))
    return view_out(await caller.control.update(caller.project_id, saved_query_id, edit, caller.user))


@router.delete("/{saved_query_id}/", status_code=204)
async def delete_view(saved_query_id: ViewId, caller: ViewWriter) -> None:
    """Delete a view that no other reads. Its name is free again; its history stays."""
    await caller.control.delete(caller.project_id, saved_query_id, caller.user)


@router.get("/{saved_query_id}/activity/")
async def view_activity(request: Request, saved_query_id: ViewId, caller: JournalReader, asked: JournalPage) -> Journal:
    """Show who changed what of a view, newest first, also of a deleted one."""
    count, entries = await caller.library.activity(
        caller.project_id, saved_query_id, limit=asked.page_size, offset=asked.offset
    )
    page = page_of(request, asked, count, [entry_out(entry) for entry in entries])
    return Journal(results=page.results, next=page.next, previous=page.previous, total_count=count)


@router.post("/{saved_query_id}/ancestors/")
async def ancestors(saved_query_id: ViewId, caller: ViewReader, body: Level | None = None) -> Ancestors:
    """Show what a view reads: its inputs, or what lies exactly so many steps behind them."""
    steps = (body or Level()).steps
    return Ancestors(ancestors=nodes_out(await caller.library.ancestors(caller.project_id, saved_query_id, steps)))


@router.post("/{saved_query_id}/descendants/")
async def descendants(saved_query_id: ViewId, caller: ViewReader, body: Level | None = None) -> Descendants:
    """Show what reads a view: its readers, or what lies exactly so many steps behind them."""
    steps = (body or Level()).steps
    found = await caller.library.descendants(caller.project_id, saved_query_id, steps)
    return Descendants(descendants=nodes_out(found))


@router.get("/{saved_query_id}/dependencies/")
async def dependencies(saved_query_id: ViewId, caller: ViewReader) -> Dependencies:
    """Count what a view reads, and what reads it."""
    above = await caller.library.ancestors(caller.project_id, saved_query_id, 1)
    below = await caller.library.descendants(caller.project_id, saved_query_id, 1)
    return Dependencies(upstream_count=len(above), downstream_count=len(below))


@router.post("/{saved_query_id}/revert_materialization/")
async def revert_materialization(saved_query_id: ViewId, caller: ViewWriter, _: AnyObject = None) -> ViewOut:
    """Undo materialization: the schedule and the result are gone, the view answers as a plain one."""
    return view_out(await caller.control.revert(caller.project_id, saved_query_id, caller.user))


@router.post("/{saved_query_id}/materialize/")
async def materialize_view(saved_query_id: ViewId, caller: ViewWriter, body: Materialize | None = None) -> ViewOut:
    """Give a view its schedule, every 24 hours unless asked otherwise, and start a first run."""
    frequency = body.sync_frequency if body else None
    return view_out(await caller.control.materialize(caller.project_id, saved_query_id, frequency, caller.user))


@router.post("/{saved_query_id}/run/")
async def run_view(saved_query_id: ViewId, caller: ViewWriter, body: RunView | None = None) -> ViewOut:
    """Run a materialized view now. A run in progress is joined."""
    full = body.full_refresh if body else False
    return view_out(await caller.control.run(caller.project_id, saved_query_id, caller.user, full_refresh=full))


@router.post("/{saved_query_id}/cancel/")
async def cancel_view(saved_query_id: ViewId, caller: ViewWriter, _: AnyObject = None) -> ViewOut:
    """Stop the run in progress; the answer comes when its query has stopped."""
    return view_out(await caller.control.cancel(caller.project_id, saved_query_id, caller.user))


@router.get("/{saved_query_id}/run_history/")
async def run_history(
    saved_query_id: ViewId, caller: ViewReader, limit: Annotated[int, Query(ge=1, le=100, description="How many")] = 5
) -> RunHistory:
    """Show the last runs of a view, newest first."""
    states = await caller.control.run_history(caller.project_id, saved_query_id, limit)
    return RunHistory(run_history=[run_out(state) for state in states])
