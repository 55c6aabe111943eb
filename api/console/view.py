"""The pages of one view: its definition, rows, runs, versions, checks and activity."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from api.console.inner import Refused
from api.console.rendering import describe, page_url
from api.console.routes import PageRoute
from api.console.views import timing_of
from api.console.visitors import AskedPage, Page, ViewId
from api.console.words import diff_lines
from orchestrator.model.base import now
from orchestrator.model.condition import Condition, ScheduleGlance
from orchestrator.model.saved_query import SyncFrequency

router = APIRouter(prefix="/projects/{project_id}/views/{view_id}", route_class=PageRoute, include_in_schema=False)

_ROWS, _RUNS, _MOST_RUNS = 100, 25, 100
_VERSIONS, _ENTRIES = 25, 20
_NOT_FOUND, _FORBIDDEN = 404, 403
_BEYOND_ALL = 2**53


async def load_view(page: Page, view_id: UUID) -> dict[str, Any]:
    """The part that every page of a view shows: the view as the API has it, its condition, why it is not fresh."""
    view = await page.api.get(f"/warehouse_saved_queries/{view_id}/")
    (found,) = await page.services.conditions.of_views(page.project_id, [view_id]) or (None,)
    if found is not None and view["schedule_paused"] is not None:  # Temporal was asked: its list may be a moment late
        schedule = ScheduleGlance(paused=view["schedule_paused"], reason=view["paused_reason"])
        found = found.model_copy(update={"schedule": schedule})
    moment = now()
    condition = found.condition(moment) if found else Condition.PLAIN
    # Of a failed run its error is shown whole; a run in progress does not hide it.
    has_failed = found is not None and found.has_failed
    return {
        "view": view,
        "is_running": view["status"] == "Running",
        "state": {
            "condition": condition,
            "problem": view["latest_error"] if has_failed else None,
            "reasons": found.stale_reasons(moment) if found else [],
        },
        "timing": timing_of(view["sync_frequency"], view["cron"], view["time_zone"]),
    }


@router.get("")
async def overview(page: AskedPage, view_id: ViewId) -> Response:
    """The definition of a view, and the facts of it."""
    shared = await load_view(page, view_id)
    path = f"/warehouse_saved_queries/{view_id}"
    above = await page.api.send("POST", f"{path}/ancestors/")
    below = await page.api.send("POST", f"{path}/descendants/")
    # The API names a view by its id, and a source table by its name.
    reads = [(name, f"/views/{key}" if key != name else "") for key, name in above["names"].items()]
    readers = [(name, f"/views/{key}") for key, name in below["names"].items()]
    frequencies = [one.value for one in SyncFrequency]
    return page.render(
        "view_overview.html", **shared, reads=sorted(reads), readers=sorted(readers), frequencies=frequencies
    )


@router.get("/rows")
async def rows(
    page: AskedPage,
    view_id: ViewId,
    version: UUID | None = None,
    offset: Annotated[int, Query(ge=0, le=_BEYOND_ALL)] = 0,
) -> Response:
    """The rows of a version, as its files hold them."""
    shared = await load_view(page, view_id)
    path = f"/warehouse_saved_queries/{view_id}/data/"
    try:
        found = await page.api.get(path, limit=_ROWS, offset=offset, snapshot_id=version, numbers="string")
    except Refused as error:
        if error.status != _NOT_FOUND:
            raise
        return page.render("view_rows.html", **shared, found=None, detail=error.detail)
    shown, here = found["snapshot_id"], f"{page.base}/views/{view_id}/rows"
    return page.render(
        "view_rows.html",
        **shared,
        found=found,
        columns=[(one["name"], one["type"]) for one in found["columns"]],
        offset=offset,
        asked=version,
        before=page_url(here, version=shown, offset=max(0, offset - _ROWS)) if offset else None,
        after=page_url(here, version=shown, offset=offset + _ROWS) if found["next"] else None,
    )


@router.get("/runs")
async def runs(page: AskedPage, view_id: ViewId, limit: Annotated[int, Query(ge=1, le=_MOST_RUNS)] = _RUNS) -> Response:
    """The last runs of a view."""
    shared = await load_view(page, view_id)
    found = await page.api.get(f"/warehouse_saved_queries/{view_id}/run_history/", limit=limit)
    return page.render("view_runs.html", **shared, runs=found["run_history"], limit=limit)


@router.get("/runs.json")
async def run_series(page: AskedPage, view_id: ViewId) -> Response:
    """The last runs of a view as series to plot: when each began, how many seconds it took, how it ended."""
    found = await page.api.get(f"/warehouse_saved_queries/{view_id}/run_history/", limit=_MOST_RUNS)
    ended = [run for run in reversed(found["run_history"]) if run["duration_seconds"] is not None]
    return JSONResponse(
        {name: [run[name] for run in ended] for name in ("started_at", "duration_seconds", "status", "rows")}
    )


@router.get("/versions")
async def versions(page: AskedPage, view_id: ViewId, number: Annotated[int, Query(ge=1, alias="page")] = 1) -> Response:
    """The versions of a view that are kept."""
    shared = await load_view(page, view_id)
    path = f"/warehouse_saved_queries/{view_id}/snapshots/"
    found = await page.api.get(path, page=number, page_size=_VERSIONS)
    here = f"{page.base}/views/{view_id}/versions"
    return page.render(
        "view_versions.html",
        **shared,
        versions=found["results"],
        current=shared["view"]["current_snapshot_id"],
        before=page_url(here, page=number - 1) if number > 1 else None,
        after=page_url(here, page=number + 1) if found["next"] else None,
    )


@router.get("/versions/{version}/diff")
async def diff(
    page: AskedPage, view_id: ViewId, version: UUID, key: Annotated[str, Query(max_length=500)] = ""
) -> Response:
    """How the rows of the current version differ from those of an earlier one."""
    shared = await load_view(page, view_id)
    found = await page.api.get(
        f"/warehouse_saved_queries/{view_id}/snapshots/{version}/diff/", key=key or None, limit=_ROWS, numbers="string"
    )
    columns = [(one["name"], one["to"]) for one in found["columns"]]
    return page.render("view_diff.html", **shared, diff=found, columns=columns, key=key)


@router.get("/checks")
async def checks(page: AskedPage, view_id: ViewId) -> Response:
    """The checks of a view, each with its newest result."""
    shared = await load_view(page, view_id)
    try:
        found = await page.api.get(f"/warehouse_saved_queries/{view_id}/checks/", page_size=1000)
    except Refused as error:
        if error.status != _FORBIDDEN:
            raise
        return page.render("view_checks.html", **shared, checks=[], detail=error.detail)
    return page.render("view_checks.html", **shared, checks=found["results"], detail=None)


@router.get("/checks/{check_id}/{result_id}")
async def failing_rows(page: AskedPage, view_id: ViewId, check_id: UUID, result_id: UUID) -> Response:
    """The rows on which a check has failed."""
    shared = await load_view(page, view_id)
    found = await page.api.get(f"/warehouse_saved_queries/{view_id}/checks/{check_id}/runs/{result_id}/rows/")
    columns = [(one["name"], one["type"]) for one in found["columns"]]
    return page.render("view_failing.html", **shared, found=found, columns=columns)


@router.get("/activity")
async def activity(
    page: AskedPage, view_id: ViewId, number: Annotated[int, Query(ge=1, le=10**9, alias="page")] = 1
) -> Response:
    """Who changed what of a view."""
    shared = await load_view(page, view_id)
    try:
        found = await page.api.get(f"/warehouse_saved_queries/{view_id}/activity/", limit=_ENTRIES, page=number)
    except Refused as error:
        if error.status != _FORBIDDEN:
            raise
        return page.render("view_activity.html", **shared, detail=error.detail)
    here = f"{page.base}/views/{view_id}/activity"
    return page.render(
        "view_activity.html",
        **shared,
        detail=None,
        entries=[_entry(one) for one in found["results"]],
        before=page_url(here, page=number - 1) if number > 1 else None,
        after=page_url(here, page=number + 1) if found["next"] else None,
    )


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    changes = [
        {
            "field": one["field"],
            "was": _short(one["before"]),
            "now": _short(one["after"]),
            "lines": diff_lines(_sql(one["before"]), _sql(one["after"])) if one["field"] == "query" else (),
        }
        for one in entry["detail"]["changes"]
    ]
    return {**entry, "detail": {**entry["detail"], "changes": changes}}


def _short(value: object) -> str:
    text = "nothing" if value is None else describe(value)
    return text if len(text) <= _ROWS else f"{text[:_ROWS]}…"


def _sql(value: object) -> str:
    """The statement in a query object, or the text itself."""
    if isinstance(value, dict):
        return str(value.get("query", ""))
    return "" if value is None else str(value)
