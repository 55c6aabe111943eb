"""What a view's schedule is to be, in the server's words."""

import hashlib
from datetime import timedelta
from uuid import UUID

from temporalio.api.schedule.v1 import IntervalSpec, ScheduleSpec as SpecProto
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.common import TypedSearchAttributes

from orchestrator.model.base import Value
from orchestrator.model.run import RunRequest, Trigger
from orchestrator.temporal import contract
from orchestrator.temporal.labels import ViewLabel, priority, tick_attributes

NEVER_NOTE = "Paused, because the view's sync_frequency is set to never."

_LABEL = "Refreshes the materialized view"
_LONGEST_JITTER = timedelta(minutes=15)


class WantedSchedule(Value):
    """What a view's schedule is to be. `name` and `project_id` only label it for people.

    `never` keeps the schedule paused; otherwise a pause is somebody else's and is left alone. `paused_note` is of
    the pause that it begins with if it has to be made, and means nothing to a schedule that is there.
    """

    saved_query_id: UUID
    project_id: int
    name: str
    interval: timedelta
    never: bool = False
    paused_note: str | None = None

    @property
    def label(self) -> ViewLabel:
        """The view in words."""
        return ViewLabel(project_id=self.project_id, name=self.name)


def new_schedule(wanted: WantedSchedule, *, labelled: bool) -> Schedule:
    """The schedule as it is created. `labelled` gives its ticks search attributes, which must be registered."""
    return Schedule(
        action=ScheduleActionStartWorkflow(
            contract.SCHEDULED_TICK,
            tick_request(wanted),
            id=tick_id(wanted),
            task_queue=contract.TASK_QUEUE,
            static_summary=tick_summary(wanted),
            typed_search_attributes=tick_attributes(wanted.label) if labelled else TypedSearchAttributes.empty,
            priority=priority(wanted.label),
        ),
        spec=ScheduleSpec(
            intervals=[ScheduleIntervalSpec(every=wanted.interval, offset=_offset(wanted))],
            jitter=_jitter(wanted.interval),
        ),
        policy=SchedulePolicy(
            # A refresh that is still running makes the next tick superfluous: it would read the same inputs.
            overlap=ScheduleOverlapPolicy.SKIP,
            catchup_window=catchup_window(wanted.interval),
        ),
        state=_first_state(wanted),
    )


def _first_state(wanted: WantedSchedule) -> ScheduleState:
    if wanted.never:
        return ScheduleState(note=NEVER_NOTE, paused=True)
    if wanted.paused_note is not None:
        return ScheduleState(note=wanted.paused_note, paused=True)
    return ScheduleState(note=label(wanted))


def tick_id(wanted: WantedSchedule) -> str:
    """The beginning of the workflow id of each tick."""
    return contract.tick_workflow_id(wanted.saved_query_id, wanted.project_id, wanted.name)


def tick_request(wanted: WantedSchedule) -> RunRequest:
    """The argument of each tick."""
    return RunRequest(saved_query_id=wanted.saved_query_id, label=str(wanted.label), trigger=Trigger.SCHEDULE)


def tick_summary(wanted: WantedSchedule) -> str:
    """What stands beside each tick."""
    return f"Scheduled refresh of {wanted.label}, every {wanted.interval}"


def times(wanted: WantedSchedule) -> SpecProto:
    """When it starts a run, as the server's own message, which an existing schedule is changed with."""
    interval = IntervalSpec()
    interval.interval.FromTimedelta(wanted.interval)
    interval.phase.FromTimedelta(_offset(wanted))
    spec = SpecProto(interval=[interval])
    spec.jitter.FromTimedelta(_jitter(wanted.interval))
    return spec


def _offset(wanted: WantedSchedule) -> timedelta:
    """Where in the interval this view's tick lies: spread evenly by its id, or all would start at midnight."""
    digest = hashlib.sha256(wanted.saved_query_id.bytes).digest()
    return timedelta(seconds=int.from_bytes(digest[:8], "big") % int(wanted.interval.total_seconds()))


def _jitter(interval: timedelta) -> timedelta:
    """How far a tick may be late at random: a sixtieth of the interval (a minute for an hour), at most 15 minutes.

    The offset spreads views; this spreads one view's ticks against others that happen to lie beside it.
    """
    return min(interval / 60, _LONGEST_JITTER)


def catchup_window(interval: timedelta) -> timedelta:
    """How late a tick may still be made up for after the server was away: one interval.

    So a view that missed ticks is refreshed once when the server is back, at once and not only at the next tick, and
    never several times in a row for the same data. (The SDK's own default is a year.)
    """
    return interval


def label(wanted: WantedSchedule) -> str:
    """The note of a schedule that is not paused: whose it is, for people."""
    return f'{_LABEL} "{wanted.name}" of project {wanted.project_id} every {wanted.interval}.'


def is_label(note: str | None) -> bool:
    """Whether a note is such a label, of whatever view."""
    return note is not None and note.startswith(_LABEL)
