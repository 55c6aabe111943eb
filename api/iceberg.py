"""Apache Iceberg's REST catalog, read-only: DuckDB, Spark, Trino, Polars and pyiceberg read views through it."""

import asyncio
import json
import re
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response, Security
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope as ASGIScope, Send

from api.auth import BEARER, LARGEST_ID, RequestContext, require_scope
from orchestrator.model.errors import Invalid, NotFound
from orchestrator.model.principal import Principal, Scope

PREFIX = "/api/iceberg/"
router = APIRouter(prefix="/api/iceberg/v1", tags=["iceberg"])

# Separates the parts of a namespace in a path.
_SEPARATOR = "\x1f"
_PAGE = 1000
# Numbers in texts that clients send. Python refuses to parse more than 4,300 digits.
_NUMBER = re.compile(r"[0-9]{1,10}")
# A table that is not there, and not the list of tables of a namespace that is not there.
_TABLE = re.compile(r"/namespaces/[^/]+/tables/[^/]")
# Iceberg's names of errors, by status.
_KINDS = {
    400: "BadRequestException",
    401: "NotAuthorizedException",
    403: "ForbiddenException",
    405: "UnsupportedOperationException",
    429: "ServiceUnavailableException",
    503: "ServiceUnavailableException",
}
_ENDPOINTS = [
    "GET /v1/config",
    "GET /v1/{prefix}/namespaces",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
]


class CatalogConfig(BaseModel):
    """The settings of a client, which it asks for first."""

    defaults: dict[str, str] = Field(description="Always empty")
    overrides: dict[str, str] = Field(description="The prefix of all other paths, which is the id of the project")
    endpoints: list[str] = Field(description="The requests that this catalog answers: none of them changes anything")


class _Iceberg(BaseModel):
    model_config = ConfigDict(populate_by_name=True)


class Namespaces(_Iceberg):
    """The namespaces below another one."""

    namespaces: list[list[str]] = Field(description="Each as the list of its parts")
    next_page_token: str | None = Field(
        default=None, alias="next-page-token", description="Always null: it is one page"
    )


class Namespace(_Iceberg):
    """A namespace."""

    namespace: list[str] = Field(description="Its parts")
    properties: dict[str, str] = Field(default={}, description="Always empty")


class TableName(_Iceberg):
    """The name of a table."""

    namespace: list[str] = Field(description="The parts of its namespace")
    name: str = Field(description="The last part of the view's name")


class Tables(_Iceberg):
    """The tables of a namespace."""

    identifiers: list[TableName] = Field(description="The tables of this page")
    next_page_token: str | None = Field(default=None, alias="next-page-token", description="Of the page that follows")


class IcebergErrorMiddleware:
    """Gives every error below this catalog's path the shape that Iceberg's clients read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        found = b""

        async def shaped(message: Message) -> None:
            nonlocal start, found
            if message["type"] == "http.response.start" and message["status"] >= HTTPStatus.BAD_REQUEST:
                start = message
            elif start is None:
                await send(message)
            else:
                found += message.get("body", b"")
                if not message.get("more_body", False):
                    await _send_error(scope, start, found, send)

        await self._app(scope, receive, shaped)


async def _send_error(scope: ASGIScope, start: Message, body: bytes, send: Send) -> None:
    status = start["status"]
    message = json.loads(body)["detail"] if body else HTTPStatus(status).phrase
    kind = _KINDS.get(status, "InternalServerError")
    if status == HTTPStatus.NOT_FOUND:
        kind = "NoSuchTableException" if _TABLE.search(scope["path"]) else "NoSuchNamespaceException"
    shaped = json.dumps({"error": {"message": message, "type": kind, "code": status}}).encode()
    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    await send({**start, "headers": [*headers, (b"content-length", str(len(shaped)).encode())]})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else shaped})


async def _context(
    request: Request,
    prefix: Annotated[int, Path(ge=1, le=LARGEST_ID, description="The project")],
    _: Annotated[object, Security(BEARER, scopes=[Scope.VIEW_READ])] = None,
) -> Any:  # noqa: ANN401 - see below
    async for context in require_scope(Scope.VIEW_READ)(request, prefix):
        yield context


Reader = Annotated[RequestContext, Depends(_context, scope="function")]
NamespacePath = Annotated[str, Path(description="The parts of the namespace, separated by the character 1F")]
TablePath = Annotated[str, Path(description="The last part of the view's name")]


@router.get("/config/")
async def catalog_config(
    request: Request,
    warehouse: Annotated[str | None, Query(description="The id of the project; the key's own if it has one")] = None,
    _: Annotated[object, Security(BEARER, scopes=[Scope.VIEW_READ])] = None,
) -> CatalogConfig:
    """Show which project a client reads, and what it may ask for."""
    principal: Principal = request.state.principal
    own = sorted(principal.project_ids or ())
    if warehouse is None and len(own) != 1:
        raise Invalid("Name the project: the warehouse is its id.", attr="warehouse")
    chosen = warehouse if warehouse is not None else str(own[0])
    project_id = int(chosen) if _NUMBER.fullmatch(chosen) else 0
    if not 1 <= project_id <= LARGEST_ID:
        raise Invalid("The warehouse is the id of a project.", attr="warehouse")
    principal.require_project(project_id)
    return CatalogConfig(defaults={}, overrides={"prefix": str(project_id)}, endpoints=_ENDPOINTS)


@router.get("/{prefix}/namespaces/")
async def list_namespaces(
    context: Reader, parent: Annotated[str | None, Query(description="The namespace to look below")] = None
) -> Namespaces:
    """List the namespaces directly below another one, or below none."""
    iceberg, project_id = context.services.iceberg, context.project_id
    above = await iceberg.namespace(project_id, _parts(parent)) if parent else ()
    found = await iceberg.namespaces(project_id)
    below = {one[: len(above) + 1] for one in found if one[: len(above)] == above and len(one) > len(above)}
    return Namespaces(namespaces=[list(one) for one in sorted(below)])


@router.head("/{prefix}/namespaces/{namespace}/", status_code=204)
async def check_namespace(context: Reader, namespace: NamespacePath) -> Response:
    """Say whether there is a namespace."""
    await context.services.iceberg.namespace(context.project_id, _parts(namespace))
    return Response(status_code=204)


@router.get("/{prefix}/namespaces/{namespace}/")
async def load_namespace(context: Reader, namespace: NamespacePath) -> Namespace:
    """Show a namespace."""
    found = await context.services.iceberg.namespace(context.project_id, _parts(namespace))
    return Namespace(namespace=list(found))


@router.get("/{prefix}/namespaces/{namespace}/tables/")
async def list_tables(
    context: Reader,
    namespace: NamespacePath,
    page_token: Annotated[str | None, Query(alias="pageToken", description="Of the page before")] = None,
    page_size: Annotated[int, Query(alias="pageSize", ge=1, le=_PAGE, description="Tables on a page")] = _PAGE,
) -> Tables:
    """List the views of a namespace that have a result."""
    found = await context.services.iceberg.namespace(context.project_id, _parts(namespace))
    tables = [name for own, name in await context.services.iceberg.tables(context.project_id) if own == found]
    # An empty token asks for the first page.
    if page_token and not _NUMBER.fullmatch(page_token):
        raise Invalid("The page token is not one of this catalog.", attr="pageToken")
    start = int(page_token) if page_token else 0
    page = tables[start : start + page_size]
    more = start + page_size < len(tables)
    return Tables(
        identifiers=[TableName(namespace=list(found), name=name) for name in page],
        next_page_token=str(start + page_size) if more else None,
    )


@router.head("/{prefix}/namespaces/{namespace}/tables/{table}/", status_code=204)
async def check_table(context: Reader, namespace: NamespacePath, table: TablePath) -> Response:
    """Say whether there is a table."""
    if not await context.services.iceberg.exists(context.project_id, _parts(namespace), table):
        raise NotFound
    return Response(status_code=204)


@router.get("/{prefix}/namespaces/{namespace}/tables/{table}/")
async def load_table(context: Reader, namespace: NamespacePath, table: TablePath) -> Response:
    """Show the schemas, versions and files of a view, as the table specification of Iceberg defines them."""
    metadata = await context.services.iceberg.load(context.project_id, _parts(namespace), table)
    # There is no file with the metadata, and the files are read with the reader's own credentials.
    loaded = {"metadata-location": None, "metadata": metadata, "config": {}}
    # It may have several megabytes, which would delay all other requests.
    content = await asyncio.to_thread(json.dumps, loaded)
    return Response(content, media_type="application/json")


def _parts(namespace: str) -> tuple[str, ...]:
    return tuple(namespace.split(_SEPARATOR))
