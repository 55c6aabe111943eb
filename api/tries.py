"""`try/` and `tries/`: an edit of a view's query is run before it is saved. PostHog has none of this."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from api.auth import RequestContext, RowReader, ViewReader, ViewWriter
from api.bodies import JsonRoute
from api.diffs import DEFAULT_ROWS, LONGEST_NAME, DiffOut, Key, Limit, diff_document
from api.result_formats import Numbers
from api.schemas import RequestModel, Timestamp, ViewOut
from api.serializers import view_out
from api.snapshots import StoredColumnOut, stored_column_out
from api.streaming import HeldResponse, holding, require_chunks
from orchestrator.model.edit_try import EditTry, NamedTry, TryStatus
from orchestrator.model.errors import NotFound, RunFailed, Transient
from orchestrator.model.names import name_key
from orchestrator.services.diffs import DiffRequest
from orchestrator.services.tries import ReadyTry

Json = dict[str, Any]

router = APIRouter(
    prefix="/api/projects/{project_id}/warehouse_saved_queries/{saved_query_id}",
    tags=["warehouse_saved_queries"],
    route_class=JsonRoute,
)

ViewId = Annotated[UUID, Path(description="The view")]
TryId = Annotated[UUID, Path(description="The try")]
MemberName = Annotated[
    str | None,
    Query(
        max_length=LONGEST_NAME,
        description="The view, by id or name, whose rows and difference are shown: one of `members`; if not given, the"
        " edited one",
    ),
]


class TryEdit(RequestModel):
    """An edit to be tried."""

    query: Any = Field(
        description="An object that holds one SELECT statement in DuckDB's dialect",
        examples=[{"kind": "HogQLQuery", "query": "SELECT 1 AS one"}],
    )
    descendants: bool = Field(
        default=False,
        description="Whether the materialized views that read this one, at any distance, are written from its result",
    )


class TrySummary(BaseModel):
    """A try of an edit: its query is run, and is not saved."""

    id: UUID = Field(description="Its id")
    status: TryStatus = Field(
        description="Running until all of its members have ended; Ready: its results can be read and promoted"
    )
    error: str | None = Field(description="Why the edited query failed")
    created_at: Timestamp = Field(description="When it was asked for: its inputs are read as they were then")
    finished_at: Timestamp | None = Field(description="When it ended")
    expires_at: Timestamp = Field(description="When it is forgotten")
    base_history_id: UUID = Field(description="The revision of the query that the edit started from")
    base_snapshot_id: UUID | None = Field(description="The version that was current then; it is compared with that")
    row_count: int | None = Field(description="How many rows its result has")
    size_bytes: int | None = Field(description="The size of its result on disk, in bytes")
    descendant_count: int = Field(description="How many views that read the edited one are tried with it")


class TryMember(BaseModel):
    """A view that is written in a try: the edited one, or one that reads it."""

    saved_query_id: UUID = Field(description="The view")
    name: str = Field(description="Its name")
    status: TryStatus = Field(
        description="Ready: its result can be read; Skipped: a view that it reads was not written, so it was not either"
    )
    error: str | None = Field(description="Why it has no result")
    finished_at: Timestamp | None = Field(description="When it ended")
    base_history_id: UUID = Field(description="The revision of its query when the try was made")
    base_snapshot_id: UUID | None = Field(description="The version that was current then; it is compared with that")
    row_count: int | None = Field(description="How many rows its result has")
    size_bytes: int | None = Field(description="The size of its result on disk, in bytes")
    columns: list[StoredColumnOut] | None = Field(description="The columns of its result, in SELECT order")


class TryOut(TrySummary):
    """A try with its query, its columns and its members."""

    query: Any = Field(description="The edited query")
    columns: list[StoredColumnOut] | None = Field(description="The columns of its result, in SELECT order")
    members: list[TryMember] = Field(description="The edited view, then those that read it, each after what it reads")


class TryResult(TryOut):
    """A try with the first rows of a result, and what these differ in from the version that was current."""

    member: str = Field(description="The name of the view whose rows and difference these are")
    rows: list[list[Any]] | None = Field(
        description="The first rows, each a list of values; null while that view is not Ready"
    )
    diff: DiffOut | None = Field(description="The difference between that version and the result")
    diff_error: str | None = Field(description="Why there is no difference, or no rows, although it is Ready")


class TryList(BaseModel):
    """The tries of a view."""

    results: list[TrySummary] = Field(description="Those that have not expired, newest first")


_OK: dict[int | str, dict[str, Any]] = {200: {"model": TryResult, "description": "The try"}}


@router.post("/try/", status_code=202)
async def try_edit(saved_query_id: ViewId, body: TryEdit, context: ViewWriter) -> TryOut:
    """Run an edited query of a view into a version that no reader sees, to compare it with the current one.

    With `descendants`, the views that read it are written in the same way, from its result and from one another's.
    """
    service = context.services.tries
    edit = await service.start(
        context.project_id, saved_query_id, body.query, context.user, descendants=body.descendants
    )
    return _try_out(edit, await service.members(edit))


@router.get("/tries/")
async def list_tries(saved_query_id: ViewId, context: ViewReader) -> TryList:
    """List the tries of a view that have not expired."""
    found = await context.services.tries.list(context.project_id, saved_query_id)
    return TryList(results=[TrySummary(**_summary(one)) for one in found])


@router.get("/tries/{try_id}/", response_class=Response, responses=_OK)
async def show_try(
    *,
    request: Request,
    saved_query_id: ViewId,
    try_id: TryId,
    context: RowReader,
    member: MemberName = None,
    key: Key = None,
    limit: Limit = DEFAULT_ROWS,
    numbers: Numbers = "number",
) -> Response:
    """Show how a try stands, and the first rows of a result with their difference from the current version.

    These are of the edited view, or of the `member`, once that is Ready, which may be before the others are.
    """
    require_chunks(request)
    service = context.services.tries
    edit = await service.get(context.project_id, saved_query_id, try_id)
    members = await service.members(edit)
    chosen = _chosen(members, member)
    found = await service.ready(chosen.edit, key or ())
    wanted = DiffRequest(limit, large_as_text=numbers == "string")
    head = _try_out(edit, members).model_dump(mode="json") | {"member": chosen.name}

    async def build(stack: AsyncExitStack) -> HeldResponse:
        if found is None:
            return HeldResponse(_document(head, b"null", None, None), media_type="application/json")
        content = await _ready(stack, context, head, found, wanted)
        return HeldResponse(content, media_type="application/json")

    return await holding(request, build)


@router.delete("/tries/{try_id}/", status_code=204)
async def forget_try(saved_query_id: ViewId, try_id: TryId, context: ViewWriter) -> None:
    """Forget a try: a query that runs is cancelled, and its result is removed."""
    await context.services.tries.forget(context.project_id, saved_query_id, try_id)


@router.post("/tries/{try_id}/promote/")
async def promote_try(saved_query_id: ViewId, try_id: TryId, context: ViewWriter) -> ViewOut:
    """Save the edit and make all results the current versions, as one act, if the views are as when it was tried."""
    return view_out(await context.services.tries.promote(context.project_id, saved_query_id, try_id, context.user))


async def _ready(
    stack: AsyncExitStack, context: RequestContext, head: Json, found: ReadyTry, wanted: DiffRequest
) -> AsyncIterator[bytes]:
    """The answer for a try that is Ready. Its rows are read, and its diff has begun."""
    rows, diff, error = b"null", None, found.no_diff
    try:
        rows = await context.services.tries.rows(found, wanted.rows, large_as_text=wanted.large_as_text)
        rows = b"[" + rows + b"]"
        if found.versions is not None:
            members = await stack.enter_async_context(
                context.services.diffs.members(context.project_id, found.versions, wanted)
            )
            diff = diff_document(found.versions, members)
    except (RunFailed, NotFound, Transient) as failed:  # the try itself is Ready, and must be shown all the same
        error = failed.message
    return _document(head, rows, diff, error)


async def _document(
    head: Json, rows: bytes, diff: AsyncIterator[bytes] | None, error: str | None
) -> AsyncIterator[bytes]:
    """A TryResult as JSON. `head` has what is known without reading rows."""
    head = head | {"diff_error": error}
    yield json.dumps(head, separators=(",", ":")).removesuffix("}").encode() + b',"rows":' + rows + b',"diff":'
    if diff is None:
        yield b"null"
    else:
        async for part in diff:
            yield part
    yield b"}\n"


def _summary(edit: EditTry) -> dict[str, Any]:
    snapshot = edit.snapshot
    return {
        **edit.model_dump(include={"id", "status", "error", "created_at", "finished_at", "expires_at"}),
        "base_history_id": edit.base_revision_id,
        "base_snapshot_id": edit.base_snapshot_id,
        "row_count": snapshot.rows if snapshot else None,
        "size_bytes": snapshot.bytes if snapshot else None,
        "descendant_count": edit.members,
    }


def _try_out(edit: EditTry, members: Sequence[NamedTry]) -> TryOut:
    return TryOut(
        **_summary(edit),
        query=edit.query,
        columns=_columns(edit),
        members=[_member(name, one) for name, one in members],
    )


def _member(name: str, edit: EditTry) -> TryMember:
    fields = TryMember.model_fields.keys() & _summary(edit).keys()
    known = {field: value for field, value in _summary(edit).items() if field in fields}
    return TryMember(**known, saved_query_id=edit.saved_query_id, name=name, columns=_columns(edit))


def _columns(edit: EditTry) -> list[StoredColumnOut] | None:
    return [stored_column_out(column, None) for column in edit.snapshot.columns] if edit.snapshot else None


def _chosen(members: Sequence[NamedTry], wanted: str | None) -> NamedTry:
    """The member of this id or name. Raises NotFound."""
    if wanted is None:
        return members[0]
    for one in members:
        if name_key(one.name) == name_key(wanted) or str(one.edit.saved_query_id) == wanted.lower():
            return one
    raise NotFound(f'The try has no member "{wanted}".')
