"""Tries: edits of a view's query that were run, and are not saved.

Requests and results cross Temporal as JSON and stay in its history: add optional fields, never rename or remove one.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from orchestrator.model.base import Value
from orchestrator.model.snapshot import Snapshot

MOST_OF_A_VIEW = 5
MOST_OF_A_PROJECT = 50


class TryStatus(StrEnum):
    """The status of a try. A promoted one has become a revision and a run of its view."""

    RUNNING = "Running"
    READY = "Ready"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    PROMOTED = "Promoted"


class TryRequest(Value):
    """The argument of the workflow of a try, and of its steps. `label` is for people only."""

    try_id: UUID
    project_id: int
    label: str | None = None


class TryBegun(Value):
    """The limit of the try's query, and its inputs as Markdown for its page."""

    name: str
    timeout_seconds: float
    page: str = ""


class TryEnd(Value):
    """How a try ended. `error` is for people, `error_code` for programs."""

    try_id: UUID
    status: TryStatus
    error: str | None = None
    error_code: str | None = None
    rows: int | None = None
    bytes: int | None = None


class EditTry(Value):
    """A try as the catalog keeps it.

    `revision_id` is the id that its query gets as a revision when it is promoted. `base_revision_id` and
    `base_snapshot_id` are the revision and the current version of the view when the try was made. `snapshot` is what it
    has written. Nothing of it is left to clients after `expires_at`.
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
