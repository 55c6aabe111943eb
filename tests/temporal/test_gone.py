"""A schedule that somebody deletes at the same moment is one that is not there."""

import asyncio
from datetime import timedelta
from uuid import uuid4

from orchestrator.devstack.stack import DevStack
from orchestrator.temporal.client import connect
from orchestrator.temporal.schedules import Schedules
from orchestrator.temporal.wanted import WantedSchedule

ROUNDS = 12


async def test_whatever_is_done_to_a_schedule_while_it_is_deleted_fails_for_nobody(stack: DevStack) -> None:
    schedules = Schedules(await connect(stack.info["temporal_address"], stack.info["temporal_namespace"]))
    for number in range(ROUNDS):
        view = uuid4()
        wanted = WantedSchedule(saved_query_id=view, project_id=1, name="v", interval=timedelta(hours=1))
        await schedules.ensure(wanted)
        await schedules.pause(view, "a pause")
        await asyncio.gather(
            schedules.delete(view),
            schedules.unpause(view, "no more"),
            schedules.pause(view, f"again {number}"),
            schedules.ensure(wanted.model_copy(update={"interval": timedelta(hours=2)})),
            schedules.find(view),
            schedules.ticks(view),
        )
        await schedules.delete(view)
        assert await schedules.find(view) is None
