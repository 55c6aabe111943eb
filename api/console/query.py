"""The page on which queries are written and run."""

import time
from http import HTTPStatus
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query, Request, Response

from api.console.inner import Refused
from api.console.rendering import packed_json
from api.console.routes import PageRoute
from api.console.visitors import AskedPage
from orchestrator.model.names import MAX_LENGTH
from orchestrator.model.principal import Scope

router = APIRouter(prefix="/projects/{project_id}", route_class=PageRoute, include_in_schema=False)

# A table of more rows takes a browser seconds. The statement may have a LIMIT of its own, and there is the API.
_MOST_SHOWN = 1_000
_MOST_TABLES = 200


@router.get("/query")
async def query_form(page: AskedPage) -> Response:
    """A place to write a query."""
    page.require(Scope.QUERY_READ)
    return page.render("query.html", sql="", query_id=uuid4().hex, result=None, problem=None)


@router.post("/query")
async def run_query(page: AskedPage) -> Response:
    """Run a query, and show its rows or what is wrong with it."""
    page.require(Scope.QUERY_READ)
    sql, query_id = page.form.get("sql", ""), page.form.get("query_id") or uuid4().hex
    body = {"query": {"kind": "SQLQuery", "query": sql}, "client_query_id": query_id}
    began = time.perf_counter()
    try:
        found = await page.api.send("POST", "/query/", body, numbers="string")
    except Refused as error:
        shown = {"sql": sql, "query_id": uuid4().hex, "result": None, "problem": error.body}
        return page.render("query.html", status=error.status, **shown)
    result = {
        "columns": found["types"],
        "rows": found["results"][:_MOST_SHOWN],
        "count": len(found["results"]),
        "more": found["hasMore"],
        "limit": found["limit"],
        "seconds": time.perf_counter() - began,
    }
    return page.render("query.html", sql=sql, query_id=uuid4().hex, result=result, problem=None)


@router.post("/query/cancel")
async def cancel_query(page: AskedPage) -> Response:
    """End the query that this page has begun."""
    page.require(Scope.QUERY_READ)
    await page.api.send("DELETE", f"/query/{page.form.get('query_id', '')[:100]}/")
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.get("/names.json")
async def names(request: Request, page: AskedPage) -> Response:
    """The names of all views, and of the newest tables, to complete what is typed."""
    page.require(Scope.VIEW_READ)
    async with page.shares.turn(("project", page.project_id)):
        board = await page.services.view_board.board(page.project_id)
    try:
        tables = (await page.api.get("/warehouse_tables/", page_size=_MOST_TABLES))["results"]
    except Refused:  # a key without the scope has fewer names to complete
        tables = []
    return packed_json(request, [*(row.name for row in board.rows), *(table["name"] for table in tables)])


@router.get("/columns.json")
async def columns(request: Request, page: AskedPage, name: Annotated[str, Query(max_length=MAX_LENGTH)]) -> Response:
    """The columns of the view or the table of that name, to complete what is typed; none if there is none."""
    for path in ("/warehouse_saved_queries/", "/warehouse_tables/"):
        try:
            found = (await page.api.get(path, name=name))["results"]
        except Refused:
            continue
        if found:
            return packed_json(request, [column["name"] for column in found[0]["columns"]])
    return packed_json(request, [])
