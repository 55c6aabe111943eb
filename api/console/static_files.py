"""The files of the console: scripts, styles and what it has of others, each under the digest of its content."""

import gzip
import mimetypes
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Path as PathParam, Request, Response

from api.console.rendering import STATIC, static_url
from api.console.routes import OpenRoute
from orchestrator.model.errors import NotFound

router = APIRouter(route_class=OpenRoute, include_in_schema=False)

_YEAR = "public, max-age=31536000, immutable"
_PACKED = {".js", ".css", ".svg"}
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@router.get("/static/{digest}/{name:path}")
async def static_file(
    request: Request, digest: Annotated[str, PathParam(max_length=64)], name: Annotated[str, PathParam(max_length=200)]
) -> Response:
    """A file. Its address has its digest, so that browsers keep it and yet see a new release at once."""
    path = _found(name)
    if path is None:
        raise NotFound
    response = _answer(request, path)
    is_current = static_url(name) == f"/static/{digest}/{name}"
    response.headers["Cache-Control"] = _YEAR if is_current else "no-cache"
    return response


@lru_cache(maxsize=1000)
def _found(name: str) -> Path | None:
    path = (STATIC / name).resolve()
    return path if path.is_relative_to(STATIC.resolve()) and path.is_file() else None


def _answer(request: Request, path: Path) -> Response:
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
    if path.suffix not in _PACKED or "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(path.read_bytes(), media_type=kind)
    headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(_compressed(path), media_type=kind, headers=headers)


@cache
def _compressed(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), mtime=0)
