"""Temporal Schedules: one for each materialized view, derived from what the catalog wants of it."""

import hashlib
from datetime import datetime, timedelta
from uuid import UUID

from temporalio.api.schedule.v1 import IntervalSpec, Schedule as ScheduleProto, ScheduleSpec as SpecProto
from temporalio.api.workflowservice.v1 import UpdateScheduleRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.service import RPCError

from orchestrator.model.base import Value
from orchestrator.model.errors import TemporalUnavailable
from orchestrator.model.run import RunRequest, Trigger
from orchestrator.temporal import contract
from orchestrator.temporal.client import RPC_TIMEOUT, is_not_found, reaching_temporal

NEVER_NOTE = "Paused, because the view's sync_frequency is set to never."

_UPDATE_TRIES = 5
_LONGEST_JITTER = timedelta(minutes=15)


class WantedSchedule(Value):
    """What a view's schedule is to be. `name` and `project_id` only label it for people.

    `never` keeps the schedule paused; otherwise a pause is somebody else's and is left alone.
    """

    saved_query_id: UUID
    project_id: int
    name: str
    interval: timedelta
    never: bool = False


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

    async def find(self, saved_query_id: UUID) -> ScheduleInfo | None:
        """How the view's schedule stands, or None if it has none."""
        description = await self._describe(saved_query_id)
        return None if description is None else _info(description)

    async def ensure(self, wanted: WantedSchedule) -> None:
        """Create the schedule, or bring an existing one's times in line.

        Its history stays, and so does its pause, except the one that `never` makes and another wish lifts.
        Safe to repeat and to call from several places at once: the id is the view's, so there can be only one.
        """
        if await self._describe(wanted.saved_query_id) is None:
            try:
                with reaching_temporal():
                    await self._client.create_schedule(
                        contract.schedule_id(wanted.saved_query_id), _schedule(wanted), rpc_timeout=RPC_TIMEOUT
                    )
            except ScheduleAlreadyRunningError:
                pass
            else:
                return
        await self._align(wanted)
        await self._pause_or_not(wanted)

    async def delete(self, saved_query_id: UUID) -> None:
        """Delete the schedule, if there is one. A run that it started goes on: cancel that too."""
        try:
            with reaching_temporal():
                await self._handle(saved_query_id).delete(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if not is_not_found(error):
                raise

    async def unpause(self, saved_query_id: UUID, note: str) -> bool:
        """Let a paused schedule run again, whoever paused it. False if it was not paused, or is not there."""
        description = await self._describe(saved_query_id)
        if description is None or not description.schedule.state.paused:
            return False
        with reaching_temporal():
            await self._handle(saved_query_id).unpause(note=note, rpc_timeout=RPC_TIMEOUT)
        return True

    async def _pause_or_not(self, wanted: WantedSchedule) -> None:
        description = await self._describe(wanted.saved_query_id)
        if description is None:
            return
        state = description.schedule.state
        with reaching_temporal():
            if wanted.never and not state.paused:
                await self._handle(wanted.saved_query_id).pause(note=NEVER_NOTE, rpc_timeout=RPC_TIMEOUT)
            elif not wanted.never and state.paused and state.note == NEVER_NOTE:
                await self._handle(wanted.saved_query_id).unpause(note=_note(wanted), rpc_timeout=RPC_TIMEOUT)

    def _handle(self, saved_query_id: UUID) -> ScheduleHandle:
        return self._client.get_schedule_handle(contract.schedule_id(saved_query_id))

    async def _describe(self, saved_query_id: UUID) -> ScheduleDescription | None:
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
        for _ in range(_UPDATE_TRIES):
            description = await self._describe(wanted.saved_query_id)
            if description is None or _is_aligned(description, wanted):
                return
            raw = description.raw_description
            changed = ScheduleProto()
            changed.CopyFrom(raw.schedule)
            changed.spec.CopyFrom(_spec_proto(wanted))
            changed.policies.catchup_window.FromTimedelta(_catchup_window(wanted.interval))
            changed.state.notes = raw.schedule.state.notes if raw.schedule.state.paused else _note(wanted)
            with reaching_temporal():
                await self._client.workflow_service.update_schedule(
                    UpdateScheduleRequest(
                        namespace=self._client.namespace,
                        schedule_id=contract.schedule_id(wanted.saved_query_id),
                        schedule=changed,
                        conflict_token=raw.conflict_token,
                        identity=self._client.identity,
                    ),
                    timeout=RPC_TIMEOUT,
                )
        raise TemporalUnavailable("The schedule is being changed by somebody else. Try again in a moment.")


def _schedule(wanted: WantedSchedule) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            contract.SCHEDULED_TICK,
            RunRequest(saved_query_id=wanted.saved_query_id, trigger=Trigger.SCHEDULE),
            id=contract.tick_workflow_id(wanted.saved_query_id),
            task_queue=contract.TASK_QUEUE,
            static_summary=f"Refresh {wanted.name} (project {wanted.project_id})",
        ),
        spec=ScheduleSpec(
            intervals=[ScheduleIntervalSpec(every=wanted.interval, offset=_offset(wanted))],
            jitter=_jitter(wanted.interval),
        ),
        policy=SchedulePolicy(
            # A refresh that is still running makes the next tick superfluous: it would read the same inputs.
            overlap=ScheduleOverlapPolicy.SKIP,
            catchup_window=_catchup_window(wanted.interval),
        ),
        state=ScheduleState(note=NEVER_NOTE if wanted.never else _note(wanted), paused=wanted.never),
    )


def _spec_proto(wanted: WantedSchedule) -> SpecProto:
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


def _catchup_window(interval: timedelta) -> timedelta:
    """How late a tick may still be made up for after the server was away: one interval.

    So a view that missed ticks is refreshed once when the server is back, at once and not only at the next tick, and
    never several times in a row for the same data. (The SDK's own default is a year.)
    """
    return interval


def _note(wanted: WantedSchedule) -> str:
    return f'Refreshes the materialized view "{wanted.name}" of project {wanted.project_id} every {wanted.interval}.'


def _is_aligned(description: ScheduleDescription, wanted: WantedSchedule) -> bool:
    """Whether times and label are right. The note of a paused schedule says why it is: that is not ours to change."""
    state = description.schedule.state
    labelled = state.paused or state.note == _note(wanted)
    return labelled and _info(description).interval == wanted.interval


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
