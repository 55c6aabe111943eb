"""A run of a view: its request, its plan, its progress and its outcome.

These shapes cross Temporal as JSON and stay in its history: add optional fields, never rename or remove one.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID, uuid5

from pydantic import Field

from orchestrator.model.base import Value
from orchestrator.model.check import PlannedCheck
from orchestrator.model.engine import Dialect, Engine
from orchestrator.model.limits import Limits
from orchestrator.model.snapshot import Column, ResolvedInput, Snapshot, SnapshotFile, seen
from orchestrator.model.source_table import AS_USUAL, ReadOptions, SourceFormat


class RunStatus(StrEnum):
    """The status of a run. No other status is stored; a view's is computed from its newest run."""

    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"


class Trigger(StrEnum):
    """Who started a run. A workflow started without a trigger was started by an operator in the Temporal UI."""

    SCHEDULE = "schedule"
    API = "api"
    FIRST = "first"
    OPERATOR = "operator"


class RunRequest(Value):
    """The argument of the workflow of a generation of one: identity and intent, nothing that could become outdated.

    The exception is `label`, the view in words: people see it first in the Temporal UI, and no code reads it.
    """

    saved_query_id: UUID
    label: str | None = None
    trigger: Trigger = Trigger.OPERATOR
    scheduled_for: datetime | None = None
    full_refresh: bool = False


# A file as the engine's own processes describe it to one another. Its name need not be Unicode.
OpenedFile = tuple[Any, ...]


class SourceRelation(Value):
    """A source table as an input: the files that match `url_pattern` when the query starts.

    `stated` names the columns whose type a person stated; the types of the others were detected. `files` are those that
    the generation pinned, as the engine itself describes a file; None has the engine look for them.
    """

    kind: Literal["source"] = "source"
    name: str
    id: UUID
    format: SourceFormat
    url_pattern: str
    columns: tuple[Column, ...]
    options: ReadOptions = AS_USUAL
    stated: tuple[str, ...] = ()
    files: tuple[OpenedFile, ...] | None = None


class SnapshotRelation(Value):
    """A materialized view as an input: exactly these files of exactly this snapshot."""

    kind: Literal["snapshot"] = "snapshot"
    name: str
    id: UUID
    snapshot_id: UUID
    location: str
    files: tuple[SnapshotFile, ...]
    columns: tuple[Column, ...]


class ViewRelation(Value):
    """A view that has no snapshot, as an input: its SQL, evaluated inside the run."""

    kind: Literal["view"] = "view"
    name: str
    id: UUID
    sql: str
    dialect: Dialect = Dialect.DUCKDB


class MemberRelation(Value):
    """A view as an input that the same generation refreshes, in run `run_id`: what that run writes.

    `current` is its version when the generation began, which it keeps if nothing that it reads has changed.
    """

    run_id: UUID
    name: str
    current: SnapshotRelation | None


Relation = Annotated[SourceRelation | SnapshotRelation | ViewRelation, Field(discriminator="kind")]


class Shape(Value):
    """The number of rows of a version, and its columns as readers see them."""

    rows: int
    columns: tuple[Column, ...]

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """The shape of a version."""
        return cls(rows=snapshot.rows, columns=seen(snapshot.columns))


class RunPlan(Value):
    """Everything that decides a run's result, pinned when its generation begins.

    `relations` are in dependency order: each may read only those before it. `members` are the inputs that the same
    generation refreshes. `fault` and its code say that the query cannot run, and why. `timeout_seconds` bounds the
    query's wall time. `queued_at` is when the run began, and so since when its query waits. A later attempt has None
    there: it is a retry, not a wait.

    `full_refresh` has the query run also if nothing has changed. `previous` is the version before, with whose rows the
    result is compared; it is set just before the query runs, and only if other views read this one.

    `engine` runs the query. `translated` is the statement for it where that is not `sql` itself; `dialect` is that of
    `sql`.

    `checks` are made on the result. They may read `check_relations` and `check_members` too, which are like `relations`
    and `members`. `current` is the shape of the version before. `checked_tables` are the source tables among its inputs
    that have checks of their own.
    """

    run_id: UUID
    generation_id: UUID
    project_id: int
    saved_query_id: UUID
    revision_id: UUID
    name: str
    sql: str
    relations: tuple[Relation, ...]
    members: tuple[MemberRelation, ...] = ()
    fault: str | None = None
    fault_code: str | None = None
    timeout_seconds: float
    limits: Limits | None = None
    trigger: Trigger
    queued_at: datetime | None = None
    full_refresh: bool = False
    previous: Snapshot | None = None
    checks: tuple[PlannedCheck, ...] = ()
    check_relations: tuple[Relation, ...] = ()
    check_members: tuple[MemberRelation, ...] = ()
    current: Shape | None = None
    checked_tables: tuple[UUID, ...] = ()
    engine: Engine = Engine.DUCKDB
    dialect: Dialect = Dialect.DUCKDB
    translated: str | None = None

    def resolved_inputs(self) -> tuple[ResolvedInput, ...]:
        """The inputs as a snapshot records them."""
        return tuple(
            ResolvedInput(
                name=r.name, kind=r.kind, id=r.id, snapshot_id=r.snapshot_id if r.kind == "snapshot" else None
            )
            for r in self.relations
        )


class TableCheckPlan(Value):
    """All that decides the results of the checks of the source table `name`. They may read `check_relations` too."""

    project_id: int
    name: str
    relations: tuple[Relation, ...]
    checks: tuple[PlannedCheck, ...]
    check_relations: tuple[Relation, ...] = ()
    timeout_seconds: float
    limits: Limits


class Progress(Value):
    """The last report of a running query. `percent` is 0 to 100, or None where DuckDB does not know it.

    `waiting` says that the query has not begun, since others use the memory that it needs. `bytes_written` counts what
    is on the disk so far, `memory_bytes` what its process uses, None where that is not known. `trouble` is set between
    two attempts: the error with which the earlier one ended. `run_id` distinguishes the runs of one workflow.
    """

    percent: float | None
    elapsed_seconds: float
    run_id: UUID | None = None
    waiting: bool = False
    bytes_written: int = 0
    memory_bytes: int | None = None
    trouble: str | None = None


class RunOutcome(Value):
    """The result of the run workflow, or of a tick that mirrors it."""

    status: RunStatus
    rows: int | None = None
    bytes: int | None = None
    snapshot_id: UUID | None = None
    detail: str | None = None


class RunRef(Value):
    """A run by its id, and the workflow that executes it."""

    id: UUID
    workflow_id: str
    workflow_run_id: UUID


class Run(RunRef):
    """A run as the catalog keeps it; it outlives Temporal's own history.

    `workflow_id` and `workflow_run_id` identify it in the Temporal UI. `attempt` is the attempt of its query that has
    the right to publish (0: none began yet). Sizes in bytes; None until known. `skipped_reason` says why its query did
    not run. `generation_id` is None until its generation has begun, and for runs of older releases.
    """

    saved_query_id: UUID
    status: RunStatus
    trigger: Trigger
    started_at: datetime
    finished_at: datetime | None = None
    scheduled_for: datetime | None = None
    revision_id: UUID | None = None
    attempt: int = 0
    rows: int | None = None
    bytes: int | None = None
    snapshot_id: UUID | None = None
    error: str | None = None
    error_code: str | None = None
    skipped_reason: str | None = None
    generation_id: UUID | None = None

    @property
    def timestamp(self) -> datetime:
        """When it ended, or, while it runs, when it started."""
        return self.finished_at or self.started_at


def run_id_of(workflow_run_id: UUID, saved_query_id: UUID) -> UUID:
    """The id of a run, derived from the workflow run that executes it.

    So the API and the workflow can both record the run without asking each other, and recording it twice makes one
    row. The view is part of it because one workflow executes the runs of several views.
    """
    return uuid5(workflow_run_id, str(saved_query_id))
