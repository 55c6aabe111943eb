"""Temporal Schedules: one for each materialized view, derived from what the catalog wants of it."""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

from temporalio.api.common.v1 import Payloads, SearchAttributes
from temporalio.api.schedule.v1 import Schedule as ScheduleProto
from temporalio.api.workflowservice.v1 import UpdateScheduleRequest
from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleState,
)
from temporalio.converter import encode_search_attributes
from temporalio.service import RPCError

from orchestrator.model.base import Value
from orchestrator.model.errors import TemporalBusy
from orchestrator.model.sharing import Shared
from orchestrator.temporal import contract
from orchestrator.temporal.client import RPC_TIMEOUT, is_not_found, reaching_temporal
from orchestrator.temporal.labels import is_unknown_attribute, tick_attributes, view_attributes
from orchestrator.temporal.wanted import (
    NEVER_NOTE,
    WantedSchedule,
    catchup_window,
    is_label,
    label,
    new_schedule,
    tick_id,
    tick_request,
    tick_summary,
    times,
)

# How the note of every pause begins that the failure policy makes: it lifts these and no other.
FAILING_NOTE = "Paused by the failure policy: "

_UPDATE_TRIES = 8
_CONTENDED = "The schedule is being changed by others at this moment. Try again in a moment."
# The server answers one question about a schedule at a time and lets one more wait; the others it sends away. Those of
# this process share theirs, so what is left are other processes: they are let through for so long.
_BUSY_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.05


class ListedSchedule(Value):
    """A view's schedule as a list tells of it, which may be a moment late."""

    interval: timedelta
    paused: bool
    note: str | None
    starts: str


class ScheduleInfo(Value):
    """How a view's schedule stands in the server. `paused_reason` is its note while it is paused."""

    interval: timedelta
    paused: bool
    paused_reason: str | None
    next_run_at: datetime | None


class Schedules:
    """The schedules of one namespace."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._looks: Shared[UUID, ScheduleDescription | None] = Shared()

    async def find(self, saved_query_id: UUID) -> ScheduleInfo | None:
        """How the view's schedule stands, or None if it has none."""
        description = await self._describe(saved_query_id)
        return None if description is None else _info(description)

    async def listed(self) -> dict[UUID, ListedSchedule]:
        """The schedules of all views, also of views that are not ours, by the view's id."""
        found: dict[UUID, ListedSchedule] = {}
        with reaching_temporal():
            async for entry in await self._client.list_schedules():
                view, schedule = contract.view_of(entry.id), entry.schedule
                if view is not None and schedule is not None:
                    every = [interval.every for interval in schedule.spec.intervals]
                    found[view] = ListedSchedule(
                        interval=every[0] if every else timedelta(0),
                        paused=schedule.state.paused,
                        note=schedule.state.note,
                        starts=getattr(schedule.action, "workflow", ""),
                    )
        return found

    async def problem(self, wanted: WantedSchedule, listed: ListedSchedule | None) -> str | None:
        """What is wrong with the schedule of a view, or None. `listed` spares a call if nothing is."""
        if listed is not None and _is_listed_right(listed, wanted):
            return None
        description = await self._describe(wanted.saved_query_id)
        if description is None:
            paused = ", paused as it was" if wanted.paused_note is not None and not wanted.never else ""
            return f"the view has no schedule; it is created{paused}"
        interval, state = _info(description).interval, description.schedule.state
        if not _starts_ticks(description):
            return "it starts something else; it is made anew"
        if _fits(wanted, interval, state.note, paused=state.paused):
            return None if _is_aligned(description, wanted) else "it says another name; it is corrected"
        if interval != wanted.interval:
            return f"it is every {interval} and should be every {wanted.interval}; it is corrected"
        return "its pause is not what the view says; it is corrected"

    async def ensure(self, wanted: WantedSchedule) -> None:
        """Create the schedule, or bring an existing one's times in line.

        Its history stays, and so does its pause, except the one that `never` makes and another wish lifts.
        Safe to repeat and to call from several places at once: the id is the view's, so there can be only one.
        """
        description = await self._describe(wanted.saved_query_id)
        pause: ScheduleState | None = None
        if description is not None and not _starts_ticks(description):
            # An action cannot be changed without its arguments being written anew; a pause is taken over.
            if description.schedule.state.paused and not wanted.never:
                pause = description.schedule.state
            await self.delete(wanted.saved_query_id)
            description = None
        if description is None and await self._create(wanted, pause):
            return
        await self._align(wanted)
        await self._pause_or_not(wanted)

    async def _create(self, wanted: WantedSchedule, pause: ScheduleState | None) -> bool:
        """Create the schedule, paused as given. False if somebody else has created it meanwhile."""
        for labelled in (True, False):
            schedule = new_schedule(wanted, labelled=labelled)
            if pause is not None:
                schedule.state = pause
            try:
                with reaching_temporal():
                    await self._client.create_schedule(
                        contract.schedule_id(wanted.saved_query_id),
                        schedule,
                        search_attributes=view_attributes(wanted.label) if labelled else None,
                        rpc_timeout=RPC_TIMEOUT,
                    )
            except ScheduleAlreadyRunningError:
                return False
            except RPCError as error:
                if not (labelled and is_unknown_attribute(error)):
                    raise
            else:
                break
        return True

    async def delete(self, saved_query_id: UUID) -> None:
        """Delete the schedule, if there is one. A run that it started goes on: cancel that too."""
        with _unless_gone():
            await self._handle(saved_query_id).delete(rpc_timeout=RPC_TIMEOUT)

    async def pause(self, saved_query_id: UUID, note: str) -> bool:
        """Pause a schedule and say why. False, and nothing changed, if it is paused already or is not there.

        A pause by the failure policy is no such pause: that one would end with the next run that succeeds.
        """
        description = await self._describe(saved_query_id)
        if description is None or not _may_pause(description.schedule.state):
            return False
        return await self._set_pause(saved_query_id, paused=True, note=note, when=_may_pause, seen=description)

    async def ticks(self, saved_query_id: UUID) -> list[tuple[str, str]]:
        """The ticks of the schedule that are going on, by workflow id and run id: also those that have only fired."""
        description = await self._describe(saved_query_id)
        actions = description.info.running_actions if description else ()
        return [
            (action.workflow_id, action.first_execution_run_id)
            for action in actions
            if isinstance(action, ScheduleActionExecutionStartWorkflow)
        ]

    async def unpause(self, saved_query_id: UUID, note: str) -> bool:
        """Let a paused schedule run again, whoever paused it. False if it was not paused, or is not there."""
        description = await self._describe(saved_query_id)
        if description is None or not description.schedule.state.paused:
            return False
        with _unless_gone():
            await self._handle(saved_query_id).unpause(note=note, rpc_timeout=RPC_TIMEOUT)
            return True
        return False

    async def pause_failing(self, saved_query_id: UUID, why: str) -> bool:
        """Pause the schedule for its failures, unless it is paused already: no pause is ever overwritten.

        True if it is paused with exactly this reason now, also if an earlier call that lost its answer made it so.
        False too if there is no schedule.
        """
        return await self._set_pause(
            saved_query_id, paused=True, note=FAILING_NOTE + why, when=lambda state: not state.paused
        )

    async def lift_failing(self, saved_query_id: UUID, note: str) -> bool:
        """Let a schedule run again that `pause_failing` paused; a pause of anybody else's stays.

        True if it runs again with exactly this note now, also if an earlier call that lost its answer made it so.
        """
        return await self._set_pause(saved_query_id, paused=False, note=note, when=_is_failing)

    async def _set_pause(
        self,
        saved_query_id: UUID,
        *,
        paused: bool,
        note: str,
        when: Callable[[ScheduleState], bool],
        seen: ScheduleDescription | None = None,
    ) -> bool:
        """Pause or unpause a schedule that stands as `when` says, and only if nobody changes it meanwhile."""
        for attempt in range(_UPDATE_TRIES):
            if attempt:
                await _pause(attempt)
            description = await self._describe(saved_query_id) if seen is None else seen
            seen = None  # whatever it was, it is old the next time
            if description is None:
                return False
            state = description.schedule.state
            if (state.paused, state.note) == (paused, note):
                return True
            if not when(state):
                return False
            changed = ScheduleProto()
            changed.CopyFrom(description.raw_description.schedule)
            changed.state.paused = paused
            changed.state.notes = note
            await self._replace(saved_query_id, description, changed)
        raise TemporalBusy(_CONTENDED)

    async def _pause_or_not(self, wanted: WantedSchedule) -> None:
        description = await self._describe(wanted.saved_query_id)
        if description is None:
            return
        state = description.schedule.state
        with _unless_gone():
            if wanted.never and (not state.paused or _is_failing(state)):
                await self._handle(wanted.saved_query_id).pause(note=NEVER_NOTE, rpc_timeout=RPC_TIMEOUT)
            elif not wanted.never and state.paused and state.note == NEVER_NOTE:
                await self._handle(wanted.saved_query_id).unpause(note=label(wanted), rpc_timeout=RPC_TIMEOUT)

    def _handle(self, saved_query_id: UUID) -> ScheduleHandle:
        return self._client.get_schedule_handle(contract.schedule_id(saved_query_id))

    async def _describe(self, saved_query_id: UUID) -> ScheduleDescription | None:
        """How it stands now. Those who ask at the same moment share one question, which began after they asked."""
        return await self._looks.call(saved_query_id, lambda: self._look_until_answered(saved_query_id))

    async def _look_until_answered(self, saved_query_id: UUID) -> ScheduleDescription | None:
        deadline = time.monotonic() + _BUSY_SECONDS
        for attempt in itertools.count():
            try:
                return await self._look(saved_query_id)
            except TemporalBusy:
                if time.monotonic() > deadline:
                    raise
            await _pause(attempt)
        raise AssertionError

    async def _look(self, saved_query_id: UUID) -> ScheduleDescription | None:
        try:
            with reaching_temporal():
                return await self._handle(saved_query_id).describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if is_not_found(error):
                return None
            raise

    async def _align(self, wanted: WantedSchedule) -> None:
        """Change the times of an existing schedule, and nothing else of it.

        The SDK's `update` would write back the pause it read, undoing one that an operator makes meanwhile. The raw
        request carries a token against that; a server that meets a stale one may drop the change without a word, so
        the result is read back.
        """
        for attempt in range(_UPDATE_TRIES):
            if attempt > 1:  # the first time it is only read back
                await _pause(attempt)
            description = await self._describe(wanted.saved_query_id)
            if description is None or _is_aligned(description, wanted):
                return
            raw = description.raw_description
            changed = ScheduleProto()
            changed.CopyFrom(raw.schedule)
            changed.spec.CopyFrom(times(wanted))
            changed.policies.catchup_window.FromTimedelta(catchup_window(wanted.interval))
            changed.state.notes = raw.schedule.state.notes if raw.schedule.state.paused else label(wanted)
            attributes = await self._relabel(changed, wanted)
            await self._replace(wanted.saved_query_id, description, changed, attributes)
        raise TemporalBusy(_CONTENDED)

    async def _relabel(self, changed: ScheduleProto, wanted: WantedSchedule) -> SearchAttributes | None:
        """Give the ticks the name that the view has now.

        Returns the search attributes for the schedule itself, if it has any.
        """
        tick = changed.action.start_workflow
        tick.workflow_id = tick_id(wanted)
        (summary,) = await self._client.data_converter.encode([tick_summary(wanted)])
        tick.user_metadata.summary.CopyFrom(summary)
        tick.input.CopyFrom(Payloads(payloads=await self._client.data_converter.encode([tick_request(wanted)])))
        if contract.VIEW_ATTRIBUTE not in tick.search_attributes.indexed_fields:
            return None
        encode_search_attributes(tick_attributes(wanted.label), tick.search_attributes)
        own = SearchAttributes()
        encode_search_attributes(view_attributes(wanted.label), own)
        return own

    async def _replace(
        self,
        saved_query_id: UUID,
        seen: ScheduleDescription,
        changed: ScheduleProto,
        attributes: SearchAttributes | None = None,
    ) -> None:
        schedule_id, token = contract.schedule_id(saved_query_id), seen.raw_description.conflict_token
        await replace_schedule(self._client, schedule_id, changed, token, attributes)


async def replace_schedule(
    client: Client,
    schedule_id: str,
    changed: ScheduleProto,
    conflict_token: bytes,
    attributes: SearchAttributes | None = None,
) -> None:
    """Replace a schedule that still is as it was when the token was given; None keeps its search attributes.

    Whether that came to pass has to be read back: a server that meets a stale token may drop the change without a word.
    """
    with _unless_gone():
        await client.workflow_service.update_schedule(
            UpdateScheduleRequest(
                namespace=client.namespace,
                schedule_id=schedule_id,
                schedule=changed,
                conflict_token=conflict_token,
                search_attributes=attributes,
                identity=client.identity,
            ),
            timeout=RPC_TIMEOUT,
        )


async def _pause(attempt: int) -> None:
    """Let others finish what they do to the same schedule; not all for the same time, or they would meet again."""
    longest = _FIRST_PAUSE_SECONDS * 2 ** min(attempt, 5)
    await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - nothing is to be kept secret


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Pass over a schedule that somebody deletes at this moment: to whoever looks again, there is none."""
    try:
        with reaching_temporal():
            yield
    except RPCError as error:
        if not is_not_found(error):
            raise


def _is_failing(state: ScheduleState) -> bool:
    """Whether the failure policy paused it."""
    return state.paused and (state.note or "").startswith(FAILING_NOTE)


def _may_pause(state: ScheduleState) -> bool:
    """Whether a person's pause would not take the place of another person's."""
    return not state.paused or _is_failing(state)


def _starts_ticks(description: ScheduleDescription) -> bool:
    """Whether a schedule starts what it should, where workers of ours take it up."""
    action = description.schedule.action
    return (
        isinstance(action, ScheduleActionStartWorkflow)
        and action.workflow == contract.SCHEDULED_TICK
        and action.task_queue == contract.TASK_QUEUE
    )


def _is_listed_right(listed: ListedSchedule, wanted: WantedSchedule) -> bool:
    starts_ticks = listed.starts == contract.SCHEDULED_TICK
    # A note that is not ours is somebody's; whether the name is right is then seen at the next look at the schedule.
    renamed = is_label(listed.note) and listed.note != label(wanted)
    return starts_ticks and not renamed and _fits(wanted, listed.interval, listed.note, paused=listed.paused)


def _is_aligned(description: ScheduleDescription, wanted: WantedSchedule) -> bool:
    """Whether times and labels are right. The note of a paused schedule says why it is: that is not ours to change."""
    state, action = description.schedule.state, description.schedule.action
    noted = state.paused or state.note == label(wanted)
    labelled = noted and isinstance(action, ScheduleActionStartWorkflow) and action.id == tick_id(wanted)
    return labelled and _info(description).interval == wanted.interval


def _fits(wanted: WantedSchedule, interval: timedelta, note: str | None, *, paused: bool) -> bool:
    """Whether a schedule does what it should. A pause is somebody else's, except that which `never` makes.

    `never` is not kept by a pause of the failure policy, which ends with the next run that succeeds.
    """
    state = ScheduleState(paused=paused, note=note)
    pause_fits = paused and not _is_failing(state) if wanted.never else not (paused and note == NEVER_NOTE)
    return pause_fits and interval == wanted.interval


def _info(description: ScheduleDescription) -> ScheduleInfo:
    schedule = description.schedule
    intervals = schedule.spec.intervals
    upcoming = description.info.next_action_times
    return ScheduleInfo(
        interval=intervals[0].every if intervals else timedelta(0),
        paused=schedule.state.paused,
        paused_reason=schedule.state.note if schedule.state.paused else None,
        next_run_at=upcoming[0] if upcoming and not schedule.state.paused else None,
    )
