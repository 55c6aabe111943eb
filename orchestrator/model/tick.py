"""The ticks of schedules, which gather into one generation where several of a project are due together.

These shapes cross Temporal as JSON and stay in its history: add optional fields, never rename or remove one.
"""

from datetime import datetime
from uuid import UUID

from orchestrator.model.base import Value


class Tick(Value):
    """One tick of a view's schedule, by its workflow. `generation_id` is the generation that it follows."""

    saved_query_id: UUID
    workflow_id: str
    workflow_run_id: UUID
    scheduled_for: datetime | None = None
    generation_id: UUID | None = None


class Gathered(Value):
    """The order for a tick: ask again after `wait_seconds`, follow a generation, or end because of `skipped`.

    Without any of these it runs its view alone.
    """

    wait_seconds: float | None = None
    generation_id: UUID | None = None
    skipped: str | None = None
