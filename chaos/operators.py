"""The acts of operators in Temporal, past the API: the reconciler has to correct them, or to leave them alone."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from random import Random
from uuid import UUID

from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WorkflowHandle,
)
from temporalio.service import RPCError, RPCStatusCode

from chaos.catalog import Unavailable
from chaos.harness import Harness
from chaos.history import View
from orchestrator.model.run import RunRequest, Trigger

_SOON = timedelta(seconds=5)


async def terminate_run(chaos: Harness, view: View, _: Random) -> str:
    """Terminate a view's workflow."""
    return await _outcome(_run(chaos, view).terminate("chaos", rpc_timeout=_SOON))


async def cancel_run(chaos: Harness, view: View, _: Random) -> str:
    """Cancel a view's workflow."""
    return await _outcome(_run(chaos, view).cancel(rpc_timeout=_SOON))


async def pause(chaos: Harness, view: View, random: Random) -> str:
    """Pause a schedule. It then has to stay paused until another operation lifts the pause.

    That is not expected of a view that is not materialized: the reconciler deletes its schedule and the pause with it.
    """
    note = f"an operator's pause {random.random()}"
    operation_count = view.operation_count
    outcome = await _outcome(_schedule(chaos, view).pause(note=note, rpc_timeout=_SOON))
    with suppress(Unavailable):
        select = "SELECT id FROM saved_queries WHERE id = %s AND deleted_at IS NULL AND sync_frequency IS NOT NULL"
        wanted = await chaos.catalog.rows(select, view.id)
        if outcome == "ok" and wanted and view.operation_count == operation_count and view.in_flight == 1:
            view.pause = note
    return outcome


async def unpause(chaos: Harness, view: View, _: Random) -> str:
    """Unpause a schedule."""
    return await _outcome(_schedule(chaos, view).unpause(note="by an operator", rpc_timeout=_SOON))


async def trigger(chaos: Harness, view: View, _: Random) -> str:
    """Trigger a schedule, which starts a run now."""
    return await _outcome(_schedule(chaos, view).trigger(rpc_timeout=_SOON))


async def delete_schedule(chaos: Harness, view: View, _: Random) -> str:
    """Delete a view's schedule."""
    return await _outcome(_schedule(chaos, view).delete(rpc_timeout=_SOON))


async def create_schedule(chaos: Harness, view: View, _: Random) -> str:
    """Create a schedule for a view that may not be materialized, with an interval that no view has."""
    with suppress(ScheduleAlreadyRunningError):
        name = f"materialize/{view.id}"
        return await _outcome(chaos.temporal.create_schedule(name, _unwanted(view), rpc_timeout=_SOON))
    return "exists"


async def change_schedule(chaos: Harness, view: View, _: Random) -> str:
    """Change the interval of a view's schedule."""

    def change(seen: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = seen.description.schedule
        schedule.spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=5))])
        return ScheduleUpdate(schedule=schedule)

    return await _outcome(_schedule(chaos, view).update(change, rpc_timeout=_SOON))


async def pause_lost(chaos: Harness, view: View) -> str | None:
    """Describe how an operator's pause that had to last was changed; None if it was not. Raises Unavailable."""
    wanted, operation_count = view.pause, view.operation_count
    if wanted is None:
        return None
    try:
        state = (await _schedule(chaos, view).describe(rpc_timeout=_SOON)).schedule.state
    except RPCError as error:
        raise Unavailable from error
    if view.operation_count != operation_count or view.pause != wanted or (state.paused, state.note) == (True, wanted):
        return None
    return f"the operator's pause {wanted!r} became {state.paused} {state.note!r}"


def _unwanted(view: View) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            "ScheduledTick",
            RunRequest(saved_query_id=UUID(view.id), trigger=Trigger.SCHEDULE),
            id=f"tick/{view.id}",
            task_queue="matview",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=5))]),
    )


def _run(chaos: Harness, view: View) -> WorkflowHandle[object, object]:
    return chaos.temporal.get_workflow_handle(f"materialize/{view.id}")


def _schedule(chaos: Harness, view: View) -> ScheduleHandle:
    return chaos.temporal.get_schedule_handle(f"materialize/{view.id}")


async def _outcome(call: Awaitable[object]) -> str:
    try:
        await call
    except RPCError as error:
        return "nothing there" if error.status is RPCStatusCode.NOT_FOUND else "temporal away"
    return "ok"


OPERATOR_ACTS: dict[str, tuple[Callable[[Harness, View, Random], Awaitable[str]], int]] = {
    "operator terminates run": (terminate_run, 3),
    "operator cancels run": (cancel_run, 3),
    "operator pauses schedule": (pause, 4),
    "operator unpauses schedule": (unpause, 2),
    "operator triggers schedule": (trigger, 4),
    "operator deletes schedule": (delete_schedule, 2),
    "operator creates schedule": (create_schedule, 2),
    "operator changes schedule": (change_schedule, 2),
}
