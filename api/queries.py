"""`query/` and `mcp_tools/execute_sql/`: the results of SELECT statements, in PostHog's shapes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from api.auth import QueryReader, RequestContext
from api.bodies import JsonRoute
from api.result_formats import CONTENT, MEDIA_TYPES, FormatName, Numbers, requested_format
from api.schemas import RequestModel
from api.streaming import HeldResponse, holding, require_chunks, unless_left
from orchestrator.model.errors import Invalid, RunFailed
from orchestrator.model.query_object import KINDS
from orchestrator.model.query_values import with_parameters
from orchestrator.model.reading import ResultFormat, ResultStream, ResultSummary
from orchestrator.services.reading import QueryText

router = APIRouter(prefix="/api/projects/{project_id}", tags=["query"], route_class=JsonRoute)

DEFAULT_ROWS, MOST_ROWS = 100, 50_000
_LONGEST_ID = 200
# An agent is shown no more at a time: the rest of its memory is for other things.
_MOST_TOOL_ROWS = 500
_MOST_TOOL_BYTES = 1 << 20
_LONGEST_CELL = 200
_SPACES = re.compile(r"[\r\n\t]+")


class SelectQuery(RequestModel):
    """A SELECT statement, as a query node of PostHog's."""

    kind: str = Field(default=KINDS[0], description="HogQLQuery or SQLQuery; the dialect is DuckDB's in either case")
    query: str = Field(description="One SELECT, DESCRIBE, SUMMARIZE or EXPLAIN of one", examples=["SELECT 1 AS one"])
    values: dict[str, Any] | None = Field(default=None, description="The values of {name} or $name in the statement")


class RunQuery(RequestModel):
    """A query to run."""

    query: SelectQuery = Field(description="The query")
    client_query_id: str | None = Field(
        default=None, min_length=1, max_length=_LONGEST_ID, description="An id by which it can be cancelled"
    )
    name: str | None = Field(default=None, description="What the query is called; it changes nothing")
    refresh: Any = Field(default=None, description="Ignored: every query is run, and answered when it has ended")


class QueryResults(BaseModel):
    """The result of a query."""

    results: list[list[Any]] = Field(description="The rows, each a list of values")
    columns: list[str] = Field(description="The names of the columns")
    types: list[list[str]] = Field(description="The name and the DuckDB type of each column")
    hasMore: bool = Field(description="Whether there are more rows than `limit`")  # noqa: N815 - PostHog's name
    limit: int | None = Field(description="How many rows are given at the most; null if it is the statement's own")
    offset: int = Field(default=0, description="Always 0: write an OFFSET into the statement")
    query: str = Field(description="The statement as it was sent")
    is_cached: bool = Field(default=False, description="Always false: results are not kept")
    error: None = Field(default=None, description="Always null: a query that fails is an answer of its own")
    query_status: None = Field(default=None, description="Always null: no query goes on in the background")


class ToolArguments(RequestModel):
    """The arguments of the tool."""

    query: str = Field(description="One SELECT, DESCRIBE, SUMMARIZE or EXPLAIN of one", examples=["SELECT 1 AS one"])
    truncate: bool = Field(default=True, description="Whether long values are shortened")


class RunTool(RequestModel):
    """A call of the tool."""

    args: ToolArguments = Field(description="Its arguments")


class ToolStructure(BaseModel):
    """The description of the rows."""

    query: str = Field(description="The statement")
    columns: list[str] = Field(description="The names of the columns")
    types: list[list[str]] = Field(description="The name and the DuckDB type of each column")
    hasMore: bool = Field(description="Whether there are more rows than are shown")  # noqa: N815 - PostHog's name


class ToolResult(BaseModel):
    """The answer of the tool. A bad query is no error of the call."""

    success: bool = Field(description="Whether the query was run")
    content: str = Field(description="The rows as text, header first, cells separated by |; or what is wrong")
    structured_content: ToolStructure | None = Field(default=None, description="The columns of the rows")


_OK: dict[int | str, dict[str, Any]] = {
    200: {"model": QueryResults, "description": "The rows", "content": CONTENT},
}


@router.post("/query/", response_class=Response, responses=_OK)
async def run_query(
    request: Request,
    body: RunQuery,
    context: QueryReader,
    format_name: FormatName = None,
    numbers: Numbers = "number",
) -> Response:
    """Run a SELECT over the views and tables of the project, all of them as of one moment."""
    require_chunks(request)
    if body.query.kind not in KINDS:
        raise Invalid(f"The kind of a query is one of {', '.join(KINDS)}.", attr="query.kind")
    result_format = requested_format(request, format_name)
    is_json = result_format is ResultFormat.JSON
    text = QueryText(
        sql=with_parameters(body.query.query, body.query.values or {}),
        values=body.query.values or {},
        written=body.query.query,
        client_query_id=body.client_query_id,
        large_as_text=numbers == "string",
    )

    async def build(stack: AsyncExitStack) -> HeldResponse:
        bounds = {"default_rows": DEFAULT_ROWS, "most_rows": MOST_ROWS} if is_json else {}
        stream = await stack.enter_async_context(
            context.services.reading.query(context.project_id, text, result_format, **bounds)
        )
        content = _document(stream, body.query.query) if is_json else stream.chunks()
        return HeldResponse(content, media_type=MEDIA_TYPES[result_format])

    return await holding(request, build)


@router.delete("/query/{client_query_id}/", status_code=204)
async def cancel_query(
    client_query_id: Annotated[str, Path(max_length=_LONGEST_ID, description="The id that its client gave it")],
    context: QueryReader,
) -> None:
    """Cancel a query that is running. It has ended when the answer comes."""
    await context.services.reading.cancel(context.project_id, client_query_id)


@router.post("/mcp_tools/execute_sql/", response_model=ToolResult)
async def execute_sql(request: Request, body: RunTool, context: QueryReader) -> ToolResult | Response:
    """Run a SELECT for an agent, which gets its rows as text."""
    return await unless_left(request, _tool_result(context, body.args))


async def _tool_result(context: RequestContext, arguments: ToolArguments) -> ToolResult:
    try:
        found, summary = await _rows_of(context, arguments.query)
    except (Invalid, RunFailed) as error:
        return ToolResult(success=False, content=error.placed().message)
    columns = [column.name for column in summary.columns]
    # In a thread, since a megabyte of nested lists would hold up all other requests for a fifth of a second.
    lines = await asyncio.to_thread(_lines, columns, found, shortened=arguments.truncate)
    if summary.has_more:
        lines.append(f"(There are more rows than these {len(lines) - 1:,}: write a LIMIT, or select less.)")
    structure = ToolStructure(query=arguments.query, columns=columns, types=_types(summary), hasMore=summary.has_more)
    return ToolResult(success=True, content="\n".join(lines), structured_content=structure)


async def _rows_of(context: RequestContext, sql: str) -> tuple[bytes, ResultSummary]:
    text = QueryText(sql=with_parameters(sql, {}), written=sql)
    bounds = {"default_rows": DEFAULT_ROWS, "most_rows": _MOST_TOOL_ROWS}
    async with context.services.reading.query(context.project_id, text, ResultFormat.JSON, **bounds) as stream:
        found = bytearray()
        async for chunk in stream.chunks():
            found += chunk
            if len(found) > _MOST_TOOL_BYTES:
                raise Invalid("The result is too long to be shown as text: select fewer rows or columns.")
        assert stream.summary is not None  # noqa: S101 - the chunks have ended
        return b"[" + found + b"]", stream.summary


def _lines(columns: list[str], found: bytes, *, shortened: bool) -> list[str]:
    """The names of the columns and the rows, with all digits of their numbers, each as one line."""
    rows = json.loads(found, parse_int=_Number, parse_float=_Number)
    return ["|".join(_cell(value, shortened=shortened) for value in row) for row in [columns, *rows]]


class _Number(str):
    """A number as the result spells it, with all of its digits."""

    __slots__ = ()


def _json(value: object) -> str:
    """A value that was parsed, as JSON again: its numbers are texts that stand without quotes."""
    if isinstance(value, _Number):
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {_json(one)}" for key, one in value.items()) + "}"
        )
    return json.dumps(value, ensure_ascii=False)


def _cell(value: object, *, shortened: bool) -> str:
    text = value if isinstance(value, str) else _json(value)
    text = _SPACES.sub(" ", text)
    if shortened and len(text) > _LONGEST_CELL:
        return f"{text[:_LONGEST_CELL]}… ({len(text):,} characters)"
    return text


def _types(summary: ResultSummary) -> list[list[str]]:
    return [[column.name, column.duckdb_type] for column in summary.columns]


async def _document(stream: ResultStream, sql: str) -> AsyncIterator[bytes]:
    yield b'{"results":[\n'
    async for chunk in stream.chunks():
        yield chunk
    summary = stream.summary
    assert summary is not None  # noqa: S101 - the chunks have ended
    rest = QueryResults(
        results=[],
        columns=[column.name for column in summary.columns],
        types=_types(summary),
        hasMore=summary.has_more,
        limit=summary.most_rows,
        query=sql,
    )
    yield b"\n]," + rest.model_dump_json(exclude={"results"}).encode()[1:] + b"\n"
