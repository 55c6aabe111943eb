"""Calls to a schedule that is deleted at the same moment find no schedule, or raise TemporalUnavailable."""

import asyncio
from uuid import uuid4

from orchestrator.devstack.stack import DevStack
from orchestrator.model.errors import TemporalUnavailable
from orchestrator.model.saved_query import SyncFrequency
from orchestrator.model.schedule import DesiredSchedule
from orchestrator.temporal.client import connect
from orchestrator.temporal.schedules import Schedules

ROUNDS = 12


async def test_whatever_is_done_to_a_schedule_while_it_is_deleted_is_no_unforeseen_error(stack: DevStack) -> None:
    schedules = Schedules(await connect(stack.info["temporal_address"], stack.info["temporal_namespace"]))
    for number in range(ROUNDS):
        view = uuid4()
        desired = DesiredSchedule(saved_query_id=view, project_id=1, name="v", frequency=SyncFrequency.HOUR_1)
        await schedules.ensure(desired)
        await schedules.pause(view, "a pause")
        ends = await asyncio.gather(
            schedules.delete(view),
            schedules.unpause(view, "no more"),
            schedules.pause(view, f"again {number}"),
            schedules.ensure(desired.model_copy(update={"frequency": SyncFrequency.HOUR_6})),
            schedules.find(view),
            schedules.running_ticks(view),
            return_exceptions=True,
        )
        # The server sometimes does not answer a call to a schedule that is being deleted.
        assert [end for end in ends if isinstance(end, Exception) and not isinstance(end, TemporalUnavailable)] == []
