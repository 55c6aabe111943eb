"""What is told to a webhook: that a view fails, that it works again, that its schedule was paused.

These shapes cross Temporal and the wire as JSON: add fields, never rename or remove one.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from orchestrator.model.base import Value
from orchestrator.model.run import RunOutcome, RunStatus, Trigger


class WebhookEventType(StrEnum):
    """What happened: the first failure after a success (or of all), the first success after a failure, a pause."""

    RUN_FAILED = "run.failed"
    RUN_RECOVERED = "run.recovered"
    SCHEDULE_PAUSED = "schedule.paused"


class WebhookEventData(Value):
    """Which run of which view it happened to.

    `error` and `error_code` are None of a run that completed. `consecutive_failures` is set for a pause only: how many
    scheduled runs failed in a row.
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


class WebhookEvent(Value):
    """The body that a webhook is sent, as it is. `timestamp` is when it happened, not when it is told."""

    type: WebhookEventType
    timestamp: datetime
    data: WebhookEventData

    @property
    def id(self) -> UUID:
        """The same for the same event however often it is sent, so that a receiver can tell a repetition."""
        return uuid5(self.data.run_id, self.type)


class PublishResult(Value):
    """What publishing a snapshot gave rise to. Histories of older releases have nothing in its place."""

    notices: tuple[WebhookEvent, ...] = ()


class CloseResult(RunOutcome):
    """How a run stands that was closed, and what that gave rise to."""

    notices: tuple[WebhookEvent, ...] = ()
