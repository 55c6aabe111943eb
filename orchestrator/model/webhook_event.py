"""Webhook events: a view fails, a view works again, or its schedule was paused.

These shapes cross Temporal and HTTP as JSON: add fields, never rename or remove one.
"""

from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID, uuid5

from orchestrator.model.base import Value
from orchestrator.model.check import CheckStatus, Severity
from orchestrator.model.run import Run, RunOutcome, RunStatus, Trigger


class WebhookEventType(StrEnum):
    """The kinds of events: the first failure after a success (or of all), the first success after one, a pause.

    The first two are of runs, and of each check of a view.
    """

    RUN_FAILED = "run.failed"
    RUN_RECOVERED = "run.recovered"
    SCHEDULE_PAUSED = "schedule.paused"
    CHECK_FAILED = "check.failed"
    CHECK_RECOVERED = "check.recovered"


class NotifiedCheck(Value):
    """The check of an event, and what it found. `failing_rows` is None if it could not be run."""

    id: UUID
    label: str
    severity: Severity
    status: CheckStatus
    failing_rows: int | None


class WebhookEventData(Value):
    """The run of an event, and its view.

    `error` and `error_code` are None for a run that completed. `consecutive_failures` is set for a pause only: how many
    scheduled runs failed in a row. `check` is set for the events of a check.
    """

    project_id: int
    view_id: UUID
    view_name: str
    run_id: UUID
    status: RunStatus
    trigger: Trigger
    workflow_id: str
    error: str | None = None
    error_code: str | None = None
    consecutive_failures: int | None = None
    check: NotifiedCheck | None = None


class WebhookEvent(Value):
    """The body of the request to a webhook. `timestamp` is when the event happened, not when it is delivered."""

    type: WebhookEventType
    timestamp: datetime
    data: WebhookEventData

    @property
    def id(self) -> UUID:
        """The id of the event. Each delivery of it has the same one, so that a receiver can recognize a repetition."""
        return uuid5(self.data.run_id, self.name)

    @property
    def name(self) -> str:
        """Its type, and the check of an event of one: no two events of a run have the same name."""
        return self.type if self.data.check is None else f"{self.type}/{self.data.check.id}"


class ClosedRun(RunOutcome):
    """How a run has ended. `error` is for the view's owner; `detail` is the reason of a skipped one."""

    run_id: UUID
    error: str | None = None
    error_code: str | None = None

    @classmethod
    def of(cls, run: Run) -> Self:
        """How this run has ended."""
        return cls(
            run_id=run.id,
            status=run.status,
            rows=run.rows,
            bytes=run.bytes,
            snapshot_id=run.snapshot_id,
            detail=run.skipped_reason,
            error=run.error,
            error_code=run.error_code,
        )


class ClosedRuns(Value):
    """How runs have ended, and the events that this gave rise to."""

    runs: tuple[ClosedRun, ...]
    notices: tuple[WebhookEvent, ...] = ()
