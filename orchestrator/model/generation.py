"""A generation: one refresh of a set of views of one project, whose results readers see all at once.

The shapes of requests and steps cross Temporal as JSON and stay in its history: add optional fields, never rename or
remove one.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from orchestrator.model.base import Value
from orchestrator.model.run import Run, RunRequest, RunStatus, Trigger


class Direction(StrEnum):
    """Which relatives of the named views are refreshed with them."""

    NONE = "none"
    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"
    BOTH = "both"


class PublishMode(StrEnum):
    """How much is published if a member fails: all that does not depend on it, or nothing."""

    WHAT_SUCCEEDED = "what_succeeded"
    ALL_OR_NOTHING = "all_or_nothing"


class GenerationStatus(StrEnum):
    """The status of a generation.

    Partial: some members were published, others failed or were cancelled. Failed and Cancelled: none was published.
    Skipped: no query had to run.
    """

    RUNNING = "Running"
    COMPLETED = "Completed"
    PARTIAL = "Partial"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"


class MemberPhase(StrEnum):
    """How far an open run of a generation is. `unchanged`: its query need not run, and the others go on."""

    WAITING = "waiting"
    QUERYING = "querying"
    WRITTEN = "written"
    UNCHANGED = "unchanged"


class CancelledView(Value):
    """A view that was cancelled in a generation before that began, and when."""

    view: UUID
    at: datetime


class Selection(Value):
    """The views that a generation is asked for: those of `views` and their relatives, or all of the project.

    `cancelled` are those that have been cancelled since, before the generation began.
    """

    views: tuple[UUID, ...] = ()
    direction: Direction = Direction.NONE
    all: bool = False
    cancelled: tuple[CancelledView, ...] = ()


class GenerationRequest(Value):
    """The argument of the workflow for a generation that the catalog already has; `label` is for people only."""

    generation_id: UUID
    project_id: int
    label: str | None = None
    trigger: Trigger = Trigger.API


RefreshRequest = RunRequest | GenerationRequest
"""The argument of the workflow: a run of one view is a generation of one, which its workflow records itself."""


class Generation(Value):
    """A generation as the catalog keeps it.

    `started_at` is when it took hold of its members, None while it waits for other runs of them. `views` counts its
    members, `counts` their runs by status.
    """

    id: UUID
    project_id: int
    workflow_id: str
    selection: Selection
    publish: PublishMode
    full_refresh: bool
    trigger: Trigger
    status: GenerationStatus
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Member(Value):
    """A view of a generation with its run there.

    `phase` is None once the run has ended. `parents` are the members that it waits for. `written_at` is when its rows
    were written, by the clock of its worker; None without rows of its own.
    """

    name: str
    run: Run
    phase: MemberPhase | None
    parents: tuple[UUID, ...] = ()
    written_at: datetime | None = None


class DatabaseInput(Value):
    """A table of a database that a member reads, and that database. Only its checks read one that is not needed."""

    table_id: UUID
    database: str
    is_needed: bool = True


class MemberPlan(Value):
    """A member whose run is open, as the workflow needs it.

    `parents` are positions in the list of members, `component` is the number of those that are published together.
    `label` is the view in words. `checked_tables` are the source tables that it reads and that have checks.
    `database_inputs` are copied before it is written.
    """

    run_id: UUID
    saved_query_id: UUID
    name: str
    timeout_seconds: float
    parents: tuple[int, ...] = ()
    component: int = 0
    phase: MemberPhase = MemberPhase.WAITING
    rows: int | None = None
    bytes: int | None = None
    snapshot_id: UUID | None = None
    checked_tables: tuple[UUID, ...] = ()
    database_inputs: tuple[DatabaseInput, ...] = ()

    @property
    def can_share(self) -> bool:
        """Whether nothing but other members has to be done before its query."""
        return not self.checked_tables and not self.database_inputs


class Begun(Value):
    """The answer of `begin`: the open members, or why there are none yet.

    `held_by` are the workflows that hold members now, for which the generation waits; one that has a single member
    does not. `page` is Markdown about the inputs of a generation of one. `unchanged` counts the members that need not
    run and have ended.
    """

    generation_id: UUID
    project_id: int
    members: tuple[MemberPlan, ...] = ()
    held_by: tuple[str, ...] = ()
    all_or_nothing: bool = False
    unchanged: int = 0
    page: str = ""


class MemberTask(Value):
    """The argument of the step that writes one member.

    `after` are runs that the same step writes, and that must be written before.
    """

    generation_id: UUID
    project_id: int
    saved_query_id: UUID
    run_id: UUID
    after: tuple[UUID, ...] = ()


class TableCheckTask(Value):
    """The argument of the step that checks a source table, once for all members that read it.

    `pinned_by` is the generation or the try that has pinned its files. The results of a generation are stored.
    """

    pinned_by: UUID
    is_try: bool = False
    project_id: int
    table_id: UUID


class CopyTask(Value):
    """The argument of the step that copies the tables of one database that the members of a generation read."""

    generation_id: UUID
    project_id: int
    database: str
    timeout_seconds: float


class CopyFailure(Value):
    """Why a table of a database could not be copied, which trying again would not help."""

    table_id: UUID
    error: str
    error_code: str


class CopyOutcome(Value):
    """The answer of the step that copies tables: those without a copy. The others are pinned."""

    failures: tuple[CopyFailure, ...] = ()


class MemberResult(Value):
    """A member that was written, or that need not be: then `unchanged` says why, for people.

    `snapshot_id` is the version that was written, or the one that stays.
    """

    snapshot_id: UUID
    rows: int | None = None
    bytes: int | None = None
    unchanged: str | None = None


class MembersTask(Value):
    """The argument of the step that writes several members. `number` is its own among those of its generation."""

    members: tuple[MemberTask, ...]
    number: int = 0


class MemberError(Value):
    """Why a member cannot be written, also by trying again: the message, and the code and details for programs."""

    message: str
    code: str | None = None
    details: tuple[str | int, ...] = ()


class MemberEnd(Value):
    """How the writing of one of several members has ended. Without a result and an error it is to be tried again.

    `number` is that of the step: a member that is written again may be in a later one.
    """

    run_id: UUID
    number: int = 0
    result: MemberResult | None = None
    error: MemberError | None = None


class RepinRequest(Value):
    """The source table whose files are no longer those that were pinned, and which pinning of it was meant."""

    generation_id: UUID
    table_id: UUID
    round: int


class PublishRequest(Value):
    """The runs whose results are to become visible together. If `all_or_nothing`, none does unless all can."""

    project_id: int
    run_ids: tuple[UUID, ...]
    all_or_nothing: bool = False


class EndedRun(Value):
    """How one run is to end.

    `error` is for the view's owner, `error_code` for programs, `reason` is that of a skipped one.
    """

    run_id: UUID
    status: RunStatus
    error: str | None = None
    error_code: str | None = None
    reason: str | None = None


def why_skipped(name: str, status: RunStatus) -> str:
    """Why a view is skipped that reads the one of this name, whose run has ended with `status`."""
    return f'"{name}" {"was cancelled" if status is RunStatus.CANCELLED else "failed"}.'


class CloseRequest(Value):
    """Runs that end without publishing. `request` records the run of a generation of one that never began.

    `rest` is how all other open runs of a larger generation end, whose workflow does not know them.
    """

    request: RefreshRequest
    runs: tuple[EndedRun, ...]
    rest: EndedRun | None = None


class RefreshOutcome(Value):
    """The result of the workflow of a generation with several members."""

    status: GenerationStatus
    detail: str
