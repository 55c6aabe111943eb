"""The JSON shapes of requests and answers, which no layer below the API uses."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from orchestrator.model.audit import Verb
from orchestrator.model.cron import MOST_CRON_CHARACTERS
from orchestrator.model.frequency_words import parse_frequency
from orchestrator.model.freshness import Freshness
from orchestrator.model.run import RunStatus, Trigger
from orchestrator.model.saved_query import SyncFrequency, ViewStatus
from orchestrator.model.time_zones import MOST_ZONE_CHARACTERS


def _z(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _check_frequency(word: object) -> object:
    """The frequency that a word stands for, such as `24hour` for `daily`."""
    return parse_frequency(word if isinstance(word, str) else str(word)) if word is not None else None


# A limit, since lists show every description in full.
LONGEST_DESCRIPTION = 10_000
Timestamp = Annotated[datetime, PlainSerializer(_z, return_type=str, when_used="json")]


Frequency = Annotated[SyncFrequency | None, BeforeValidator(_check_frequency)]


class RequestModel(BaseModel):
    """A request. Unknown fields are ignored: PostHog's own client sends several that have no meaning here."""

    model_config = ConfigDict(extra="ignore")


# --- requests ---------------------------------------------------------------------------------------------------------


BREAK_DEPENDENTS = "Save it also if views that read this would stop binding"


class SaveView(RequestModel):
    """A view to create, or to update if its name exists."""

    name: str = Field(description="Unique among the project's views and tables", examples=["events_by_day"])
    query: Any = Field(
        description="An object that holds one SELECT statement in DuckDB's dialect",
        examples=[{"kind": "HogQLQuery", "query": "SELECT 1 AS one"}],
    )
    description: str | None = Field(default=None, max_length=LONGEST_DESCRIPTION, description="Free text")
    edited_history_id: str | None = Field(
        default=None, description="The latest_history_id that the edit started from; needed to change a query"
    )
    soft_update: bool = Field(default=False, description="Save without that check")
    break_dependents: bool = Field(default=False, description=BREAK_DEPENDENTS)


FRESHNESS = (
    "clock: its schedule refreshes it alone; upstream: before that, what it reads, as far as its data is too old; "
    "follow: it is also refreshed with all that it reads, and becomes visible together with that"
)
MAX_STALENESS = "With upstream: how old the data of what it reads may be; null: it is refreshed in any case"
_CRON_EXAMPLE = "0 6 * * 1-5"
CRON = "A cron expression of five fields, in place of sync_frequency, such as 0 6 * * 1-5"
TIME_ZONE = "The time zone of the cron expression, by its name in the IANA database; the one that it has, or UTC"
_SHOWN_FREQUENCY = (
    "null: not materialized; with a cron expression, the frequency that comes nearest, or never while it is paused"
)


class EditView(RequestModel):
    """The fields of a view to change. A field that is left out stays as it is."""

    name: str = Field(default="", description="Unique among the project's views and tables")
    query: Any = Field(default=None, description="An object that holds one SELECT statement in DuckDB's dialect")
    description: str | None = Field(default=None, max_length=LONGEST_DESCRIPTION, description="Free text")
    sync_frequency: Frequency = Field(
        default=None,
        description="How often to refresh, in place of a cron expression; never pauses the schedule, any other value "
        "resumes it",
    )
    cron: str | None = Field(default=None, max_length=MOST_CRON_CHARACTERS, description=CRON, examples=[_CRON_EXAMPLE])
    time_zone: str | None = Field(
        default=None, max_length=MOST_ZONE_CHARACTERS, description=TIME_ZONE, examples=["Europe/Berlin"]
    )
    freshness: Freshness = Field(default=Freshness.CLOCK, description=FRESHNESS)
    max_staleness: Frequency = Field(default=None, description=MAX_STALENESS)
    edited_history_id: str | None = Field(
        default=None, description="The latest_history_id that the edit started from; needed to change a query"
    )
    soft_update: bool = Field(default=False, description="Save without that check")
    break_dependents: bool = Field(default=False, description=BREAK_DEPENDENTS)
    deleted: bool = Field(default=False, description="true deletes the view, as DELETE does")


def _check_level(level: object) -> object:
    """Raise one error that says what a level is, instead of one for each of the types that it may have."""
    is_number = isinstance(level, int) and not isinstance(level, bool) and level >= 1
    if not (is_number or level is None or level == "all"):
        raise ValueError("A level is a whole number, 1 or more, or 'all'.")
    return level


class Level(RequestModel):
    """How far to look in the graph of views."""

    level: Annotated[Annotated[int, Field(ge=1)] | Literal["all"] | None, BeforeValidator(_check_level)] = Field(
        default=None, description="Exactly so many steps away; 1 unless given; all for any number of steps"
    )

    @property
    def steps(self) -> int | None:
        """The number of steps, or None for any."""
        return None if self.level == "all" else self.level or 1


class ResumeSchedules(RequestModel):
    """The views whose schedules to resume."""

    # One error is enough: making ten thousand, each with place and message, delays all requests by a tenth of a second.
    view_ids: list[UUID] | None = Field(
        default=None, fail_fast=True, max_length=10_000, description="Ids of views; at least one"
    )


class Materialize(RequestModel):
    """How often to refresh."""

    sync_frequency: Frequency = Field(default=None, description="24hour, or what it has, unless given")
    cron: str | None = Field(default=None, max_length=MOST_CRON_CHARACTERS, description=CRON, examples=[_CRON_EXAMPLE])
    time_zone: str | None = Field(
        default=None, max_length=MOST_ZONE_CHARACTERS, description=TIME_ZONE, examples=["Europe/Berlin"]
    )
    freshness: Freshness = Field(default=Freshness.CLOCK, description=FRESHNESS)
    max_staleness: Frequency = Field(default=None, description=MAX_STALENESS)
    run: bool = Field(default=True, description="Start a first run; false leaves that to a refresh of several views")


class RunView(RequestModel):
    """How to run."""

    full_refresh: bool = Field(
        default=False, description="Run the query also if nothing that it reads has changed since its current version"
    )


# PostHog's API documentation lists a saved query's fields as the body of every action, where they have no meaning.
IgnoredBody = dict[str, Any] | None


def is_whole(abridged: bool) -> bool:
    """Whether to leave `abridged` out of an answer: it is shown only where something was left out."""
    return not abridged


# --- answers ----------------------------------------------------------------------------------------------------------


class UserOut(BaseModel):
    """A person, in PostHog's shape."""

    id: int = Field(description="The id of the person")
    uuid: UUID = Field(description="The same, as PostHog spells one")
    distinct_id: str = Field(description="The id that events would carry")
    first_name: str = Field(description="The first name")
    last_name: str = Field(description="The last name")
    email: str = Field(description="The address")
    is_email_verified: bool | None = Field(default=None, description="Always null: addresses are not verified here")
    hedgehog_config: dict[str, Any] | None = Field(
        default=None, description="Always null: PostHog keeps its mascot here"
    )
    role_at_organization: str | None = Field(default=None, description="Always null: there are no organizations here")


class ColumnOut(BaseModel):
    """A column, in PostHog's shape, with DuckDB's own type beside it."""

    key: str = Field(description="The name again")
    name: str = Field(description="The name, in SELECT order")
    type: str = Field(
        description="One of integer, float, decimal, string, boolean, date, datetime, time, interval, uuid, json, "
        "array, tuple, map, unknown"
    )
    schema_valid: bool = Field(
        default=True, description="Always true: a column that does not bind is refused when the view is saved"
    )
    fields: list[str] | None = Field(default=None, description="Always null: nested fields are part of duckdb_type")
    table: str | None = Field(default=None, description="Always null")
    chain: list[str] | None = Field(default=None, description="Always null")
    duckdb_type: str = Field(description="DuckDB's own type, such as DECIMAL(18,3)")


class DescribedColumnOut(ColumnOut):
    """A column with its description, which a list does not show."""

    description: str | None = Field(description="What the column means; see saved_query_column_annotations/")


class ViewSummary(BaseModel):
    """A saved query as a list shows it."""

    id: UUID = Field(description="The id of the view")
    deleted: bool = Field(description="Whether it was deleted")
    name: str = Field(description="Unique among the project's views and tables")
    created_by: UserOut | None = Field(description="Who created it")
    created_at: Timestamp = Field(description="When it was created")
    sync_frequency: SyncFrequency | None = Field(description=_SHOWN_FREQUENCY)
    cron: str | None = Field(description="Its cron expression; null: it has none")
    time_zone: str | None = Field(description="The time zone of its cron expression")
    columns: list[ColumnOut] = Field(description="Its columns, in SELECT order")
    status: ViewStatus | None = Field(
        description="How its newest run stands, or Modified if the query was edited since; null: none yet"
    )
    last_run_at: Timestamp | None = Field(description="When its newest run ended, or began while it runs")
    managed_viewset_kind: str | None = Field(description="Always null: there are no managed views here")
    latest_error: str | None = Field(description="The error of the newest run that ended; null once one succeeds")
    is_materialized: bool = Field(description="Whether it has a schedule")
    origin: str = Field(description="Always data_warehouse")
    description: str | None = Field(description="Free text")
    row_count: int | None = Field(description="Rows of the current snapshot")
    size_bytes: int | None = Field(description="Its size on disk, in bytes")
    data_as_of: Timestamp | None = Field(
        description="The moment for which the result is known to be right: the start of the last run that made it, or "
        "that found nothing changed"
    )
    abridged: bool = Field(
        default=False,
        exclude_if=is_whole,
        description="true if its columns and its description were left out, since the list would be too large; "
        "smaller pages show them, and so does the view itself",
    )


class ViewOut(ViewSummary):
    """A saved query with all its fields."""

    columns: list[DescribedColumnOut] = Field(  # type: ignore[assignment] # a list shows less of a column
        description="Its columns, in SELECT order"
    )
    query: dict[str, Any] = Field(description="The query as it was sent")
    translated_query: str | None = Field(
        description="The statement that the Spark cluster runs; null: DuckDB runs the query itself"
    )
    latest_history_id: UUID = Field(description="The newest revision of the query; send it back to change the query")
    next_run_at: Timestamp | None = Field(
        description="When its schedule starts it next; null: never, or Temporal could not be asked"
    )
    schedule_paused: bool | None = Field(
        description="Whether its schedule is paused; null: it has none, or Temporal could not be asked"
    )
    paused_reason: str | None = Field(description="The note on the paused schedule")
    current_snapshot_id: UUID | None = Field(description="The snapshot that readers see")
    freshness: Freshness = Field(description=FRESHNESS)
    max_staleness: SyncFrequency | None = Field(description=MAX_STALENESS)


class ProgressOut(BaseModel):
    """How far a running query is."""

    percent: float | None = Field(description="0 to 100, or null where DuckDB does not know")
    elapsed_seconds: float = Field(description="Since the query began")
    bytes_written: int = Field(description="Bytes of the result that lie on the disk so far")
    memory_bytes: int | None = Field(description="What the query's process holds now, in bytes; null if unknown")


class RunOut(BaseModel):
    """One run of a view."""

    status: RunStatus = Field(description="How it stands")
    timestamp: Timestamp = Field(description="Its end, or its start while it runs")
    id: UUID = Field(description="The id of the run")
    started_at: Timestamp = Field(description="When it was started")
    finished_at: Timestamp | None = Field(description="When it ended")
    duration_seconds: float | None = Field(description="From start to end")
    trigger: Trigger = Field(
        description="Who started it: the schedule, the API, the first run, or an operator in Temporal"
    )
    rows: int | None = Field(description="Rows of its result")
    bytes: int | None = Field(description="Size of its result on disk, in bytes")
    error: str | None = Field(description="Why it failed, or, while it runs, why it had to be tried again")
    skipped_reason: str | None = Field(description="Why its query did not run, if it was skipped")
    workflow_id: str = Field(description="Where to find it in Temporal")
    workflow_run_id: UUID = Field(description="Which of the executions of that id it is")
    snapshot_id: UUID | None = Field(description="What it published")
    generation_id: UUID | None = Field(description="The refresh that it is a part of; null until that has begun")
    progress: ProgressOut | None = Field(description="How far its query is; null unless it runs")


class RunHistory(BaseModel):
    """The last runs of a view, newest first."""

    run_history: list[RunOut] = Field(description="The runs")


class Ancestors(BaseModel):
    """The inputs of a view: ids of views, names of source tables."""

    ancestors: list[str] = Field(description="Ids of views, names of source tables")
    names: dict[str, str] = Field(description="The name of each of them")


class Descendants(BaseModel):
    """The views that read a view."""

    descendants: list[str] = Field(description="Ids of views")
    names: dict[str, str] = Field(description="The name of each of them")


class Dependencies(BaseModel):
    """How many views and tables a view reads directly, and how many views read it directly."""

    upstream_count: int = Field(description="How many views and tables it reads")
    downstream_count: int = Field(description="How many views read it")


class Resumed(BaseModel):
    """The views whose schedules were paused and now run again."""

    resumed: list[UUID] = Field(description="Ids of the views")


class JournalUser(BaseModel):
    """The person who made a change, or the program itself."""

    first_name: str = Field(description="The first name, or System")
    last_name: str = Field(default="", description="The last name")
    email: str | None = Field(description="The address; null for the system")
    is_system: bool = Field(default=False, description="Whether it was the program itself")


class JournalChange(BaseModel):
    """The value of one field before and after a change."""

    type: str = Field(description="What the field belongs to", examples=["DataWarehouseSavedQuery"])
    action: str = Field(description="created, changed or deleted")
    field: str = Field(description="The name of the field")
    before: Any = Field(description="Its value before")
    after: Any = Field(description="Its value after")


class JournalDetail(BaseModel):
    """The changed fields of a view, and its name at that time."""

    name: str = Field(description="What the view was called then")
    changes: list[JournalChange] = Field(description="The fields that were changed")


class JournalEntry(BaseModel):
    """One entry of a view's activity: an action on the view, and the fields that it changed."""

    id: UUID = Field(description="The id of the entry")
    user: JournalUser = Field(description="Who did it")
    activity: Verb = Field(description="What was done")
    scope: str = Field(description="Always DataWarehouseSavedQuery")
    item_id: UUID = Field(description="The id of the view")
    detail: JournalDetail = Field(description="What was changed")
    created_at: Timestamp = Field(description="When")
    abridged: bool = Field(
        default=False,
        exclude_if=is_whole,
        description="true if its changes were left out, since the page would be too large; smaller pages show them",
    )


class Journal(BaseModel):
    """One page of a view's activity, newest first."""

    results: list[JournalEntry] = Field(description="The entries of this page")
    next: str | None = Field(description="The URL of the next page")
    previous: str | None = Field(description="The URL of the page before")
    total_count: int = Field(description="How many there are on all pages")
