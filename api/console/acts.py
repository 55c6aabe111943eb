"""The acts of the pages: each is one call of the API. After it, the page is read again."""

from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, Response

from api.console.routes import PageRoute
from api.console.visitors import AskedPage, Page, ViewId
from orchestrator.model.saved_query import DEFAULT_FREQUENCY

router = APIRouter(prefix="/projects/{project_id}", route_class=PageRoute, include_in_schema=False)


def done(page: Page, path: str) -> Response:
    """Send the browser to a page of the project, which reads what is true now."""
    page.services.view_board.forget(page.project_id)
    address = page.base + path
    if "hx-request" in page.request.headers:
        return Response(headers={"HX-Redirect": address})
    return Response(status_code=HTTPStatus.SEE_OTHER, headers={"Location": address})


@router.post("/refresh-all")
async def refresh_all(page: AskedPage) -> Response:
    """Refresh all materialized views of the project as one."""
    started = await page.api.send("POST", "/generations/", {"select": {"all": True}})
    return done(page, f"/refreshes/{started['id']}")


@router.post("/views/{view_id}/refresh")
async def refresh(page: AskedPage, view_id: ViewId) -> Response:
    """Refresh a view with its relatives in a direction."""
    select = {"views": [str(view_id)], "direction": page.form.get("direction", "none")}
    started = await page.api.send("POST", "/generations/", {"select": select})
    return done(page, f"/refreshes/{started['id']}")


@router.post("/views/{view_id}/run")
async def run(page: AskedPage, view_id: ViewId) -> Response:
    """Run the query of a view, also if nothing has changed."""
    await page.api.send("POST", f"/warehouse_saved_queries/{view_id}/run/", {"full_refresh": True})
    return done(page, f"/views/{view_id}/runs")


@router.post("/views/{view_id}/cancel")
async def cancel(page: AskedPage, view_id: ViewId) -> Response:
    """End the run in progress."""
    await page.api.send("POST", f"/warehouse_saved_queries/{view_id}/cancel/")
    return done(page, f"/views/{view_id}/runs")


@router.post("/views/{view_id}/materialize")
async def materialize(page: AskedPage, view_id: ViewId) -> Response:
    """Give a view a schedule, or another one."""
    cron, zone = page.form.get("cron", "").strip(), page.form.get("time_zone", "").strip()
    timing = {"cron": cron} if cron else {"sync_frequency": page.form.get("sync_frequency") or DEFAULT_FREQUENCY}
    if cron and zone:
        timing["time_zone"] = zone
    path = f"/warehouse_saved_queries/{view_id}/"
    if (await page.api.get(path))["is_materialized"]:
        await page.api.send("PATCH", path, timing)
    else:
        await page.api.send("POST", f"{path}materialize/", timing)
    return done(page, f"/views/{view_id}")


@router.post("/views/{view_id}/revert")
async def revert(page: AskedPage, view_id: ViewId) -> Response:
    """Undo the materialization of a view."""
    await page.api.send("POST", f"/warehouse_saved_queries/{view_id}/revert_materialization/")
    return done(page, f"/views/{view_id}")


@router.post("/views/{view_id}/resume")
async def resume(page: AskedPage, view_id: ViewId) -> Response:
    """Resume the schedule of a view."""
    await page.api.send("POST", "/warehouse_saved_queries/resume_schedules/", {"view_ids": [str(view_id)]})
    return done(page, f"/views/{view_id}")


@router.post("/views/{view_id}/delete")
async def delete(page: AskedPage, view_id: ViewId) -> Response:
    """Delete a view that no other reads."""
    await page.api.send("DELETE", f"/warehouse_saved_queries/{view_id}/")
    return done(page, "/views")


@router.post("/views/{view_id}/rollback")
async def roll_back(page: AskedPage, view_id: ViewId) -> Response:
    """Make an earlier version the one that readers see."""
    body = {"snapshot_id": page.form.get("version", "")}
    await page.api.send("POST", f"/warehouse_saved_queries/{view_id}/rollback/", body)
    return done(page, f"/views/{view_id}/versions")


@router.post("/views/{view_id}/versions/{version}/pin")
async def pin(page: AskedPage, view_id: ViewId, version: UUID) -> Response:
    """Keep a version regardless of its age, or no longer."""
    body = {"pinned": bool(page.form.get("pinned"))}
    await page.api.send("PATCH", f"/warehouse_saved_queries/{view_id}/snapshots/{version}/", body)
    return done(page, f"/views/{view_id}/versions")


@router.post("/views/{view_id}/versions/{version}/promote")
async def promote(page: AskedPage, view_id: ViewId, version: UUID) -> Response:
    """Publish a version that its checks keep from readers."""
    body = {"reason": page.form.get("reason", "")}
    await page.api.send("POST", f"/warehouse_saved_queries/{view_id}/snapshots/{version}/promote/", body)
    return done(page, f"/views/{view_id}/versions")


@router.post("/views/{view_id}/checks/{check_id}/run")
async def run_check(page: AskedPage, view_id: ViewId, check_id: UUID) -> Response:
    """Make a check on what readers see now."""
    await page.api.send("POST", f"/warehouse_saved_queries/{view_id}/checks/{check_id}/run/")
    return done(page, f"/views/{view_id}/checks")


@router.post("/refreshes/{generation_id}/cancel")
async def cancel_refresh(page: AskedPage, generation_id: UUID) -> Response:
    """End a refresh, of which nothing more is published."""
    await page.api.send("POST", f"/generations/{generation_id}/cancel/")
    return done(page, f"/refreshes/{generation_id}")


@router.post("/sources/{table_id}/refresh-schema")
async def refresh_schema(page: AskedPage, table_id: UUID) -> Response:
    """Read the columns of a source table again."""
    body = {"break_dependents": bool(page.form.get("break_dependents"))}
    await page.api.send("POST", f"/warehouse_tables/{table_id}/refresh_schema/", body)
    return done(page, f"/sources/{table_id}")


@router.post("/sources/{table_id}/delete")
async def delete_table(page: AskedPage, table_id: UUID) -> Response:
    """Forget a source table that no view reads."""
    await page.api.send("DELETE", f"/warehouse_tables/{table_id}/")
    return done(page, "/sources")


@router.post("/sources")
async def add_table(page: AskedPage) -> Response:
    """Register files as a source table."""
    body: dict[str, object] = {name: page.form.get(name, "").strip() for name in ("name", "format", "url_pattern")}
    if page.form.get("access_key"):
        body["credential"] = {name: page.form.get(name, "") for name in ("access_key", "access_secret")}
    added = await page.api.send("POST", "/warehouse_tables/", body)
    return done(page, f"/sources/{added['id']}")
