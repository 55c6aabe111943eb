"""`/docs` and `/redoc`: pages of the API's document, with no file from another host."""

from fastapi import APIRouter, Request, Response

from api.console.rendering import render
from api.console.routes import DocumentRoute

router = APIRouter(route_class=DocumentRoute, include_in_schema=False)


@router.get("/docs")
async def swagger(request: Request) -> Response:
    """The document as forms to try requests with."""
    return render(request, "docs.html", kind="swagger")


@router.get("/redoc")
async def redoc(request: Request) -> Response:
    """The document as pages to read."""
    return render(request, "docs.html", kind="redoc")
