"""The versions of a view: listed, pinned, and rolled back to. Not PostHog's; its clients never notice."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from api.answers import column_out, view_out
from api.auth import ViewReader, ViewWriter
from api.bodies import JsonRoute
from api.pagination import Page, SnapshotPage, page_of
from api.schemas import ColumnOut, Timestamp, ViewOut
from orchestrator.model.snapshot import Version

router = APIRouter(
    prefix="/api/projects/{project_id}/warehouse_saved_queries/{saved_query_id}",
    tags=["warehouse_saved_queries"],
    route_class=JsonRoute,
)

ViewId = Annotated[UUID, Path(description="The view")]
SnapshotId = Annotated[UUID, Path(description="The version")]


class FileOut(BaseModel):
    """A Parquet file of a version."""

    name: str = Field(description="Its name in the folder of the version")
    rows: int = Field(description="How many rows it holds")
    bytes: int = Field(description="Its size on disk, in bytes")
    digest: str | None = Field(description="The XXH3 hash of its content, as xxh128: and 32 hexadecimal digits")


class InputOut(BaseModel):
    """What a version was made from."""

    name: str = Field(description="What it was called then")
    kind: str = Field(description="source, snapshot (a materialized view) or view (evaluated inside the run)")
    id: UUID = Field(description="The id of the table or view")
    snapshot_id: UUID | None = Field(description="Exactly which version of a materialized view was read")


class SnapshotOut(BaseModel):
    """A version of a view: the result of one run, which never changes."""

    id: UUID = Field(description="The id of the version")
    run_id: UUID = Field(description="The run that made it")
    history_id: UUID = Field(description="The revision of the query that it was made by")
    created_at: Timestamp = Field(description="When it was made")
    is_current: bool = Field(description="Whether it is the one that readers see")
    superseded_at: Timestamp | None = Field(description="Since when it is not the current one")
    pinned: bool = Field(description="Whether it is kept whatever its age")
    row_count: int = Field(description="How many rows it has")
    size_bytes: int = Field(description="Its size on disk, in bytes")
    columns: list[ColumnOut] = Field(description="Its columns, in SELECT order")
    inputs: list[InputOut] = Field(description="What it was made from, exactly")
    files: list[FileOut] = Field(description="Its files")
    location: str = Field(description="The folder of its files, below the folder of the store")
    engine_version: str = Field(description="What ran the query")


class EditSnapshot(BaseModel):
    """What can be changed of a version: whether it is kept."""

    pinned: bool = Field(description="Keep it whatever its age")


class RollBack(BaseModel):
    """Which version readers are to see."""

    snapshot_id: UUID = Field(description="The id of the version")
    pause_schedule: bool = Field(
        default=True,
        description="Also pause the schedule and end a run in progress, so that the choice lasts until it is resumed",
    )


@router.get("/snapshots/")
async def list_snapshots(
    request: Request, saved_query_id: ViewId, caller: ViewReader, asked: SnapshotPage
) -> Page[SnapshotOut]:
    """List the versions of a view that can be read or rolled back to, newest first."""
    count, versions = await caller.versions.page(
        caller.project_id, saved_query_id, limit=asked.page_size, offset=asked.offset
    )
    return page_of(request, asked, count, [snapshot_out(version) for version in versions])


@router.patch("/snapshots/{snapshot_id}/")
async def edit_snapshot(
    saved_query_id: ViewId, snapshot_id: SnapshotId, body: EditSnapshot, caller: ViewWriter
) -> SnapshotOut:
    """Pin a version, so that it is kept whatever its age, or unpin it."""
    return snapshot_out(await caller.versions.pin(caller.project_id, saved_query_id, snapshot_id, pinned=body.pinned))


@router.post("/rollback/")
async def roll_back_view(saved_query_id: ViewId, body: RollBack, caller: ViewWriter) -> ViewOut:
    """Make an earlier version the one that readers see, at once and without running anything."""
    state = await caller.control.roll_back(
        caller.project_id, saved_query_id, body.snapshot_id, caller.user, pause=body.pause_schedule
    )
    return view_out(state)


def snapshot_out(version: Version) -> SnapshotOut:
    """A version as the API shows it."""
    snapshot = version.snapshot
    return SnapshotOut(
        id=snapshot.id,
        run_id=snapshot.run_id,
        history_id=snapshot.revision_id,
        created_at=snapshot.created_at,
        is_current=version.is_current,
        superseded_at=version.superseded_at,
        pinned=version.pinned,
        row_count=snapshot.rows,
        size_bytes=snapshot.bytes,
        columns=[column_out(column) for column in snapshot.columns],
        inputs=[InputOut(**pin.model_dump()) for pin in snapshot.inputs],
        files=[FileOut(**file.model_dump()) for file in snapshot.files],
        location=snapshot.location,
        engine_version=snapshot.engine_version,
    )
