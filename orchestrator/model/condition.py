"""The condition of a view: its status, together with its schedule, the age of its data and the state of its inputs."""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from orchestrator.model.base import Value
from orchestrator.model.freshness import Freshness
from orchestrator.model.plurals import number_of
from orchestrator.model.run import RunStatus
from orchestrator.model.saved_query import SavedQuery, SyncFrequency, ViewStatus

# After a single interval without a result, the run may only be late.
STALE_AFTER_INTERVALS = 2


class Condition(StrEnum):
    """The condition of a view in one word: the first of these that holds."""

    PLAIN = "Not materialized"
    RUNNING = "Running"
    FAILED = "Failed"
    NEVER_RUN = "Never run"
    PAUSED = "Paused"
    MODIFIED = "Modified"
    CANCELLED = "Cancelled"
    STALE = "Stale"
    FRESH = "Fresh"


class InputState(Value):
    """A materialized view that a view reads, directly or through views that are not materialized.

    `error` is that of its own newest run if that failed. `is_newer`: it has a version that was published after the last
    run of the reader began, and that this run has not read.
    """

    id: UUID
    name: str
    error: str | None = None
    is_newer: bool = False


class ScheduleGlance(Value):
    """The state of a view's schedule as the list of all schedules shows it, which may be a moment late."""

    paused: bool
    reason: str | None = None
    by_policy: bool = False
    next_run_at: datetime | None = None


class ViewCondition(Value):
    """A view, its inputs and its schedule. `schedule` None: it has none, or Temporal does not answer."""

    view: SavedQuery
    inputs: tuple[InputState, ...] = ()
    schedule: ScheduleGlance | None = None

    @property
    def has_failed(self) -> bool:
        """Whether its newest run that has ended failed. One in progress does not change that."""
        ended = self.view.newest_finished_run
        return self.view.is_materialized and ended is not None and ended.status is RunStatus.FAILED

    @property
    def is_paused(self) -> bool:
        """Whether the schedule is paused; `never` is known also if Temporal does not answer."""
        return self.view.sync_frequency is SyncFrequency.NEVER or (self.schedule is not None and self.schedule.paused)

    @property
    def is_held(self) -> bool:
        """Whether it is not refreshed because its schedule is paused. One that follows what it reads still is."""
        return self.is_paused and self.view.freshness is not Freshness.FOLLOW

    def stale_reasons(self, moment: datetime) -> list[str]:
        """Why the result is older than it should be, in sentences; empty if it is not, or if there is none.

        A view whose schedule is paused may have any age. That an input fails is said of it too.
        """
        if not self.view.is_materialized or self.view.current_snapshot is None:
            return []
        failing = [f"{one.name}, which it reads, failed: {one.error}" for one in self.inputs if one.error is not None]
        if self.is_held:
            return failing
        newer = [f"{one.name}, which it reads, is newer" for one in self.inputs if one.is_newer]
        return [*self._overdue(moment), *failing, *newer]

    def condition(self, moment: datetime) -> Condition:
        """The condition in one word."""
        view = self.view
        holds = {
            Condition.PLAIN: not view.is_materialized,
            Condition.RUNNING: view.status is ViewStatus.RUNNING,
            Condition.FAILED: self.has_failed,
            Condition.NEVER_RUN: view.newest_run is None and view.current_snapshot is None,
            Condition.PAUSED: self.is_held,
            Condition.MODIFIED: view.status is ViewStatus.MODIFIED,
            Condition.CANCELLED: view.status is ViewStatus.CANCELLED,
            Condition.STALE: bool(self.stale_reasons(moment)),
        }
        return next((condition for condition, is_so in holds.items() if is_so), Condition.FRESH)

    def is_ok(self, moment: datetime) -> bool:
        """Whether nothing is to be done: it has not failed, is not stale, and was not paused for its failures."""
        by_policy = self.schedule is not None and self.schedule.by_policy
        return not (by_policy or self.has_failed or self.stale_reasons(moment))

    def _overdue(self, moment: datetime) -> list[str]:
        timing, data_as_of = self.view.timing, self.view.data_as_of
        if timing is None or timing.frequency is SyncFrequency.NEVER or data_as_of is None:
            return []
        age = moment - data_as_of
        is_late = age > STALE_AFTER_INTERVALS * timing.longest_gap
        when = f"at {timing.cron}" if timing.cron else f"every {timing.frequency}"
        return [f"its data is {span(age)} old, and it is refreshed {when}"] if is_late else []


def span(length: timedelta) -> str:
    """A length of time in its largest unit, rounded down, such as `3 hours`."""
    seconds = max(0, int(length.total_seconds()))
    for name, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * size or (seconds >= size and name == "minute"):
            number = seconds // size
            return number_of(number, name)
    return number_of(seconds, "second")
