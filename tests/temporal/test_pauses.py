"""Who may pause and unpause a schedule, and that a repeated call has the effect of one."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client

from orchestrator.model.saved_query import SyncFrequency
from orchestrator.model.schedule import DesiredSchedule
from orchestrator.temporal import contract
from orchestrator.temporal.schedule_spec import NEVER_NOTE
from orchestrator.temporal.schedule_state import FAILURE_PAUSE_NOTE
from orchestrator.temporal.schedules import Schedules

WHY = "it failed."
ROUNDS = 10


@pytest.fixture
async def desired(temporal: Client) -> AsyncIterator[DesiredSchedule]:
    """A schedule that is there and runs."""
    desired = DesiredSchedule(saved_query_id=uuid4(), project_id=0, name="v", frequency=SyncFrequency.DAY_30)
    await Schedules(temporal).ensure(desired)
    yield desired
    await Schedules(temporal).delete(desired.saved_query_id)


async def test_a_pause_for_failures_that_is_asked_for_again_is_known_as_its_own_and_not_made_again(
    temporal: Client, desired: DesiredSchedule
) -> None:
    schedules = Schedules(temporal)
    assert await schedules.pause_for_failures(desired.saved_query_id, WHY)
    assert await schedules.pause_for_failures(desired.saved_query_id, WHY)
    assert not await schedules.pause_for_failures(desired.saved_query_id, "it failed for another reason.")
    assert await reason(schedules, desired) == FAILURE_PAUSE_NOTE + WHY
    await schedules.ensure(desired.model_copy(update={"frequency": SyncFrequency.HOUR_1, "name": "w"}))
    info = await schedules.find(desired.saved_query_id)
    assert info is not None
    assert (info.paused_reason, info.times.intervals) == (FAILURE_PAUSE_NOTE + WHY, (timedelta(hours=1),)), (
        "aligning keeps it"
    )


async def test_a_lift_that_is_asked_for_again_is_known_as_its_own_and_lifts_nothing_else(
    temporal: Client, desired: DesiredSchedule
) -> None:
    schedules = Schedules(temporal)
    assert not await schedules.unpause_after_failures(desired.saved_query_id, "there is nothing to lift")
    await schedules.pause_for_failures(desired.saved_query_id, WHY)
    assert await schedules.unpause_after_failures(desired.saved_query_id, "run 1 completed")
    assert await schedules.unpause_after_failures(desired.saved_query_id, "run 1 completed")
    assert not await schedules.unpause_after_failures(desired.saved_query_id, "run 2 completed")
    assert await reason(schedules, desired) is None


async def test_a_pause_of_somebody_else_is_neither_overwritten_nor_lifted(
    temporal: Client, desired: DesiredSchedule
) -> None:
    schedules = Schedules(temporal)
    handle = temporal.get_schedule_handle(contract.schedule_id(desired.saved_query_id))
    await handle.pause(note="an operator's own pause")
    assert not await schedules.pause_for_failures(desired.saved_query_id, WHY)
    assert not await schedules.unpause_after_failures(desired.saved_query_id, "run 1 completed")
    assert await reason(schedules, desired) == "an operator's own pause"


async def test_an_operator_who_pauses_at_the_same_moment_wins(temporal: Client, desired: DesiredSchedule) -> None:
    schedules, saved_query_id = Schedules(temporal), desired.saved_query_id
    handle = temporal.get_schedule_handle(contract.schedule_id(saved_query_id))
    for _ in range(ROUNDS):
        await asyncio.gather(handle.pause(note="an operator"), schedules.pause_for_failures(saved_query_id, WHY))
        assert await reason(schedules, desired) == "an operator"
        await handle.unpause()
        assert await schedules.pause_for_failures(saved_query_id, WHY)
        await asyncio.gather(
            handle.pause(note="an operator"), schedules.unpause_after_failures(saved_query_id, "it works")
        )
        assert await reason(schedules, desired) == "an operator"
        await handle.unpause()


async def reason(schedules: Schedules, desired: DesiredSchedule) -> str | None:
    info = await schedules.find(desired.saved_query_id)
    assert info is not None
    return info.paused_reason


async def test_a_person_who_pauses_takes_over_the_pause_of_the_failure_policy(
    temporal: Client, desired: DesiredSchedule
) -> None:
    schedules = Schedules(temporal)
    await schedules.pause_for_failures(desired.saved_query_id, WHY)
    assert await schedules.pause(desired.saved_query_id, "Paused by a person.")
    assert not await schedules.unpause_after_failures(desired.saved_query_id, "run 1 completed")


async def test_never_is_not_kept_by_a_pause_that_a_success_would_lift(
    temporal: Client, desired: DesiredSchedule
) -> None:
    schedules, daily = Schedules(temporal), desired.model_copy(update={"frequency": SyncFrequency.HOUR_24})
    never = desired.model_copy(update={"frequency": SyncFrequency.NEVER})  # of the same interval
    await schedules.ensure(daily)
    await schedules.pause_for_failures(desired.saved_query_id, WHY)
    assert await schedules.find_drift(daily, None) is None
    assert await schedules.find_drift(never, None)
    await schedules.ensure(never)
    assert await schedules.find_drift(never, None) is None
    assert await reason(schedules, desired) == NEVER_NOTE


async def test_a_schedule_that_is_not_there_is_neither_paused_nor_lifted(temporal: Client) -> None:
    assert not await Schedules(temporal).pause_for_failures(uuid4(), WHY)
    assert not await Schedules(temporal).unpause_after_failures(uuid4(), "run 1 completed")
