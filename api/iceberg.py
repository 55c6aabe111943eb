"""Apache Iceberg's REST catalog, read-only: DuckDB, Spark, Trino, Polars and pyiceberg read views through it."""

import json
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response, Security
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope as ASGIScope, Send

from api.auth import BEARER, LARGEST_ID, RequestContext, require_scope
from orchestrator.model.errors import Invalid, NotFound
from orchestrator.model.principal import Principal, Scope
from orchestrator.services.iceberg import DEFAULT_NAMESPACE

PREFIX = "/api/iceberg/"
router = APIRouter(prefix="/api/iceberg/v1", tags=["iceberg"])

# Separates the parts of a namespace in a path.
_SEPARATOR = "\x1f"
_PAGE = 1000
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


class LoadedTable(_Iceberg):
    """A table: its schemas, and its versions with their files."""

    metadata_location: None = Field(
        default=None, alias="metadata-location", description="Always null: there is no file"
    )
    metadata: dict[str, Any] = Field(description="The metadata, as the table specification of Iceberg defines it")
    config: dict[str, str] = Field(default={}, description="Always empty: the files are read as the reader's own")


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
        kind = "NoSuchTableException" if "/tables/" in scope["path"] else "NoSuchNamespaceException"
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
    if not chosen.isascii() or not chosen.isdigit() or not 1 <= int(chosen[:11]) <= LARGEST_ID:
        raise Invalid("The warehouse is the id of a project.", attr="warehouse")
    principal.require_project(int(chosen))
    return CatalogConfig(defaults={}, overrides={"prefix": chosen}, endpoints=_ENDPOINTS)


@router.get("/{prefix}/namespaces/")
async def list_namespaces(
    context: Reader, parent: Annotated[str | None, Query(description="The namespace to look below")] = None
) -> Namespaces:
    """List the namespaces directly below another one, or below none."""
    above = tuple(parent.split(_SEPARATOR)) if parent else ()
    found = await _namespaces(context)
    if above and above not in found:
        raise NotFound(f"There is no namespace {'.'.join(above)}.")
    below = {one[: len(above) + 1] for one in found if one[: len(above)] == above and len(one) > len(above)}
    return Namespaces(namespaces=[list(one) for one in sorted(below)])


@router.head("/{prefix}/namespaces/{namespace}/", status_code=204)
async def check_namespace(context: Reader, namespace: NamespacePath) -> Response:
    """Say whether there is a namespace."""
    await _require_namespace(context, namespace)
    return Response(status_code=204)


@router.get("/{prefix}/namespaces/{namespace}/")
async def load_namespace(context: Reader, namespace: NamespacePath) -> Namespace:
    """Show a namespace."""
    return Namespace(namespace=list(await _require_namespace(context, namespace)))


@router.get("/{prefix}/namespaces/{namespace}/tables/")
async def list_tables(
    context: Reader,
    namespace: NamespacePath,
    page_token: Annotated[str | None, Query(alias="pageToken", description="Of the page before")] = None,
    page_size: Annotated[int, Query(alias="pageSize", ge=1, le=_PAGE, description="Tables on a page")] = _PAGE,
) -> Tables:
    """List the views of a namespace that have a result."""
    wanted = await _require_namespace(context, namespace)
    tables = [name for own, name in await context.services.iceberg.tables(context.project_id) if own == wanted]
    start = int(page_token) if page_token and page_token.isascii() and page_token.isdigit() else 0
    page = tables[start : start + page_size]
    more = start + page_size < len(tables)
    return Tables(
        identifiers=[TableName(namespace=list(wanted), name=name) for name in page],
        next_page_token=str(start + page_size) if more else None,
    )


@router.head("/{prefix}/namespaces/{namespace}/tables/{table}/", status_code=204)
async def check_table(context: Reader, namespace: NamespacePath, table: TablePath) -> Response:
    """Say whether there is a table."""
    if (_parts(namespace), table) not in await context.services.iceberg.tables(context.project_id):
        raise NotFound(f"There is no table {table}.")
    return Response(status_code=204)


@router.get("/{prefix}/namespaces/{namespace}/tables/{table}/")
async def load_table(context: Reader, namespace: NamespacePath, table: TablePath) -> LoadedTable:
    """Show the schemas, versions and files of a view."""
    metadata = await context.services.iceberg.load(context.project_id, _parts(namespace), table)
    return LoadedTable(metadata=metadata)


async def _namespaces(context: RequestContext) -> set[tuple[str, ...]]:
    """All namespaces with a table in them, and those above them."""
    tables = await context.services.iceberg.tables(context.project_id)
    return {own[:n] for own, _ in tables for n in range(1, len(own) + 1)} | {DEFAULT_NAMESPACE}


async def _require_namespace(context: RequestContext, namespace: str) -> tuple[str, ...]:
    wanted = _parts(namespace)
    if wanted not in await _namespaces(context):
        raise NotFound(f"There is no namespace {'.'.join(wanted)}.")
    return wanted


def _parts(namespace: str) -> tuple[str, ...]:
    return tuple(namespace.split(_SEPARATOR))
