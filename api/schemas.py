"""The wire, and only the wire: what requests hold and what answers show."""

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, model_validator

from orchestrator.control import RunState, ViewState
from orchestrator.model.journal import Entry, Verb
from orchestrator.model.lineage import Node
from orchestrator.model.principal import User
from orchestrator.model.run import RunStatus, Trigger
from orchestrator.model.saved_query import SavedQuery, SyncFrequency, ViewStatus
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import SourceFormat, SourceTable


def _z(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


_DEEPEST = 50
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

Timestamp = Annotated[datetime, PlainSerializer(_z, return_type=str, when_used="json")]


def check_storable(value: object, depth: int = 0) -> None:
    """Raise ValueError for what JSON can spell and PostgreSQL cannot keep."""
    if depth > _DEEPEST:
        raise ValueError(f"Values may be nested {_DEEPEST} deep at the most.")
    if isinstance(value, str) and (_UNSTORABLE.search(value)):
        raise ValueError("Text cannot hold NUL characters or halves of surrogate pairs.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("A number must be finite.")
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        check_storable(item, depth + 1)


class Wire(BaseModel):
    """Unknown fields of a request are ignored: PostHog's own client sends several that mean nothing here."""

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, body: Any) -> Any:  # noqa: ANN401 - whatever was sent
        check_storable(body)
        return body


# --- requests ---------------------------------------------------------------------------------------------------------


class SaveView(Wire):
    """A view to create, or to update if its name exists."""

    name: str = Field(description="Unique among the project's views and tables", examples=["events_by_day"])
    query: Any = Field(
        default=None,
        description="An object that holds one SELECT statement in DuckDB's dialect",
        examples=[{"kind": "HogQLQuery", "query": "SELECT 1 AS one"}],
    )
    description: str | None = Field(default=None, description="Free text")
    edited_history_id: str | None = Field(
        default=None, description="The latest_history_id that the edit started from; needed to change a query"
    )
    soft_update: bool = Field(default=False, description="Save without that check")


class EditView(Wire):
    """The fields of a view to change. What is left out stays as it is."""

    name: str = Field(default="", description="Unique among the project's views and tables")
    query: Any = Field(default=None, description="An object that holds one SELECT statement in DuckDB's dialect")
    description: str | None = Field(default=None, description="Free text")
    sync_frequency: SyncFrequency | None = Field(
        default=None, description="How often to refresh; never pauses the schedule, any other value resumes it"
    )
    edited_history_id: str | None = Field(
        default=None, description="The latest_history_id that the edit started from; needed to change a query"
    )
    soft_update: bool = Field(default=False, description="Save without that check")
    deleted: bool = Field(default=False, description="true deletes the view, as DELETE does")


class Level(Wire):
    """How far to look in the graph of views."""

    level: Annotated[int, Field(ge=1, le=10**9, strict=True)] | Literal["all"] | None = Field(
        default=None, description="Exactly so many steps away; 1 unless given; all for any number of steps"
    )

    @property
    def steps(self) -> int | None:
        """The number of steps, or None for any."""
        return None if self.level == "all" else self.level or 1


class ResumeSchedules(Wire):
    """Whose schedules to resume."""

    view_ids: list[UUID] | None = Field(default=None, max_length=10_000, description="Ids of views; at least one")


class Materialize(Wire):
    """How often to refresh."""

    sync_frequency: SyncFrequency | None = Field(default=None, description="24hour unless given")


class RunView(Wire):
    """How to run."""

    full_refresh: bool = Field(default=False, description="Compute everything anew")


class CredentialIn(Wire):
    """What opens files that are kept elsewhere. Stored encrypted, never shown."""

    access_key: str = Field(max_length=500)
    access_secret: str = Field(max_length=500)


class EditTable(Wire):
    """The fields of a source table to change; its columns are read anew in any case."""

    name: str = Field(default="", description="Unique among the project's views and tables")
    format: SourceFormat = SourceFormat.PARQUET
    url_pattern: str = Field(default="", description="A file, or several with * (within one folder)")
    credential: CredentialIn | None = None


class AddTable(Wire):
    """Files to register as a source table."""

    name: str = Field(description="Unique among the project's views and tables", examples=["events"])
    format: SourceFormat
    url_pattern: str = Field(
        description="A file, or several with * (within one folder)", examples=["/data/events/*.parquet"]
    )
    credential: CredentialIn | None = None


# The page of the API lists a saved query's fields as the body of every action; there they mean nothing.
AnyObject = dict[str, Any] | None


# --- answers ----------------------------------------------------------------------------------------------------------


class UserOut(BaseModel):
    """A person, in PostHog's shape."""

    id: int
    uuid: UUID
    distinct_id: str
    first_name: str
    last_name: str
    email: str
    is_email_verified: bool | None = None
    hedgehog_config: dict[str, Any] | None = None
    role_at_organization: str | None = None


class ColumnOut(BaseModel):
    """A column, in PostHog's shape, with DuckDB's own type beside it."""

    key: str
    name: str
    type: str = Field(
        description="One of integer, float, decimal, string, boolean, date, datetime, time, interval, uuid, json, "
        "array, tuple, map, unknown"
    )
    schema_valid: bool = True
    fields: list[str] | None = None
    table: str | None = None
    chain: list[str] | None = None
    duckdb_type: str


class ViewSummary(BaseModel):
    """A saved query as a list shows it."""

    id: UUID
    deleted: bool
    name: str
    created_by: UserOut | None
    created_at: Timestamp
    sync_frequency: SyncFrequency | None = Field(description="null: not materialized")
    columns: list[ColumnOut]
    status: ViewStatus | None
    last_run_at: Timestamp | None
    managed_viewset_kind: str | None
    latest_error: str | None
    is_materialized: bool
    origin: str
    description: str | None


class ViewOut(ViewSummary):
    """A saved query, whole."""

    query: dict[str, Any]
    latest_history_id: UUID = Field(description="The newest revision of the query; send it back to change the query")
    next_run_at: Timestamp | None
    schedule_paused: bool | None
    paused_reason: str | None
    row_count: int | None = Field(description="Rows of the current snapshot")
    size_bytes: int | None = Field(description="Its size on disk, in bytes")
    current_snapshot_id: UUID | None


class ProgressOut(BaseModel):
    """How far a running query is."""

    percent: float | None = Field(description="0 to 100, or null where DuckDB cannot tell")
    elapsed_seconds: float


class RunOut(BaseModel):
    """One run of a view."""

    status: RunStatus
    timestamp: Timestamp = Field(description="Its end, or its start while it runs")
    id: UUID
    started_at: Timestamp
    finished_at: Timestamp | None
    duration_seconds: float | None
    trigger: Trigger
    rows: int | None
    bytes: int | None
    error: str | None
    workflow_id: str
    workflow_run_id: UUID
    snapshot_id: UUID | None
    progress: ProgressOut | None


class RunHistory(BaseModel):
    """The last runs of a view, newest first."""

    run_history: list[RunOut]


class Ancestors(BaseModel):
    """What a view reads: ids of views, names of source tables."""

    ancestors: list[str]


class Descendants(BaseModel):
    """What reads a view: ids of views."""

    descendants: list[str]


class Dependencies(BaseModel):
    """How many a view reads, and how many read it, without anything between."""

    upstream_count: int
    downstream_count: int


class Resumed(BaseModel):
    """Whose schedules were paused and run again."""

    resumed: list[UUID]


class JournalUser(BaseModel):
    """Who did it."""

    first_name: str
    last_name: str = ""
    email: str | None
    is_system: bool = False


class JournalChange(BaseModel):
    """One field, before and after."""

    type: str = Field(description="What the field belongs to", examples=["DataWarehouseSavedQuery"])
    action: str = Field(description="created, changed or deleted")
    field: str
    before: Any
    after: Any


class JournalDetail(BaseModel):
    """What was changed of what."""

    name: str = Field(description="What the view was called then")
    changes: list[JournalChange]


class JournalEntry(BaseModel):
    """Something that was done to a view."""

    id: UUID
    user: JournalUser
    activity: Verb
    scope: str
    item_id: UUID
    detail: JournalDetail
    created_at: Timestamp


class Journal(BaseModel):
    """One page of what was done to a view, newest first."""

    results: list[JournalEntry]
    next: str | None = Field(description="The URL of the next page")
    previous: str | None = Field(description="The URL of the page before")
    total_count: int


class TableOut(BaseModel):
    """A source table."""

    id: UUID
    name: str
    format: SourceFormat
    url_pattern: str
    columns: list[ColumnOut]
    created_by: UserOut | None
    created_at: Timestamp
    deleted: bool


SCOPE = "DataWarehouseSavedQuery"


# --- from the model ---------------------------------------------------------------------------------------------------


def user_out(user: User | None) -> UserOut | None:
    """A person as the API shows one."""
    return None if user is None else UserOut(**user.model_dump())


def view_summary(view: SavedQuery) -> ViewSummary:
    """A view as a list shows it."""
    return ViewSummary(**_summary(view))


def view_out(state: ViewState) -> ViewOut:
    """A view, whole."""
    view, schedule = state.view, state.schedule
    snapshot = view.current_snapshot
    return ViewOut(
        **_summary(view) | {"deleted": state.deleted},
        query=view.revision.query,
        latest_history_id=view.revision.id,
        next_run_at=schedule.next_run_at if schedule else None,
        schedule_paused=schedule.paused if schedule else None,
        paused_reason=schedule.paused_reason if schedule else None,
        row_count=snapshot.rows if snapshot else None,
        size_bytes=snapshot.bytes if snapshot else None,
        current_snapshot_id=snapshot.id if snapshot else None,
    )


def run_out(state: RunState) -> RunOut:
    """A run as the API shows it."""
    run, progress = state.run, state.progress
    duration = (run.finished_at - run.started_at).total_seconds() if run.finished_at else None
    return RunOut(
        timestamp=run.timestamp,
        duration_seconds=duration,
        progress=ProgressOut(**progress.model_dump()) if progress else None,
        **{name: getattr(run, name) for name in RunOut.model_fields if hasattr(run, name) and name != "timestamp"},
    )


def entry_out(entry: Entry) -> JournalEntry:
    """An entry of the journal as the API shows it."""
    person = entry.user
    user = (
        JournalUser(first_name="System", email=None, is_system=True)
        if person is None
        else JournalUser(first_name=person.first_name, last_name=person.last_name, email=person.email)
    )
    changes = [JournalChange(type=SCOPE, **change.model_dump()) for change in entry.changes]
    return JournalEntry(
        id=entry.id,
        user=user,
        activity=entry.verb,
        scope=SCOPE,
        item_id=entry.item_id,
        detail=JournalDetail(name=entry.name, changes=changes),
        created_at=entry.created_at,
    )


def nodes_out(nodes: Iterable[Node]) -> list[str]:
    """Views by id and source tables by name, in an order that does not change from call to call."""
    return sorted(str(node) for node in nodes)


def table_out(table: SourceTable) -> TableOut:
    """A source table as the API shows it."""
    return TableOut(
        id=table.id,
        name=table.name,
        format=table.format,
        url_pattern=table.url_pattern,
        columns=[column_out(column) for column in table.columns],
        created_by=user_out(table.created_by),
        created_at=table.created_at,
        deleted=False,
    )


def column_out(column: Column) -> ColumnOut:
    """A column as the API shows it."""
    return ColumnOut(
        key=column.name, name=column.name, type=wire_type(column.duckdb_type), duckdb_type=column.duckdb_type
    )


def wire_type(duckdb_type: str) -> str:
    """PostHog's word for one of DuckDB's types."""
    if duckdb_type.endswith("]"):
        return "array"
    head = duckdb_type.split("(", maxsplit=1)[0].strip().upper()
    return _WIRE_TYPES.get(head, "unknown")


_WIRE_TYPES = {
    **dict.fromkeys(
        ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
        "integer",
    ),
    **dict.fromkeys(("UHUGEINT", "BIGNUM"), "integer"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "float"),
    **dict.fromkeys(("VARCHAR", "ENUM", "BLOB", "BIT"), "string"),
    **dict.fromkeys(
        ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"), "datetime"
    ),
    **dict.fromkeys(("TIME", "TIME WITH TIME ZONE", "TIME_NS"), "time"),
    **dict.fromkeys(("STRUCT", "UNION"), "tuple"),
    "DECIMAL": "decimal",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "INTERVAL": "interval",
    "UUID": "uuid",
    "JSON": "json",
    "MAP": "map",
}


def _summary(view: SavedQuery) -> dict[str, Any]:
    return {
        "id": view.id,
        "deleted": False,
        "name": view.name,
        "created_by": user_out(view.created_by),
        "created_at": view.created_at,
        "sync_frequency": view.sync_frequency,
        "columns": [column_out(column) for column in view.columns],
        "status": view.status,
        "last_run_at": view.last_run_at,
        "managed_viewset_kind": None,
        "latest_error": view.latest_error,
        "is_materialized": view.is_materialized,
        "origin": "data_warehouse",
        "description": view.description,
    }
