"""Converts a view's desired schedule into Temporal's schedule messages."""

import hashlib
from datetime import timedelta

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

from orchestrator.model.run import RunRequest, Trigger
from orchestrator.model.schedule import DesiredSchedule
from orchestrator.temporal import contract
from orchestrator.temporal.search_attributes import ViewRef, priority, tick_attributes

NEVER_NOTE = "Paused, because the view's sync_frequency is set to never."

_NOTE = "Refreshes the materialized view"


def new_schedule(desired: DesiredSchedule, *, labelled: bool) -> Schedule:
    """The schedule as it is created. `labelled` gives its ticks search attributes, which must be registered."""
    return Schedule(
        action=ScheduleActionStartWorkflow(
            contract.SCHEDULED_TICK,
            tick_request(desired),
            id=tick_id(desired),
            task_queue=contract.TASK_QUEUE,
            static_summary=tick_summary(desired),
            typed_search_attributes=tick_attributes(view_ref(desired)) if labelled else TypedSearchAttributes.empty,
            priority=priority(view_ref(desired)),
        ),
        spec=ScheduleSpec(
            intervals=[ScheduleIntervalSpec(every=desired.interval, offset=_offset(desired))],
        ),
        policy=SchedulePolicy(
            # A refresh that is still running makes the next tick superfluous: it would read the same inputs.
            overlap=ScheduleOverlapPolicy.SKIP,
            catchup_window=catchup_window(desired.interval),
        ),
        state=_first_state(desired),
    )


def _first_state(desired: DesiredSchedule) -> ScheduleState:
    if desired.never:
        return ScheduleState(note=NEVER_NOTE, paused=True)
    if desired.paused_note is not None:
        return ScheduleState(note=desired.paused_note, paused=True)
    return ScheduleState(note=schedule_note(desired))


def view_ref(desired: DesiredSchedule) -> ViewRef:
    """The view's project and name."""
    return ViewRef(project_id=desired.project_id, name=desired.name)


def tick_id(desired: DesiredSchedule) -> str:
    """The workflow id of each tick, to which the server appends the time."""
    return contract.tick_workflow_id(desired.saved_query_id, desired.project_id, desired.name)


def tick_request(desired: DesiredSchedule) -> RunRequest:
    """The argument of each tick."""
    return RunRequest(saved_query_id=desired.saved_query_id, label=str(view_ref(desired)), trigger=Trigger.SCHEDULE)


def tick_summary(desired: DesiredSchedule) -> str:
    """The summary of each tick in the Temporal UI."""
    return f"Scheduled refresh of {view_ref(desired)}, every {desired.interval}"


def schedule_spec_message(desired: DesiredSchedule) -> SpecProto:
    """The interval and the offset as the protobuf message with which an existing schedule is changed."""
    interval = IntervalSpec()
    interval.interval.FromTimedelta(desired.interval)
    interval.phase.FromTimedelta(_offset(desired))
    return SpecProto(interval=[interval])


def _offset(desired: DesiredSchedule) -> timedelta:
    """The offset of a view's ticks in the interval: the same for all views of a project, which gather into generations.

    It is spread evenly by the project, or all projects would start at midnight. There is no random delay beside it: it
    would separate ticks that belong together.
    """
    digest = hashlib.sha256(f"project {desired.project_id}".encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8], "big") % int(desired.interval.total_seconds()))


def catchup_window(interval: timedelta) -> timedelta:
    """How late the server may still start a tick that it missed while it was away: one interval.

    So a view that missed ticks is refreshed once, as soon as the server is back, and never several times in a row for
    the same data. (The SDK's default is a year.)
    """
    return interval


def schedule_note(desired: DesiredSchedule) -> str:
    """The note of a schedule that is not paused: it names the view for operators."""
    return f'{_NOTE} "{desired.name}" of project {desired.project_id} every {desired.interval}.'


def is_schedule_note(note: str | None) -> bool:
    """Whether `schedule_note` made the note, for any view."""
    return note is not None and note.startswith(_NOTE)
