"""The routes of the console."""

from fastapi import APIRouter, FastAPI, Response

from api.console import (
    acts,
    documents,
    editing,
    graph,
    live,
    query,
    refreshes,
    sign_in,
    sources,
    static_files,
    view,
    views,
)
from api.console.routes import PageRoute
from orchestrator.model.errors import NotFound

_others = APIRouter(route_class=PageRoute, include_in_schema=False)


@_others.get("/projects/{rest:path}")
async def no_such_page() -> Response:
    """The answer to an address of no page."""
    raise NotFound


def add_console(app: FastAPI) -> None:
    """Add the pages, which are in no document of the API."""
    pages = (views, view, acts, editing, graph, refreshes, query, sources, live)
    for router in (
        sign_in.opened,
        static_files.router,
        documents.router,
        sign_in.router,
        *(one.router for one in pages),
        _others,
    ):
        app.include_router(router)
