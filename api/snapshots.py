"""The routes that list, pin and roll back the versions of a view. PostHog has none, so its clients do not use them."""

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, BeforeValidator, Field

from api.auth import ViewReader, ViewWriter
from api.bodies import JsonRoute
from api.pagination import Page, SnapshotPage, make_page
from api.schemas import ColumnOut, Timestamp, ViewOut
from api.serializers import column_out, view_out
from orchestrator.model.names import fold
from orchestrator.model.snapshot import Column, PublishedSnapshot

router = APIRouter(
    prefix="/api/projects/{project_id}/warehouse_saved_queries/{saved_query_id}",
    tags=["warehouse_saved_queries"],
    route_class=JsonRoute,
)

ViewId = Annotated[UUID, Path(description="The view")]
# Of a page, in characters.
_MOST_DESCRIBED = 1_000_000
SnapshotId = Annotated[UUID, Path(description="The version")]


class FileOut(BaseModel):
    """A Parquet file of a version."""

    name: str = Field(description="Its name in the folder of the version")
    rows: int = Field(description="How many rows it holds")
    bytes: int = Field(description="Its size on disk, in bytes")
    digest: str | None = Field(description="The XXH3 hash of its content, as xxh128: and 32 hexadecimal digits")


class InputFileOut(BaseModel):
    """A file of a source table as it was read."""

    path: str = Field(description="Where it lay, as the table's url_pattern spells it")
    bytes: int = Field(description="Its size on disk, in bytes")
    modified_at: Timestamp | None = Field(description="When it had been changed last")
    digest: str | None = Field(
        description="The XXH3 hash of its bytes, as xxh128: and 32 hexadecimal digits; xxh128-footer: is that of the"
        " description at the end of a Parquet file"
    )


class SourceFileOut(InputFileOut):
    """A file that a version was made from."""

    table: str = Field(description="What the source table was called then")


class StoredColumnOut(ColumnOut):
    """A column of a version, with its type in the files."""

    stored_type: str = Field(
        description="DuckDB's type of the column in the files: another than duckdb_type where Parquet has no equal"
    )
    description: str | None = Field(
        default=None,
        description="What the column means now, by the view's column of that name; null also in the later versions of "
        "a page that would have more than a megabyte of descriptions",
    )


class InputOut(BaseModel):
    """An input of a version."""

    name: str = Field(description="What it was called then")
    kind: str = Field(description="source, snapshot (a materialized view) or view (evaluated inside the run)")
    id: UUID = Field(description="The id of the table or view")
    snapshot_id: UUID | None = Field(description="Exactly which version of a materialized view was read")
    skipped_rows: int = Field(description="Rows of a source table that did not fit its columns and were left out")
    quarantine: str | None = Field(description="The file that holds those rows, if they were kept; see quarantine/")
    file_count: int | None = Field(description="How many files a source table had")
    bytes: int | None = Field(description="Their size in all")
    digest: str | None = Field(description="The XXH3 hash of their paths, sizes and digests: equal for equal files")
    files: list[InputFileOut] = Field(description="The first of those files; source_files/ lists all")


class SnapshotOut(BaseModel):
    """A version of a view: the result of one run, which never changes."""

    id: UUID = Field(description="The id of the version")
    run_id: UUID = Field(description="The run that made it")
    history_id: UUID = Field(description="The revision of the query that it was made by")
    created_at: Timestamp = Field(description="When it was made")
    is_current: bool = Field(description="Whether it is the one that readers see")
    superseded_at: Timestamp | None = Field(description="Since when it is not the current one")
    is_blocked: bool = Field(description="A check keeps it from readers; see …/promote/")
    pinned: bool = Field(description="Whether it is kept regardless of its age")
    row_count: int = Field(description="How many rows it has")
    size_bytes: int = Field(description="Its size on disk, in bytes")
    columns: list[StoredColumnOut] = Field(description="Its columns, in SELECT order")
    inputs: list[InputOut] = Field(description="What it was made from, exactly")
    files: list[FileOut] = Field(description="Its files")
    quarantine: list[FileOut] = Field(
        description="Files beside the result, no part of it: of rows that were left out, or that checks failed on"
    )
    location: str = Field(description="The folder of its files, below the folder of the store")
    engine_version: str = Field(description="What ran the query")


class AskedRows(BaseModel):
    """Which of the rows that were left out to show."""

    table: str | None = Field(default=None, description="Of which source table; needed if several have such rows")
    limit: int = Field(default=100, ge=1, le=1000, description="How many")
    offset: int = Field(default=0, ge=0, le=2**62, description="How many to pass over")


class QuarantinedOut(BaseModel):
    """A row of a source file that did not fit the columns of its table. Long texts are cut."""

    file: str | None = Field(description="The file that it stands in")
    line: int | None = Field(description="The line of the file, 1 is the first")
    column: str | None = Field(description="The first column that it does not fit")
    text: str | None = Field(description="What stands in that column")
    reason: str | None = Field(description="Why that does not fit")
    row: str | None = Field(description="The whole row as it stands in the file")


class Quarantine(BaseModel):
    """Rows that a run left out of its result and kept."""

    count: int = Field(description="How many there are of the table")
    results: list[QuarantinedOut] = Field(description="Those that were asked for, in the order of the file")


class EditSnapshot(BaseModel):
    """The field of a version that can be changed: whether it is pinned."""

    pinned: bool = Field(description="Keep it regardless of its age")


def _version_id(given: object) -> UUID:
    """Raise an error that says what an id of a version is, instead of how a UUID is spelled."""
    try:
        return given if isinstance(given, UUID) else UUID(str(given))
    except ValueError:
        raise ValueError("This is no id of a version. GET …/snapshots/ lists the versions with their ids.") from None


class RollBack(BaseModel):
    """The version that readers are to see."""

    snapshot_id: Annotated[UUID, BeforeValidator(_version_id)] = Field(description="The id of the version")
    pause_schedule: bool = Field(
        default=True,
        description="Also pause the schedule and end a run in progress, so that the choice lasts until it is resumed",
    )


@router.get("/snapshots/")
async def list_snapshots(
    request: Request, saved_query_id: ViewId, context: ViewReader, params: SnapshotPage
) -> Page[SnapshotOut]:
    """List the versions of a view that can be read or rolled back to, newest first."""
    count, versions = await context.services.snapshots.page(
        context.project_id, saved_query_id, limit=params.page_size, offset=params.offset
    )
    descriptions = await context.services.annotations.of_view(saved_query_id)
    described = _MOST_DESCRIBED // (sum(map(len, descriptions.values())) or 1)
    shown = [snapshot_out(one, descriptions if n < described else {}) for n, one in enumerate(versions)]
    return make_page(request, params, count, shown)


@router.patch("/snapshots/{snapshot_id}/")
async def edit_snapshot(
    saved_query_id: ViewId, snapshot_id: SnapshotId, body: EditSnapshot, context: ViewWriter
) -> SnapshotOut:
    """Pin a version, so that it is kept regardless of its age, or unpin it."""
    version = await context.services.snapshots.pin(context.project_id, saved_query_id, snapshot_id, pinned=body.pinned)
    return snapshot_out(version, await context.services.annotations.of_view(saved_query_id))


@router.get("/snapshots/{snapshot_id}/quarantine/")
async def list_quarantine(
    saved_query_id: ViewId, snapshot_id: SnapshotId, context: ViewReader, params: Annotated[AskedRows, Query()]
) -> Quarantine:
    """List the rows of a source table that a version's run left out of its result and kept."""
    count, rows = await context.services.snapshots.quarantine(
        context.project_id, saved_query_id, snapshot_id, params.table, limit=params.limit, offset=params.offset
    )
    return Quarantine(count=count, results=[QuarantinedOut(**row.model_dump()) for row in rows])


@router.get("/snapshots/{snapshot_id}/source_files/")
async def list_source_files(
    request: Request, saved_query_id: ViewId, snapshot_id: SnapshotId, context: ViewReader, params: SnapshotPage
) -> Page[SourceFileOut]:
    """List every source file that a version was made from, table by table and sorted by path."""
    count, files = await context.services.snapshots.source_files(
        context.project_id, saved_query_id, snapshot_id, limit=params.page_size, offset=params.offset
    )
    return make_page(request, params, count, [SourceFileOut(table=name, **file.model_dump()) for name, file in files])


class Promote(BaseModel):
    """Why a version is published on which a check has failed."""

    reason: str = Field(default="", max_length=1_000, description="For the activity of the view")


@router.post("/snapshots/{snapshot_id}/promote/")
async def promote_snapshot(
    saved_query_id: ViewId, snapshot_id: SnapshotId, context: ViewWriter, body: Promote | None = None
) -> ViewOut:
    """Publish a version that its checks keep from readers."""
    reason = body.reason if body else ""
    return view_out(
        await context.services.snapshots.promote(
            context.project_id, saved_query_id, snapshot_id, context.user, reason=reason
        )
    )


@router.post("/rollback/")
async def roll_back_view(saved_query_id: ViewId, body: RollBack, context: ViewWriter) -> ViewOut:
    """Make an earlier version the one that readers see, at once and without running anything."""
    state = await context.services.snapshots.roll_back(
        context.project_id, saved_query_id, body.snapshot_id, context.user, pause=body.pause_schedule
    )
    return view_out(state)


def snapshot_out(version: PublishedSnapshot, descriptions: Mapping[str, str]) -> SnapshotOut:
    """A version as the API shows it, with the descriptions of the view's columns, by the key of the column."""
    snapshot = version.snapshot
    return SnapshotOut(
        id=snapshot.id,
        run_id=snapshot.run_id,
        history_id=snapshot.revision_id,
        created_at=snapshot.created_at,
        is_current=version.is_current,
        superseded_at=version.superseded_at,
        is_blocked=version.is_blocked,
        pinned=version.pinned,
        row_count=snapshot.rows,
        size_bytes=snapshot.bytes,
        columns=[stored_column_out(one, descriptions.get(fold(one.name))) for one in snapshot.columns],
        inputs=[InputOut(**pin.model_dump()) for pin in snapshot.inputs],
        files=[FileOut(**file.model_dump()) for file in snapshot.files],
        quarantine=[FileOut(**file.model_dump()) for file in snapshot.quarantine],
        location=snapshot.location,
        engine_version=snapshot.engine_version,
    )


def stored_column_out(column: Column, description: str | None) -> StoredColumnOut:
    """A column as the API shows it, with its type in the files."""
    stored = column.stored_type or column.duckdb_type
    return StoredColumnOut(**column_out(column).model_dump(), stored_type=stored, description=description)
