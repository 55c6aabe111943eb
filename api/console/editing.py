"""Creating and editing a view: its plan is shown before it is saved."""

import hashlib
import json
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Response

from api.console.acts import done
from api.console.inner import Refused
from api.console.routes import PageRoute
from api.console.visitors import AskedPage, Page, ViewId
from orchestrator.model.errors import PlanOutdated
from orchestrator.model.principal import Scope
from orchestrator.model.saved_query import SyncFrequency

router = APIRouter(prefix="/projects/{project_id}", route_class=PageRoute, include_in_schema=False)

_PLAN = "/warehouse_saved_queries/plan/"


@router.get("/new")
async def new_view(page: AskedPage) -> Response:
    """The form of a new view."""
    page.require(Scope.VIEW_WRITE)
    return _form(page, None, {})


@router.post("/new")
async def new_view_of(page: AskedPage) -> Response:
    """The form of a new view with a statement that was tried before. Nothing is saved."""
    page.require(Scope.VIEW_WRITE)
    return _form(page, None, page.form)


@router.post("/new/plan")
async def plan_new(page: AskedPage) -> Response:
    """The plan of a new view."""
    return await _planned(page, None, page.form.get("name", "").strip())


@router.post("/new/save")
async def save_new(page: AskedPage) -> Response:
    """Create a view, and materialize it if that was asked for."""
    form, name = page.form, page.form.get("name", "").strip()
    _refuse_unplanned(form)
    body = {"name": name, "query": _query(form), "description": form.get("description", "").strip() or None}
    view = await page.api.send("POST", "/warehouse_saved_queries/", body)
    if frequency := form.get("frequency"):
        path = f"/warehouse_saved_queries/{view['id']}/materialize/"
        await _after_saving(page.api.send("POST", path, {"sync_frequency": frequency}))
    return done(page, f"/views/{view['id']}")


@router.get("/views/{view_id}/edit")
async def edit_view(page: AskedPage, view_id: ViewId) -> Response:
    """The form of a view as it is saved."""
    page.require(Scope.VIEW_WRITE)
    view = await page.api.get(f"/warehouse_saved_queries/{view_id}/")
    return _form(page, view, {})


@router.post("/views/{view_id}/plan")
async def plan_edit(page: AskedPage, view_id: ViewId) -> Response:
    """The plan of an edit."""
    view = await page.api.get(f"/warehouse_saved_queries/{view_id}/")
    return await _planned(page, view, view["name"])


@router.post("/views/{view_id}/save")
async def save_edit(page: AskedPage, view_id: ViewId) -> Response:
    """Save an edit, and refresh the views that its plan names if that was asked for."""
    form = page.form
    _refuse_unplanned(form)
    path = f"/warehouse_saved_queries/{view_id}/"
    view = await page.api.get(path)
    plan = await page.api.send("POST", _PLAN, {"name": view["name"], "query": _query(form, view)})
    body = {
        "query": _query(form, view),
        "description": form.get("description", "").strip() or None,
        "edited_history_id": form.get("edited_history_id"),
        "break_dependents": bool(form.get("break_dependents")),
    }
    await page.api.send("PATCH", path, body)
    views = [run["name"] for run in plan["runs"]]
    if form.get("refresh") and views:
        started = await _after_saving(page.api.send("POST", "/generations/", {"select": {"views": views}}))
        return done(page, f"/refreshes/{started['id']}")
    return done(page, f"/views/{view_id}")


async def _after_saving(asked: Any) -> Any:  # noqa: ANN401 - a call of the API, and its answer
    """The answer to what follows a save. Its error says that the save itself was done."""
    try:
        return await asked
    except Refused as error:
        raise Refused(error.status, {**error.body, "detail": f"The view was saved. {error.detail}"}) from None


async def _planned(page: Page, view: dict[str, Any] | None, name: str) -> Response:
    """The form with its plan, or with the error of it."""
    try:
        plan = await page.api.send("POST", _PLAN, {"name": name, "query": _query(page.form, view)})
    except Refused as error:
        return _form(page, view, page.form, status=error.status, problem=error.body)
    return _form(page, view, page.form, plan=plan)


def _form(
    page: Page,
    view: dict[str, Any] | None,
    form: dict[str, str],
    *,
    status: int = HTTPStatus.OK,
    plan: dict[str, Any] | None = None,
    problem: dict[str, Any] | None = None,
) -> Response:
    saved = {
        "name": view["name"] if view else "",
        "sql": view["query"]["query"] if view else "",
        "description": (view["description"] or "") if view else "",
        "edited_history_id": view["latest_history_id"] if view else "",
        "frequency": "",
    }
    return page.render(
        "edit.html",
        status=status,
        view=view,
        values={name: form.get(name, value) for name, value in saved.items()},
        frequencies=[one.value for one in SyncFrequency if one is not SyncFrequency.NEVER],
        plan=plan,
        problem=problem,
        planned=_digest(form) if plan and not plan["problems"] else "",
    )


def _query(form: dict[str, str], view: dict[str, Any] | None = None) -> dict[str, Any]:
    """The query object of a form: that of the view, with another statement."""
    return {**(view["query"] if view else {"kind": "SQLQuery"}), "query": form.get("sql", "")}


def _refuse_unplanned(form: dict[str, str]) -> None:
    """Raise PlanOutdated for a statement whose plan was not shown."""
    if form.get("planned") != _digest(form):
        raise PlanOutdated("The view was changed after this plan. Look at the plan again; nothing was saved.")


def _digest(form: dict[str, str]) -> str:
    planned = [form.get("name", "").strip(), form.get("sql", "")]
    return hashlib.sha256(json.dumps(planned).encode()).hexdigest()
