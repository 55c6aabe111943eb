"""The state of a view's schedule in the Temporal server, and whether it matches the desired one."""

from datetime import datetime

from temporalio.client import ScheduleActionStartWorkflow, ScheduleDescription, ScheduleState

from orchestrator.model.base import Value
from orchestrator.model.schedule import DesiredSchedule
from orchestrator.temporal import contract
from orchestrator.temporal.schedule_spec import NEVER_NOTE, is_schedule_note, schedule_note, tick_id
from orchestrator.temporal.schedule_times import ScheduleTimes, desired_times, times_of

# The note of every pause that the failure policy makes begins so: the policy lifts these pauses and no other.
FAILURE_PAUSE_NOTE = "Paused by the failure policy: "


class ListedSchedule(Value):
    """A view's schedule as the server lists it, which may be a moment late. `workflow_type` is what it starts."""

    times: ScheduleTimes
    paused: bool
    note: str | None
    workflow_type: str
    next_run_at: datetime | None = None


class ScheduleInfo(Value):
    """The state of a view's schedule. `paused_reason` is its note while it is paused."""

    times: ScheduleTimes
    paused: bool
    paused_reason: str | None
    next_run_at: datetime | None


def schedule_info(description: ScheduleDescription) -> ScheduleInfo:
    """The state in the server's description."""
    schedule = description.schedule
    upcoming = description.info.next_action_times
    return ScheduleInfo(
        times=times_of(schedule.spec),
        paused=schedule.state.paused,
        paused_reason=schedule.state.note if schedule.state.paused else None,
        next_run_at=upcoming[0] if upcoming and not schedule.state.paused else None,
    )


def is_paused_by_policy(state: ScheduleState) -> bool:
    """Whether the failure policy paused the schedule."""
    return state.paused and is_failure_note(state.note)


def is_failure_note(note: str | None) -> bool:
    """Whether the failure policy wrote the note of a paused schedule."""
    return (note or "").startswith(FAILURE_PAUSE_NOTE)


def can_pause(state: ScheduleState) -> bool:
    """Whether a new pause would replace none but one of the failure policy."""
    return not state.paused or is_paused_by_policy(state)


def has_expected_action(description: ScheduleDescription) -> bool:
    """Whether the schedule starts scheduled ticks on the queue that this program's workers poll."""
    action = description.schedule.action
    return (
        isinstance(action, ScheduleActionStartWorkflow)
        and action.workflow == contract.SCHEDULED_TICK
        and action.task_queue == contract.TASK_QUEUE
    )


def listing_matches(listed: ListedSchedule, desired: DesiredSchedule) -> bool:
    """Whether the listed schedule matches, so that it need not be described.

    An operator's note hides the name. A wrong name is then found when the schedule is described for another reason.
    """
    renamed = is_schedule_note(listed.note) and listed.note != schedule_note(desired)
    expected = listed.workflow_type == contract.SCHEDULED_TICK and not renamed
    return expected and times_and_pause_match(desired, listed.times, listed.note, paused=listed.paused)


def times_and_labels_match(description: ScheduleDescription, desired: DesiredSchedule) -> bool:
    """Whether times and labels match. The note of a paused schedule gives the reason and is never corrected."""
    state, action = description.schedule.state, description.schedule.action
    noted = state.paused or state.note == schedule_note(desired)
    labelled = noted and isinstance(action, ScheduleActionStartWorkflow) and action.id == tick_id(desired)
    return labelled and schedule_info(description).times == desired_times(desired)


def times_and_pause_match(desired: DesiredSchedule, times: ScheduleTimes, note: str | None, *, paused: bool) -> bool:
    """Whether times and pause match. A pause is an operator's, except the one that `never` makes.

    A pause of the failure policy does not fulfil `never`: it ends with the next run that succeeds.
    """
    state = ScheduleState(paused=paused, note=note)
    pause_matches = paused and not is_paused_by_policy(state) if desired.never else not (paused and note == NEVER_NOTE)
    return pause_matches and times == desired_times(desired)
