"""The source tables of a project."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from api.console.inner import Refused
from api.console.rendering import page_url
from api.console.routes import PageRoute
from api.console.visitors import AskedPage
from orchestrator.model.names import MAX_LENGTH
from orchestrator.model.source_table import SourceFormat

router = APIRouter(prefix="/projects/{project_id}/sources", route_class=PageRoute, include_in_schema=False)

_ON_A_PAGE = 50
_FORBIDDEN = 403


@router.get("")
async def list_sources(
    page: AskedPage,
    search: Annotated[str, Query(max_length=MAX_LENGTH)] = "",
    number: Annotated[int, Query(ge=1, le=10**9, alias="page")] = 1,
) -> Response:
    """The source tables, newest first."""
    found = await page.api.get("/warehouse_tables/", page=number, page_size=_ON_A_PAGE, search=search or None)
    here = f"{page.base}/sources"
    return page.render(
        "sources.html",
        tables=found["results"],
        count=found["count"],
        search=search,
        formats=list(SourceFormat),
        before=page_url(here, page=number - 1, search=search) if number > 1 else None,
        after=page_url(here, page=number + 1, search=search) if found["next"] else None,
    )


@router.get("/{table_id}")
async def one_source(page: AskedPage, table_id: UUID) -> Response:
    """A source table: its columns, its files, its checks, and the views that read it."""
    table = await page.api.get(f"/warehouse_tables/{table_id}/")
    try:
        graph = await page.api.get("/lineage/", view=table_id, direction="downstream")
        checks = await page.api.get(f"/warehouse_tables/{table_id}/checks/", page_size=1000)
    except Refused as error:
        if error.status != _FORBIDDEN:
            raise
        graph, checks = {"nodes": [], "edges": []}, {"results": []}
    nodes = {one["id"]: one for one in graph["nodes"]}
    readers = [nodes[edge["to"]] for edge in graph["edges"] if edge["from"] == str(table_id)]
    return page.render("source.html", table=table, readers=readers, checks=checks["results"])
