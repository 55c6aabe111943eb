"""What a run publishes: an immutable set of Parquet files, and the columns that they hold."""

from datetime import datetime
from uuid import UUID, uuid5

from orchestrator.model.base import Value


class Column(Value):
    """A column as DuckDB names it, in SELECT order.

    `duckdb_type` is DuckDB's own spelling, such as `DECIMAL(18,3)` or `STRUCT(a INTEGER)[]`.
    """

    name: str
    duckdb_type: str


class SnapshotFile(Value):
    """One Parquet file of a snapshot. `name` is relative to the snapshot's location; `bytes` is its size on disk."""

    name: str
    rows: int
    bytes: int


class InputPin(Value):
    """What one input of a run was, exactly. `snapshot_id` is set for a materialized view only."""

    name: str
    kind: str
    id: UUID
    snapshot_id: UUID | None = None


class Snapshot(Value):
    """The sealed result of one attempt of one run, published or not.

    `location` is the store's key of its folder. `columns` are what the *files* hold, not what the query said: Parquet
    has no type for some of DuckDB's (an ENUM is stored as VARCHAR).
    """

    id: UUID
    run_id: UUID
    saved_query_id: UUID
    revision_id: UUID
    attempt: int
    location: str
    files: tuple[SnapshotFile, ...]
    rows: int
    bytes: int
    columns: tuple[Column, ...]
    inputs: tuple[InputPin, ...]
    engine_version: str
    created_at: datetime


def snapshot_id(run_id: UUID, attempt: int) -> UUID:
    """The id of what attempt number `attempt` of a run produces. The same attempt told twice is one snapshot."""
    return uuid5(run_id, f"attempt-{attempt}")


def location_of(project_id: int, saved_query_id: UUID, run_id: UUID, attempt: int) -> str:
    """The store's key for what one attempt of a run writes: a relative path, never used twice."""
    return f"{project_id}/{saved_query_id}/{run_id}-{attempt}"
