"""A view's Temporal schedule as the catalog desires it."""

from datetime import timedelta
from uuid import UUID

from orchestrator.model.base import Value
from orchestrator.model.saved_query import SyncFrequency


class DesiredSchedule(Value):
    """The schedule that a live, materialized view should have. `name` and `project_id` only label it for people.

    `paused_note` is the note of the pause that the view's schedule was last seen with. A schedule that is missing is
    created with that pause; a schedule that exists is not changed by it.
    """

    saved_query_id: UUID
    project_id: int
    name: str
    frequency: SyncFrequency
    paused_note: str | None = None

    @property
    def interval(self) -> timedelta:
        """The time between two scheduled runs."""
        return self.frequency.interval

    @property
    def never(self) -> bool:
        """Whether the schedule stays paused. Otherwise a pause was made by an operator or by the failure policy."""
        return self.frequency is SyncFrequency.NEVER
