"""The graph of a project: what is computed from what, and the condition of each view."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.console.inner import Refused
from api.console.rendering import packed_json
from api.console.routes import PageRoute
from api.console.visitors import AskedPage, Page

router = APIRouter(prefix="/projects/{project_id}", route_class=PageRoute, include_in_schema=False)

# A browser lays out some hundred nodes in a second. Larger graphs are shown around one view.
MOST_DRAWN = 1_000
_INVALID = 400
_DIRECTIONS = ("both", "upstream", "downstream")


@router.get("/graph")
async def graph(
    page: AskedPage, view: UUID | None = None, direction: Annotated[str, Query(pattern="^[a-z]{2,10}$")] = "both"
) -> Response:
    """The graph of the project, or of what one view is connected with."""
    direction = direction if direction in _DIRECTIONS else "both"
    try:
        found = await _graph(page, view, direction)
    except Refused as error:
        if error.status != _INVALID:
            raise
        return page.render("graph.html", nodes=[], start=view, direction=direction, detail=error.detail, drawn=False)
    nodes = found["nodes"]
    names = {one["id"]: one for one in nodes}
    for one in nodes:
        one["reads"] = []
    for edge in found["edges"]:
        if edge["from"] in names and edge["to"] in names:
            names[edge["to"]]["reads"].append(names[edge["from"]]["name"])
    return page.render(
        "graph.html",
        nodes=nodes,
        start=names.get(str(view)) if view else None,
        direction=direction,
        detail=None,
        drawn=len(nodes) <= MOST_DRAWN,
    )


@router.get("/graph.json")
async def graph_data(
    request: Request,
    page: AskedPage,
    view: UUID | None = None,
    direction: Annotated[str, Query(pattern="^[a-z]{2,10}$")] = "both",
) -> Response:
    """The same as nodes and edges, for the drawing."""
    found = await _graph(page, view, direction)
    nodes = [
        {"id": one["id"], "name": one["name"], "kind": one["kind"], "condition": one["condition"]}
        for one in found["nodes"]
    ]
    edges = [[edge["from"], edge["to"]] for edge in found["edges"]]
    return packed_json(request, {"nodes": nodes, "edges": edges})


async def _graph(page: Page, view: UUID | None, direction: str) -> dict[str, Any]:
    found: dict[str, Any] = await page.api.get("/lineage/", view=view, direction=direction)
    async with page.shares.turn(("project", page.project_id)):
        board = await page.services.view_board.board(page.project_id)
    conditions = {str(row.id): row.condition for row in board.rows}
    for one in found["nodes"]:
        one["condition"] = conditions.get(one["id"]) if one["kind"] == "view" else None
    return found
