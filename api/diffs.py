"""`snapshots/{snapshot_id}/diff/`: the columns and rows in which two versions of a view differ."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.auth import RowReader
from api.result_formats import Numbers
from api.schemas import Timestamp
from api.streaming import HeldResponse, holding, require_chunks
from orchestrator.model.diff import MOST_KEY_COLUMNS
from orchestrator.model.snapshot import Snapshot
from orchestrator.services.diffs import ComparedVersions, DiffRequest

router = APIRouter(
    prefix="/api/projects/{project_id}/warehouse_saved_queries/{saved_query_id}", tags=["warehouse_saved_queries"]
)

DEFAULT_ROWS, MOST_ROWS = 100, 1_000
LONGEST_NAME = 1_000

ViewId = Annotated[UUID, Path(description="The view")]
KeyName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Key = Annotated[
    list[KeyName] | None,
    Query(
        max_length=MOST_KEY_COLUMNS,
        description="A column that identifies a row, repeated for several; without one, whole rows are compared",
    ),
]
Limit = Annotated[int, Query(ge=0, le=MOST_ROWS, description="How many rows of each kind are shown at most")]


class _FromTo(BaseModel):
    model_config = ConfigDict(populate_by_name=True)


class ComparedVersionOut(BaseModel):
    """One of the two versions."""

    snapshot_id: UUID = Field(description="Its id")
    created_at: Timestamp = Field(description="When it was made")
    row_count: int = Field(description="How many rows it has")


class DiffColumnOut(BaseModel):
    """A column that only one of the versions has."""

    name: str = Field(description="Its name")
    type: str = Field(description="Its type, in DuckDB's spelling")


class ComparedColumnOut(_FromTo):
    """A column that both versions have, and its types."""

    name: str = Field(description="Its name in the later version")
    from_: str = Field(alias="from", description="Its type in the earlier version, in DuckDB's spelling")
    to: str = Field(description="Its type in the later version")


class SchemaDiffOut(BaseModel):
    """The columns in which the versions differ."""

    added: list[DiffColumnOut] = Field(description="Columns that only the later version has")
    removed: list[DiffColumnOut] = Field(description="Columns that only the earlier version has")
    retyped: list[ComparedColumnOut] = Field(description="Columns that have another type in each")


class RowCountsOut(BaseModel):
    """How many rows differ."""

    added: int = Field(description="Rows that only the later version has")
    removed: int = Field(description="Rows that only the earlier version has")
    changed: int = Field(description="Rows that both have under the same key, with other values; 0 without a key")
    unchanged: int = Field(description="Rows that both have")


class KeyFaultsOut(BaseModel):
    """The rows of a version that the key does not identify. They are compared as whole rows."""

    null_keys: int = Field(description="Rows that have NULL in a column of the key")
    repeated_keys: int = Field(description="Keys that several rows have")
    repeated_rows: int = Field(description="The number of these rows")


class AllKeyFaultsOut(_FromTo):
    """The rows of both versions that the key does not identify."""

    from_: KeyFaultsOut = Field(alias="from", description="Those of the earlier version")
    to: KeyFaultsOut = Field(description="Those of the later version")


class ChangedColumnOut(BaseModel):
    """A column in which changed rows differ."""

    name: str = Field(description="Its name in the later version")
    rows: int = Field(description="How many changed rows differ in it")


class CountedRowOut(BaseModel):
    """A row that only one version has, or has more often."""

    count: int = Field(description="How many more of it there are; 1 for a row that the key identifies")
    row: list[Any] = Field(description="Its values, in the order of `columns`")


class ChangedRowOut(_FromTo):
    """A row that both versions have under the same key, with other values."""

    columns: list[str] = Field(description="The columns in which it differs")
    from_: list[Any] = Field(alias="from", description="Its values in the earlier version, in the order of `columns`")
    to: list[Any] = Field(description="Its values in the later version")


class DiffHead(_FromTo):
    """The part of a diff that is known without reading rows."""

    from_: ComparedVersionOut = Field(alias="from", description="The earlier version")
    to: ComparedVersionOut = Field(description="The later version")
    key: list[str] = Field(description="The columns that identify a row; none: whole rows are compared")
    columns: list[ComparedColumnOut] = Field(description="The columns that are compared: those that both versions have")
    schema_: SchemaDiffOut = Field(alias="schema", description="The columns in which the versions differ")


class DiffOut(DiffHead):
    """The difference between two versions of a view."""

    is_identical: bool = Field(description="Whether they have the same columns and the same rows, in any order")
    rows: RowCountsOut = Field(description="How many rows differ")
    key_faults: AllKeyFaultsOut | None = Field(
        description="Rows that the key does not identify; null without a key, and if the versions are known to be equal"
    )
    changed_columns: list[ChangedColumnOut] = Field(description="The columns in which changed rows differ")
    added: list[CountedRowOut] = Field(description="The first rows that only the later version has")
    removed: list[CountedRowOut] = Field(description="The first rows that only the earlier version has")
    changed: list[ChangedRowOut] = Field(description="The first changed rows, in the order of the key")


_OK: dict[int | str, dict[str, Any]] = {200: {"model": DiffOut, "description": "The difference"}}


@router.get("/snapshots/{snapshot_id}/diff/", response_class=Response, responses=_OK)
async def diff_snapshots(
    *,
    request: Request,
    saved_query_id: ViewId,
    snapshot_id: Annotated[UUID, Path(description="The earlier version")],
    context: RowReader,
    to: Annotated[UUID | None, Query(description="The later version; the current one if not given")] = None,
    key: Key = None,
    limit: Limit = DEFAULT_ROWS,
    numbers: Numbers = "number",
) -> Response:
    """Compare two versions of a view: their columns, and their rows."""
    require_chunks(request)
    versions = await context.services.diffs.versions(context.project_id, saved_query_id, snapshot_id, to, key or ())
    wanted = DiffRequest(limit, large_as_text=numbers == "string")

    async def build(stack: AsyncExitStack) -> HeldResponse:
        members = await stack.enter_async_context(context.services.diffs.members(context.project_id, versions, wanted))
        return HeldResponse(diff_document(versions, members), media_type="application/json")

    return await holding(request, build)


async def diff_document(versions: ComparedVersions, members: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A DiffOut as JSON, with the `members` that are known once the rows were compared."""
    yield json.dumps(_head(versions), separators=(",", ":")).removesuffix("}").encode() + b","
    async for part in members:
        yield part
    yield b"}\n"


def _head(versions: ComparedVersions) -> dict[str, Any]:
    """All of a DiffOut that is known without reading rows."""
    compared = versions.comparison
    pairs = [
        ComparedColumnOut(name=pair.after.name, from_=pair.before.duckdb_type, to=pair.after.duckdb_type)
        for pair in compared.pairs
    ]
    schema = SchemaDiffOut(
        added=[DiffColumnOut(name=column.name, type=column.duckdb_type) for column in compared.added],
        removed=[DiffColumnOut(name=column.name, type=column.duckdb_type) for column in compared.removed],
        retyped=[pair for pair in pairs if pair.from_ != pair.to],
    )
    head = DiffHead(
        from_=_version_out(versions.before),
        to=_version_out(versions.after),
        key=[compared.pairs[position].after.name for position in compared.key],
        columns=pairs,
        schema_=schema,
    )
    return head.model_dump(mode="json", by_alias=True)


def _version_out(snapshot: Snapshot) -> ComparedVersionOut:
    return ComparedVersionOut(snapshot_id=snapshot.id, created_at=snapshot.created_at, row_count=snapshot.rows)
