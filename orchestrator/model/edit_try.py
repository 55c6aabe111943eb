"""Tries: edits of a view's query that were run, and are not saved.

Requests and results cross Temporal as JSON and stay in its history: add optional fields, never rename or remove one.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from orchestrator.model.base import Value
from orchestrator.model.generation import MemberPlan
from orchestrator.model.snapshot import Snapshot

MOST_OF_A_VIEW = 5
MOST_OF_A_PROJECT = 50
# Its workflow keeps some ten events for each, and its answer lists all of them.
MOST_MEMBERS = 500


class TryStatus(StrEnum):
    """The status of a try, or of one of its members. A promoted one has become a revision and a run of its view.

    Only a member is Skipped: a view that it reads was not written.
    """

    RUNNING = "Running"
    READY = "Ready"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    PROMOTED = "Promoted"
    SKIPPED = "Skipped"


class TryRequest(Value):
    """The argument of the workflow of a try, and of its steps. `label` is for people only.

    The step that writes a member has the id of that one.
    """

    try_id: UUID
    project_id: int
    label: str | None = None


class TryBegun(Value):
    """The limit of the edited query, and its inputs as Markdown for its page.

    `members` are the views that are written, each after those that it reads: the edited one is the first. A try of an
    older release has none here.
    """

    name: str
    timeout_seconds: float
    page: str = ""
    members: tuple[MemberPlan, ...] = ()


class TryEnd(Value):
    """How a try, or one of its members, ended. `error` is for people, `error_code` for programs.

    `others` are further members of the same try that ended at the same time.
    """

    try_id: UUID
    status: TryStatus
    error: str | None = None
    error_code: str | None = None
    rows: int | None = None
    bytes: int | None = None
    others: tuple["TryEnd", ...] = ()


class EditTry(Value):
    """A try as the catalog keeps it.

    `revision_id` is the id that its query gets as a revision when it is promoted. `base_revision_id` and
    `base_snapshot_id` are the revision and the current version of the view when the try was made. `snapshot` is what it
    has written. Nothing of it is left to clients after `expires_at`.

    A member of a try has the same form: it is of a view that reads the edited one, whose query stays as it is.
    `member_of` is the try, `members` the number of those that a try has.
    """

    id: UUID
    project_id: int
    saved_query_id: UUID
    status: TryStatus
    query: dict[str, Any]
    revision_id: UUID
    base_revision_id: UUID
    base_snapshot_id: UUID | None
    created_by: int
    created_at: datetime
    expires_at: datetime
    attempt: int = 0
    finished_at: datetime | None = None
    snapshot: Snapshot | None = None
    error: str | None = None
    error_code: str | None = None
    workflow_run_id: UUID | None = None
    member_of: UUID | None = None
    position: int = 0
    members: int = 0

    @property
    def root(self) -> UUID:
        """The try: its own id, or that of the try which it is a member of."""
        return self.member_of or self.id


class NamedTry(NamedTuple):
    """A member of a try, and the name of its view. The first one is the try itself."""

    name: str
    edit: EditTry
