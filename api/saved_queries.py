"""`warehouse_saved_queries`: views, their schedules and their runs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from api.auth import ActivityReader, ViewReader, ViewWriter
from api.bodies import JsonRoute
from api.pagination import ActivityPage, Page, PageParams, make_page
from api.schemas import (
    Ancestors,
    Dependencies,
    Descendants,
    EditView,
    IgnoredBody,
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
from api.serializers import entry_out, nodes_out, run_out, view_out, view_summary
from orchestrator.services.definitions import ViewUpdate

router = APIRouter(
    prefix="/api/projects/{project_id}/warehouse_saved_queries", tags=["warehouse_saved_queries"], route_class=JsonRoute
)

ViewId = Annotated[UUID, Path(description="The view")]
_NO_IDS = ResumeSchedules()


@router.get("/")
async def list_views(request: Request, context: ViewReader, params: PageParams) -> Page[ViewSummary]:
    """List the live views, newest first."""
    count, views = await context.services.definitions.page(
        context.project_id,
        search=params.search,
        name=params.name,
        limit=params.page_size,
        offset=params.offset,
    )
    return make_page(request, params, count, [view_summary(view) for view in views])


@router.post("/", status_code=201, responses={200: {"model": ViewOut, "description": "A view of that name existed"}})
async def create_view(body: SaveView, context: ViewWriter, response: Response) -> ViewOut:
    """Create a view, or update the one of that name. It schedules nothing and runs nothing."""
    draft = ViewUpdate(**body.model_dump(exclude_unset=True))
    state, is_new = await context.services.views.create_or_update(context.project_id, draft, context.user)
    response.status_code = 201 if is_new else 200
    return view_out(state)


# The body is required. It has a default so that the error for a client that leaves it out names the missing field.
@router.post("/resume_schedules/", openapi_extra={"requestBody": {"required": True}})
async def resume_schedules(context: ViewWriter, body: ResumeSchedules = _NO_IDS) -> Resumed:
    """Resume the paused schedules of several views. Views without one are passed over."""
    return Resumed(resumed=await context.services.views.resume(context.project_id, body.view_ids or [], context.user))


@router.get("/{saved_query_id}/")
async def retrieve_view(saved_query_id: ViewId, context: ViewReader) -> ViewOut:
    """Show a view."""
    return view_out(await context.services.views.show(context.project_id, saved_query_id))


@router.put("/{saved_query_id}/", name="replace_view")
@router.patch("/{saved_query_id}/")
async def update_view(saved_query_id: ViewId, body: EditView, context: ViewWriter) -> ViewOut:
    """Change a view. A changed query needs the revision that the change started from."""
    if body.deleted:
        return view_out(await context.services.views.delete(context.project_id, saved_query_id, context.user))
    edit = ViewUpdate(**body.model_dump(exclude_unset=True, exclude={"deleted"}))
    return view_out(await context.services.views.update(context.project_id, saved_query_id, edit, context.user))


@router.delete("/{saved_query_id}/", status_code=204)
async def delete_view(saved_query_id: ViewId, context: ViewWriter) -> None:
    """Delete a view that no other reads. Its name is free again; its history stays."""
    await context.services.views.delete(context.project_id, saved_query_id, context.user)


@router.get("/{saved_query_id}/activity/")
async def view_activity(
    request: Request, saved_query_id: ViewId, context: ActivityReader, params: ActivityPage
) -> Journal:
    """Show who changed what of a view, newest first, also of a deleted one."""
    count, entries = await context.services.definitions.activity(
        context.project_id, saved_query_id, limit=params.page_size, offset=params.offset
    )
    page = make_page(request, params, count, [entry_out(entry) for entry in entries])
    return Journal(results=page.results, next=page.next, previous=page.previous, total_count=count)


@router.post("/{saved_query_id}/ancestors/")
async def ancestors(saved_query_id: ViewId, context: ViewReader, body: Level | None = None) -> Ancestors:
    """Show the nodes exactly `level` steps above a view: its inputs unless given, `all` for any number of steps."""
    steps = (body or Level()).steps
    found = await context.services.lineage.ancestors(context.project_id, saved_query_id, steps)
    return Ancestors(ancestors=nodes_out(found), names=await context.services.lineage.names(found))


@router.post("/{saved_query_id}/descendants/")
async def descendants(saved_query_id: ViewId, context: ViewReader, body: Level | None = None) -> Descendants:
    """Show the nodes exactly `level` steps below a view: its readers unless given, `all` for any number of steps."""
    steps = (body or Level()).steps
    found = await context.services.lineage.descendants(context.project_id, saved_query_id, steps)
    return Descendants(descendants=nodes_out(found), names=await context.services.lineage.names(found))


@router.get("/{saved_query_id}/dependencies/")
async def dependencies(saved_query_id: ViewId, context: ViewReader) -> Dependencies:
    """Count what a view reads, and what reads it."""
    above = await context.services.lineage.ancestors(context.project_id, saved_query_id, 1)
    below = await context.services.lineage.descendants(context.project_id, saved_query_id, 1)
    return Dependencies(upstream_count=len(above), downstream_count=len(below))


@router.post("/{saved_query_id}/revert_materialization/")
async def revert_materialization(saved_query_id: ViewId, context: ViewWriter, _: IgnoredBody = None) -> ViewOut:
    """Undo materialization: the schedule and the result are gone, the view answers as a plain one."""
    return view_out(await context.services.views.revert(context.project_id, saved_query_id, context.user))


@router.post("/{saved_query_id}/materialize/")
async def materialize_view(saved_query_id: ViewId, context: ViewWriter, body: Materialize | None = None) -> ViewOut:
    """Give a view its schedule, every 24 hours unless asked otherwise, and start a first run."""
    asked = body or Materialize()
    fresh = asked.model_dump(exclude_unset=True, include={"freshness", "max_staleness"})
    return view_out(
        await context.services.views.materialize(
            context.project_id,
            saved_query_id,
            asked.sync_frequency,
            context.user,
            cron=asked.cron,
            time_zone=asked.time_zone,
            fresh=ViewUpdate(**fresh) if fresh else None,
            run=asked.run,
        )
    )


@router.post("/{saved_query_id}/run/")
async def run_view(saved_query_id: ViewId, context: ViewWriter, body: RunView | None = None) -> ViewOut:
    """Run a materialized view now. A run in progress is joined."""
    full = body.full_refresh if body else False
    return view_out(
        await context.services.runs.run(context.project_id, saved_query_id, context.user, full_refresh=full)
    )


@router.post("/{saved_query_id}/cancel/")
async def cancel_view(saved_query_id: ViewId, context: ViewWriter, _: IgnoredBody = None) -> ViewOut:
    """Stop the run in progress, or the view in refreshes that wait; the answer comes when its query has stopped."""
    return view_out(await context.services.runs.cancel(context.project_id, saved_query_id, context.user))


@router.get("/{saved_query_id}/run_history/")
async def run_history(
    saved_query_id: ViewId, context: ViewReader, limit: Annotated[int, Query(ge=1, le=100, description="How many")] = 5
) -> RunHistory:
    """Show the last runs of a view, newest first."""
    states = await context.services.runs.history(context.project_id, saved_query_id, limit)
    return RunHistory(run_history=[run_out(state) for state in states])
