"""Converts a view's desired schedule into Temporal's schedule messages."""

from datetime import timedelta

from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleState,
)
from temporalio.common import TypedSearchAttributes

from orchestrator.model.run import RunRequest, Trigger
from orchestrator.model.schedule import DesiredSchedule
from orchestrator.temporal import contract
from orchestrator.temporal.schedule_times import new_spec
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
        spec=new_spec(desired),
        policy=SchedulePolicy(
            # A refresh that is still running makes the next tick superfluous: it would read the same inputs.
            overlap=ScheduleOverlapPolicy.SKIP,
            catchup_window=catchup_window(desired),
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
    return f"Scheduled refresh of {view_ref(desired)}, {desired.times}"


def catchup_window(desired: DesiredSchedule) -> timedelta:
    """How late the server may still start a tick that it missed while it was away: one interval, or the longest one.

    So a view that missed ticks is refreshed once, as soon as the server is back. Of several ticks that the server makes
    up for, the later ones are skipped, since the first still runs. (The SDK's default is a year.)
    """
    return desired.longest_gap


def schedule_note(desired: DesiredSchedule) -> str:
    """The note of a schedule that is not paused: it names the view for operators."""
    return f'{_NOTE} "{desired.name}" of project {desired.project_id} {desired.times}.'


def is_schedule_note(note: str | None) -> bool:
    """Whether `schedule_note` made the note, for any view."""
    return note is not None and note.startswith(_NOTE)
