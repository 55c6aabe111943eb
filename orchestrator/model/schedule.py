"""A view's Temporal schedule as the catalog desires it."""

from datetime import timedelta
from uuid import UUID

from orchestrator.model.base import Value
from orchestrator.model.cron import CronSchedule
from orchestrator.model.saved_query import SyncFrequency, Timing


class DesiredSchedule(Value):
    """The schedule that a live, materialized view should have. `name` and `project_id` only label it for people.

    `paused_note` is the note of the pause that the view's schedule was last seen with. A schedule that is missing is
    created with that pause; a schedule that exists is not changed by it.
    """

    saved_query_id: UUID
    project_id: int
    name: str
    frequency: SyncFrequency
    cron: CronSchedule | None = None
    paused_note: str | None = None

    @property
    def longest_gap(self) -> timedelta:
        """The longest time between two scheduled runs."""
        return Timing(frequency=self.frequency, cron=self.cron).longest_gap

    @property
    def times(self) -> str:
        """When it ticks, in words."""
        return f"at the cron times {self.cron}" if self.cron else f"every {self.frequency.interval}"

    @property
    def never(self) -> bool:
        """Whether the schedule stays paused. Otherwise a pause was made by an operator or by the failure policy."""
        return self.frequency is SyncFrequency.NEVER
