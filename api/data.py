"""`data/`: the rows of a materialized view, in the format that its reader asks for."""

import csv
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field

from api.auth import RequestContext, RowReader
from api.byte_ranges import requested_range
from api.errors import ErrorBody, range_not_satisfiable
from api.page_links import link_with
from api.result_formats import CONTENT, MEDIA_TYPES, FormatName, Numbers, requested_format
from api.schemas import Timestamp
from api.streaming import HeldResponse, holding, require_chunks
from orchestrator.model.errors import Invalid
from orchestrator.model.reading import ResultFormat, ResultStream
from orchestrator.services.reading import RowsRequest, ViewVersion, chosen_columns

router = APIRouter(
    prefix="/api/projects/{project_id}/warehouse_saved_queries/{saved_query_id}", tags=["warehouse_saved_queries"]
)

_DEFAULT_JSON_ROWS, MOST_JSON_ROWS = 1_000, 50_000
_BEYOND_ALL = 2**62


class ResultColumn(BaseModel):
    """A column of a result."""

    name: str = Field(description="Its name")
    type: str = Field(description="Its type, in DuckDB's spelling")


class RowsOut(BaseModel):
    """Rows of a version of a view, in the order in which its files hold them."""

    columns: list[ResultColumn] = Field(description="The columns, in the order of the values of a row")
    snapshot_id: UUID = Field(description="Which version they are of")
    data_as_of: Timestamp = Field(
        description="The moment for which the rows are known to be right; of an older version, when it was computed"
    )
    next: str | None = Field(description="The URL of the rows that follow, of the same version; null after the last")
    results: list[list[Any]] = Field(description="The rows, each a list of values")


class _Wanted(BaseModel):
    """The query parameters of a request for rows."""

    format: ResultFormat | None
    columns: tuple[str, ...]
    limit: int | None
    offset: int
    snapshot_id: UUID | None
    numbers: Literal["number", "string"]
    compression: Literal["lz4"] | None
    redirect: bool

    def rows(self, result_format: ResultFormat) -> RowsRequest:
        """The part of a version that is asked for, in this format."""
        limit = self.limit
        if result_format is ResultFormat.JSON:
            limit = min(MOST_JSON_ROWS, limit or _DEFAULT_JSON_ROWS) if limit != 0 else 0
        return RowsRequest(
            format=result_format,
            columns=self.columns,
            limit=limit,
            offset=self.offset,
            large_as_text=self.numbers == "string",
            lz4=self.compression == "lz4",
        )


def _wanted(
    *,
    format_name: FormatName = None,
    columns: Annotated[
        list[str] | None, Query(description="The columns, separated by commas; one with a comma in it in double quotes")
    ] = None,
    limit: Annotated[
        int | None, Query(ge=0, le=_BEYOND_ALL, description="How many rows; 1,000 of JSON without it, 50,000 at most")
    ] = None,
    offset: Annotated[int, Query(ge=0, le=_BEYOND_ALL, description="How many rows to leave out before them")] = 0,
    snapshot_id: Annotated[UUID | None, Query(description="An older version that is still kept")] = None,
    numbers: Numbers = "number",
    compression: Annotated[Literal["lz4"] | None, Query(description="How the buffers of Arrow are compressed")] = None,
    redirect: Annotated[
        bool,
        Query(description="Of a whole Parquet file in an object store, give a URL there, which works for 15 minutes"),
    ] = False,
) -> _Wanted:
    return _Wanted(
        format=format_name,
        columns=_names(columns or []),
        limit=limit,
        offset=offset,
        snapshot_id=snapshot_id,
        numbers=numbers,
        compression=compression,
        redirect=redirect,
    )


def _names(columns: list[str]) -> tuple[str, ...]:
    try:
        return tuple(name for row in csv.reader(columns, strict=True) for name in row)
    except csv.Error:
        raise Invalid(
            "The names of columns are separated by commas. One with a comma, a quote or a line break in it stands in "
            "double quotes, and a double quote in it is doubled.",
            attr="columns",
        ) from None


Wanted = Annotated[_Wanted, Depends(_wanted)]
ViewId = Annotated[UUID, Path(description="The view")]
_OK: dict[int | str, dict[str, Any]] = {
    200: {"model": RowsOut, "description": "The rows", "content": CONTENT},
    206: {"description": "The part of the Parquet file that the Range header asks for"},
    307: {"description": "With `redirect`: the URL of the file in the object store"},
    304: {"description": "The version that the client has (If-None-Match) is still the current one"},
    416: {"model": ErrorBody, "description": "The Range header asks for bytes beyond the end of the file"},
}
_HEAD_OK: dict[int | str, dict[str, Any]] = {200: {"description": "The headers of the rows"}, 304: _OK[304]}


class _Asked(NamedTuple):
    """The version and the part of it that a request asks for, and the headers of its answer."""

    version: ViewVersion
    rows: RowsRequest
    headers: dict[str, str]

    @property
    def is_file(self) -> bool:
        """Whether the stored file itself is asked for."""
        files = self.version.snapshot.files
        return self.rows.format is ResultFormat.PARQUET and self.rows.is_whole and len(files) == 1


async def _asked(request: Request, saved_query_id: UUID, context: RequestContext, wanted: _Wanted) -> _Asked:
    version = await context.services.reading.version(context.project_id, saved_query_id, wanted.snapshot_id)
    result_format = requested_format(request, wanted.format)
    asked = _Asked(version, wanted.rows(result_format), _headers(version, result_format))
    chosen_columns(version.snapshot, asked.rows)  # an unknown one is an error of every kind of answer
    if not asked.is_file:
        require_chunks(request)
    return asked


@router.head("/data/", response_class=Response, responses=_HEAD_OK)
async def describe_rows(request: Request, saved_query_id: ViewId, context: RowReader, wanted: Wanted) -> Response:
    """Show the headers of a view's rows: its version, and the moment for which it is known to be right."""
    asked = await _asked(request, saved_query_id, context, wanted)
    if _has(request, asked.headers["ETag"]):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=asked.headers)
    answer = Response(headers=asked.headers, media_type=MEDIA_TYPES[asked.rows.format])
    if asked.is_file:
        answer.headers.update({"Accept-Ranges": "bytes", "Content-Length": str(asked.version.snapshot.files[0].bytes)})
    else:
        del answer.headers["Content-Length"]  # that of the rows is not known
    return answer


@router.get("/data/", response_class=Response, responses=_OK)
async def read_rows(request: Request, saved_query_id: ViewId, context: RowReader, wanted: Wanted) -> Response:
    """Read the rows of a materialized view, all of them of one version."""
    asked = await _asked(request, saved_query_id, context, wanted)
    if _has(request, asked.headers["ETag"]):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=asked.headers)
    if asked.is_file and wanted.redirect:
        url = await context.services.reading.download_url(asked.version)
        if url is not None:
            # The URL is a secret for as long as it works.
            headers = asked.headers | {"Location": url, "Cache-Control": "no-store"}
            return Response(status_code=HTTPStatus.TEMPORARY_REDIRECT, headers=headers)
    return await (_file_response if asked.is_file else _rows_response)(request, context, asked)


def _has(request: Request, tag: str) -> bool:
    """Whether the client has this answer already. A proxy that compresses answers makes tags weak ones."""
    sent = ",".join(request.headers.getlist("if-none-match"))
    known = {one.strip().removeprefix("W/") for one in sent.split(",")}
    return bool(known & {tag, "*"})


async def _rows_response(request: Request, context: RequestContext, asked: _Asked) -> Response:
    version, rows, headers = asked

    async def build(stack: AsyncExitStack) -> HeldResponse:
        stream = await stack.enter_async_context(context.services.reading.rows(context.project_id, version, rows))
        is_json = rows.format is ResultFormat.JSON
        content = _document(stream, _head(request, version, rows)) if is_json else stream.chunks()
        return HeldResponse(content, headers=headers, media_type=MEDIA_TYPES[rows.format])

    return await holding(request, build)


async def _file_response(request: Request, context: RequestContext, asked: _Asked) -> Response:
    version, _, headers = asked
    size = version.snapshot.files[0].bytes
    is_same = request.headers.get("if-range", headers["ETag"]) == headers["ETag"]
    part = requested_range(request.headers.get("range") if is_same else None, size)
    if part is None:
        return range_not_satisfiable(size)
    headers |= {"Accept-Ranges": "bytes", "Content-Length": str(part.end - part.start)}
    if not part.is_whole:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{size}"

    async def build(stack: AsyncExitStack) -> HeldResponse:
        file = await stack.enter_async_context(context.services.reading.file(context.project_id, version))
        return HeldResponse(
            file.chunks(part.start, part.end),
            status_code=HTTPStatus.OK if part.is_whole else HTTPStatus.PARTIAL_CONTENT,
            headers=headers,
            media_type=MEDIA_TYPES[ResultFormat.PARQUET],
        )

    return await holding(request, build)


def _headers(version: ViewVersion, result_format: ResultFormat) -> dict[str, str]:
    snapshot = version.snapshot
    return {
        "ETag": f'"{snapshot.id}-{result_format.value}"',
        "X-Snapshot-Id": str(snapshot.id),
        "X-Data-As-Of": version.data_as_of.isoformat().replace("+00:00", "Z"),
        "Cache-Control": "private, no-cache",
        "Vary": "Accept, Authorization",
    }


def _head(request: Request, version: ViewVersion, rows: RowsRequest) -> dict[str, Any]:
    """All of a RowsOut but the rows, which follow."""
    snapshot = version.snapshot
    columns = chosen_columns(snapshot, rows)
    following = rows.offset + (rows.limit or 0)
    has_next = bool(rows.limit) and following < snapshot.rows
    return RowsOut(
        columns=[ResultColumn(name=column.name, type=column.duckdb_type) for column in columns],
        snapshot_id=snapshot.id,
        data_as_of=version.data_as_of,
        next=link_with(request, {"offset": following, "snapshot_id": snapshot.id}) if has_next else None,
        results=[],
    ).model_dump(mode="json", exclude={"results"})


async def _document(stream: ResultStream, head: dict[str, Any]) -> AsyncIterator[bytes]:
    yield json.dumps(head, separators=(",", ":")).removesuffix("}").encode() + b',"results":[\n'
    async for chunk in stream.chunks():
        yield chunk
    yield b"\n]}\n"
