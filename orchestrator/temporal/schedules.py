"""Temporal Schedules: one for each materialized view, derived from the catalog's desired schedule."""

import itertools
import time
from collections.abc import Callable
from uuid import UUID

from temporalio.api.common.v1 import Payloads, SearchAttributes
from temporalio.api.schedule.v1 import Schedule as ScheduleProto
from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleState,
)
from temporalio.converter import encode_search_attributes
from temporalio.service import RPCError

from orchestrator.model.errors import TemporalBusy
from orchestrator.model.schedule import DesiredSchedule
from orchestrator.model.single_flight import SingleFlight
from orchestrator.temporal import contract
from orchestrator.temporal.client import RPC_TIMEOUT, is_not_found, translate_rpc_errors
from orchestrator.temporal.schedule_spec import (
    NEVER_NOTE,
    catchup_window,
    new_schedule,
    schedule_note,
    tick_id,
    tick_request,
    tick_summary,
    view_ref,
)
from orchestrator.temporal.schedule_state import (
    FAILURE_PAUSE_NOTE,
    ListedSchedule,
    ScheduleInfo,
    can_pause,
    has_expected_action,
    is_paused_by_policy,
    listing_matches,
    schedule_info,
    times_and_labels_match,
    times_and_pause_match,
)
from orchestrator.temporal.schedule_times import desired_times, refused_times, spec_message, times_of
from orchestrator.temporal.schedule_update import (
    CONTENDED,
    UPDATE_TRIES,
    backoff,
    ignore_not_found,
    replace_schedule,
)
from orchestrator.temporal.search_attributes import is_unknown_attribute, tick_attributes, view_attributes

# The server answers one describe call about a schedule at a time, lets one more wait and refuses the others. The
# callers of this process share one call, so only other processes compete: they are given this long.
_BUSY_SECONDS = 10.0


class Schedules:
    """The schedules of one namespace."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._describing: SingleFlight[UUID, ScheduleDescription | None] = SingleFlight()

    async def find(self, saved_query_id: UUID) -> ScheduleInfo | None:
        """The state of the view's schedule, or None if it has none."""
        description = await self._describe(saved_query_id)
        return None if description is None else schedule_info(description)

    async def list_all(self) -> dict[UUID, ListedSchedule]:
        """The schedules of all views by the view's id, also of views of other installations."""
        listed: dict[UUID, ListedSchedule] = {}
        with translate_rpc_errors():
            async for entry in await self._client.list_schedules():
                view, schedule = contract.parse_view_id(entry.id), entry.schedule
                if view is not None and schedule is not None:
                    upcoming = () if entry.info is None or schedule.state.paused else entry.info.next_action_times
                    listed[view] = ListedSchedule(
                        times=times_of(schedule.spec),
                        paused=schedule.state.paused,
                        note=schedule.state.note,
                        workflow_type=getattr(schedule.action, "workflow", ""),
                        next_run_at=upcoming[0] if upcoming else None,
                    )
        return listed

    async def find_drift(self, desired: DesiredSchedule, listed: ListedSchedule | None) -> str | None:
        """How the view's schedule differs from the desired one, or None. `listed` saves a call if it matches."""
        if listed is not None and listing_matches(listed, desired):
            return None
        description = await self._describe(desired.saved_query_id)
        if description is None:
            paused = ", paused as it was" if desired.paused_note is not None and not desired.never else ""
            return f"the view has no schedule; it is created{paused}"
        times, state = times_of(description.schedule.spec), description.schedule.state
        if not has_expected_action(description):
            return "it starts something else; it is created again"
        if times_and_pause_match(desired, times, state.note, paused=state.paused):
            return None if times_and_labels_match(description, desired) else "it says another name; it is corrected"
        if times != desired_times(desired):
            return f"it ticks {times} and should tick {desired.times}; it is corrected"
        return "its pause is not what the view says; it is corrected"

    async def ensure(self, desired: DesiredSchedule) -> None:
        """Create the schedule, or correct its times, its labels and the pause that `never` makes.

        A schedule that starts something else is deleted and created again, which loses its history. An operator's pause
        is kept. Safe to repeat and to call from several processes at once: the id is the view's, so there can be only
        one schedule. Raises Invalid if the server knows no such time zone.
        """
        description = await self._describe(desired.saved_query_id)
        pause: ScheduleState | None = None
        if description is not None and not has_expected_action(description):
            # An action can only be changed together with its arguments; an operator's pause is kept.
            if description.schedule.state.paused and not desired.never:
                pause = description.schedule.state
            await self.delete(desired.saved_query_id)
            description = None
        with refused_times(desired):
            if description is None and await self._create(desired, pause):
                return
            await self._update_spec(desired)
        await self._sync_pause(desired)

    async def _create(self, desired: DesiredSchedule, pause: ScheduleState | None) -> bool:
        """Create the schedule, paused as given. False if another process has created it first."""
        for labelled in (True, False):
            schedule = new_schedule(desired, labelled=labelled)
            if pause is not None:
                schedule.state = pause
            try:
                with translate_rpc_errors():
                    await self._client.create_schedule(
                        contract.schedule_id(desired.saved_query_id),
                        schedule,
                        search_attributes=view_attributes(view_ref(desired)) if labelled else None,
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
        """Delete the schedule, if there is one. A run that it started continues; callers cancel it too."""
        with ignore_not_found():
            await self._handle(saved_query_id).delete(rpc_timeout=RPC_TIMEOUT)

    async def running_ticks(self, saved_query_id: UUID) -> list[tuple[str, str]]:
        """The running ticks of the schedule by workflow id and run id, also those without a first workflow task."""
        description = await self._describe(saved_query_id)
        actions = description.info.running_actions if description else ()
        return [
            (action.workflow_id, action.first_execution_run_id)
            for action in actions
            if isinstance(action, ScheduleActionExecutionStartWorkflow)
        ]

    async def pause(self, saved_query_id: UUID, note: str) -> bool:
        """Pause a schedule with a reason. False, with nothing changed, if it is paused already or does not exist.

        A pause by the failure policy is replaced: that one would end with the next run that succeeds.
        """
        description = await self._describe(saved_query_id)
        if description is None or not can_pause(description.schedule.state):
            return False
        return await self._set_pause(
            saved_query_id, paused=True, note=note, precondition=can_pause, description=description
        )

    async def unpause(self, saved_query_id: UUID, note: str) -> bool:
        """Lift any pause. False if the schedule was not paused, or does not exist."""
        description = await self._describe(saved_query_id)
        if description is None or not description.schedule.state.paused:
            return False
        with ignore_not_found():
            await self._handle(saved_query_id).unpause(note=note, rpc_timeout=RPC_TIMEOUT)
            return True
        return False

    async def pause_for_failures(self, saved_query_id: UUID, why: str) -> bool:
        """Pause the schedule for its failures, unless it is paused already: no pause is ever overwritten.

        True if it is paused with exactly this reason now, also if an earlier call did so and lost its answer. False
        too if there is no schedule.
        """
        return await self._set_pause(
            saved_query_id, paused=True, note=FAILURE_PAUSE_NOTE + why, precondition=lambda state: not state.paused
        )

    async def unpause_after_failures(self, saved_query_id: UUID, note: str) -> bool:
        """Lift a pause that `pause_for_failures` made; an operator's pause stays.

        True if the schedule is active with exactly this note now, also if an earlier call did so and lost its answer.
        """
        return await self._set_pause(saved_query_id, paused=False, note=note, precondition=is_paused_by_policy)

    async def _set_pause(
        self,
        saved_query_id: UUID,
        *,
        paused: bool,
        note: str,
        precondition: Callable[[ScheduleState], bool],
        description: ScheduleDescription | None = None,
    ) -> bool:
        """Pause or unpause a schedule whose state fulfils `precondition`, unless another process changes it first."""
        for attempt in range(UPDATE_TRIES):
            if attempt:
                await backoff(attempt)
                description = None
            description = description or await self._describe(saved_query_id)
            if description is None:
                return False
            state = description.schedule.state
            if (state.paused, state.note) == (paused, note):
                return True
            if not precondition(state):
                return False
            changed = ScheduleProto()
            changed.CopyFrom(description.raw_description.schedule)
            changed.state.paused = paused
            changed.state.notes = note
            await self._replace(saved_query_id, description, changed)
        raise TemporalBusy(CONTENDED)

    async def _sync_pause(self, desired: DesiredSchedule) -> None:
        description = await self._describe(desired.saved_query_id)
        if description is None:
            return
        state, handle = description.schedule.state, self._handle(desired.saved_query_id)
        with ignore_not_found():
            if desired.never and (not state.paused or is_paused_by_policy(state)):
                await handle.pause(note=NEVER_NOTE, rpc_timeout=RPC_TIMEOUT)
            elif not desired.never and state.paused and state.note == NEVER_NOTE:
                await handle.unpause(note=schedule_note(desired), rpc_timeout=RPC_TIMEOUT)

    async def _update_spec(self, desired: DesiredSchedule) -> None:
        """Change times and labels of an existing schedule, and read back that they changed."""
        for attempt in range(UPDATE_TRIES):
            if attempt > 1:  # the first repetition only reads the result back
                await backoff(attempt)
            description = await self._describe(desired.saved_query_id)
            if description is None or times_and_labels_match(description, desired):
                return
            raw = description.raw_description
            changed = ScheduleProto()
            changed.CopyFrom(raw.schedule)
            changed.spec.CopyFrom(spec_message(desired))
            changed.policies.catchup_window.FromTimedelta(catchup_window(desired))
            changed.state.notes = raw.schedule.state.notes if raw.schedule.state.paused else schedule_note(desired)
            attributes = await self._update_action_labels(changed, desired)
            await self._replace(desired.saved_query_id, description, changed, attributes)
        raise TemporalBusy(CONTENDED)

    async def _update_action_labels(self, changed: ScheduleProto, desired: DesiredSchedule) -> SearchAttributes | None:
        """Give the ticks the view's current name.

        Returns the search attributes for the schedule itself, if it has any.
        """
        tick = changed.action.start_workflow
        tick.workflow_id = tick_id(desired)
        (summary,) = await self._client.data_converter.encode([tick_summary(desired)])
        tick.user_metadata.summary.CopyFrom(summary)
        tick.input.CopyFrom(Payloads(payloads=await self._client.data_converter.encode([tick_request(desired)])))
        if contract.VIEW_ATTRIBUTE not in tick.search_attributes.indexed_fields:
            return None
        encode_search_attributes(tick_attributes(view_ref(desired)), tick.search_attributes)
        own = SearchAttributes()
        encode_search_attributes(view_attributes(view_ref(desired)), own)
        return own

    async def _replace(
        self,
        saved_query_id: UUID,
        description: ScheduleDescription,
        changed: ScheduleProto,
        attributes: SearchAttributes | None = None,
    ) -> None:
        schedule_id, token = contract.schedule_id(saved_query_id), description.raw_description.conflict_token
        await replace_schedule(self._client, schedule_id, changed, token, attributes)

    def _handle(self, saved_query_id: UUID) -> ScheduleHandle:
        return self._client.get_schedule_handle(contract.schedule_id(saved_query_id))

    async def _describe(self, saved_query_id: UUID) -> ScheduleDescription | None:
        """The server's description. Concurrent callers share one call, which begins after each of them has called."""
        return await self._describing.call(saved_query_id, lambda: self._describe_until_answered(saved_query_id))

    async def _describe_until_answered(self, saved_query_id: UUID) -> ScheduleDescription | None:
        deadline = time.monotonic() + _BUSY_SECONDS
        for attempt in itertools.count():
            try:
                return await self._describe_once(saved_query_id)
            except TemporalBusy:
                if time.monotonic() > deadline:
                    raise
            await backoff(attempt)
        raise AssertionError

    async def _describe_once(self, saved_query_id: UUID) -> ScheduleDescription | None:
        try:
            with translate_rpc_errors():
                return await self._handle(saved_query_id).describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if is_not_found(error):
                return None
            raise
