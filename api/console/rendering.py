"""Renders templates, and sends them compressed."""

import gzip
import hashlib
import json
from datetime import datetime
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from api.console import words
from api.console.highlighting import highlighted

_HERE = Path(__file__).parent
STATIC = _HERE / "static"
_WORTH_PACKING = 1_024
# HTML packs to a tenth; a higher level takes longer than it saves.
_LEVEL = 4


def render(request: Request, template: str, *, status: int = 200, **values: object) -> Response:
    """The page of a template. All text of others is escaped, always."""
    visitor = getattr(request.state, "visitor", None)
    text = (
        _environment()
        .get_template(template)
        .render(
            request=request,
            path=request.url.path,
            visitor=visitor,
            csrf=visitor.csrf if visitor else "",
            partial="hx-request" in request.headers,
            **values,
        )
    )
    return packed(request, text.encode(), "text/html; charset=utf-8", status=status)


def render_error(request: Request, status: int, detail: str, code: str) -> Response:
    """The page of an error. A script that swaps answers gets only the part that says what is wrong."""
    title = HTTPStatus(status).phrase
    template = "error_part.html" if "hx-request" in request.headers else "error.html"
    response = render(request, template, status=status, code=code, detail=detail, title=title, status_code=status)
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        response.headers["Retry-After"] = "5"
    return response


def packed(request: Request, content: bytes, media_type: str, *, status: int = 200) -> Response:
    """An answer, compressed if the browser takes that."""
    headers = {"Vary": "Accept-Encoding"}
    if len(content) >= _WORTH_PACKING and "gzip" in request.headers.get("accept-encoding", ""):
        content = gzip.compress(content, _LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(content, status_code=status, media_type=media_type, headers=headers)


def packed_json(request: Request, value: object) -> Response:
    """JSON for a script of a page."""
    return packed(request, json.dumps(value, ensure_ascii=False).encode(), "application/json")


@cache
def static_url(name: str) -> str:
    """The address of a file that the console serves: another one whenever its content is another."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{digest}/{name}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        number=words.number,
        size=words.size,
        seconds=words.seconds,
        moment=_moment,
        sql=highlighted,
        cell=words.cell,
        tojson_attr=lambda value: json.dumps(value, ensure_ascii=False),
    )
    environment.globals.update(
        static=static_url, url=page_url, slug=words.slug, version=version("matview"), words=words, zip=zip
    )
    return environment


def page_url(path: str, **query: object) -> str:
    """A path with a query, without what is None or empty."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return quote(path, safe="/:@") + (f"?{urlencode(given)}" if given else "")


def _moment(value: str | datetime | None, missing: str = words.MISSING, *, exact: bool = False) -> Markup | str:
    """A moment as text in UTC. A script shows it in the reader's time zone, with UTC in the title.

    The script says how long ago it was, unless it is to be `exact`.
    """
    if value is None:
        return missing
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    text = f"{at:%Y-%m-%d %H:%M:%S}"
    shown = Markup('<time datetime="{}" title="{} UTC"{}>{} UTC</time>')
    return shown.format(f"{at:%Y-%m-%dT%H:%M:%S.%f}Z", text, Markup(' class="exact"') if exact else "", text)


def describe(value: Any) -> str:  # noqa: ANN401 - JSON
    """A value of JSON as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
