"""Who may pause and unpause a schedule, and that telling it twice is telling it once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client

from orchestrator.devstack.stack import DevStack
from orchestrator.temporal import contract
from orchestrator.temporal.client import connect
from orchestrator.temporal.schedules import FAILING_NOTE, Schedules
from orchestrator.temporal.wanted import NEVER_NOTE, WantedSchedule

WHY = "it failed."
ROUNDS = 10


@pytest.fixture
async def temporal(stack: DevStack) -> Client:
    return await connect(stack.info["temporal_address"], stack.info["temporal_namespace"])


@pytest.fixture
async def wanted(temporal: Client) -> AsyncIterator[WantedSchedule]:
    """A schedule that is there and runs."""
    wanted = WantedSchedule(saved_query_id=uuid4(), project_id=0, name="v", interval=timedelta(days=30))
    await Schedules(temporal).ensure(wanted)
    yield wanted
    await Schedules(temporal).delete(wanted.saved_query_id)


async def test_a_pause_for_failures_that_is_told_again_was_ours_and_is_not_made_again(
    temporal: Client, wanted: WantedSchedule
) -> None:
    schedules = Schedules(temporal)
    assert await schedules.pause_failing(wanted.saved_query_id, WHY)
    assert await schedules.pause_failing(wanted.saved_query_id, WHY)
    assert not await schedules.pause_failing(wanted.saved_query_id, "it failed for another reason.")
    assert await reason(schedules, wanted) == FAILING_NOTE + WHY
    await schedules.ensure(wanted.model_copy(update={"interval": timedelta(hours=1), "name": "w"}))
    info = await schedules.find(wanted.saved_query_id)
    assert info is not None
    assert (info.paused_reason, info.interval) == (FAILING_NOTE + WHY, timedelta(hours=1)), "aligning keeps it"


async def test_a_lift_that_is_told_again_was_ours_and_lifts_nothing_else(
    temporal: Client, wanted: WantedSchedule
) -> None:
    schedules = Schedules(temporal)
    assert not await schedules.lift_failing(wanted.saved_query_id, "there is nothing to lift")
    await schedules.pause_failing(wanted.saved_query_id, WHY)
    assert await schedules.lift_failing(wanted.saved_query_id, "run 1 completed")
    assert await schedules.lift_failing(wanted.saved_query_id, "run 1 completed")
    assert not await schedules.lift_failing(wanted.saved_query_id, "run 2 completed")
    assert await reason(schedules, wanted) is None


async def test_a_pause_of_somebody_else_is_neither_overwritten_nor_lifted(
    temporal: Client, wanted: WantedSchedule
) -> None:
    schedules = Schedules(temporal)
    handle = temporal.get_schedule_handle(contract.schedule_id(wanted.saved_query_id))
    await handle.pause(note="an operator's own pause")
    assert not await schedules.pause_failing(wanted.saved_query_id, WHY)
    assert not await schedules.lift_failing(wanted.saved_query_id, "run 1 completed")
    assert await reason(schedules, wanted) == "an operator's own pause"


async def test_an_operator_who_pauses_at_the_same_moment_wins(temporal: Client, wanted: WantedSchedule) -> None:
    schedules, saved_query_id = Schedules(temporal), wanted.saved_query_id
    handle = temporal.get_schedule_handle(contract.schedule_id(saved_query_id))
    for _ in range(ROUNDS):
        await asyncio.gather(handle.pause(note="an operator"), schedules.pause_failing(saved_query_id, WHY))
        assert await reason(schedules, wanted) == "an operator"
        await handle.unpause()
        assert await schedules.pause_failing(saved_query_id, WHY)
        await asyncio.gather(handle.pause(note="an operator"), schedules.lift_failing(saved_query_id, "it works"))
        assert await reason(schedules, wanted) == "an operator"
        await handle.unpause()


async def reason(schedules: Schedules, wanted: WantedSchedule) -> str | None:
    info = await schedules.find(wanted.saved_query_id)
    assert info is not None
    return info.paused_reason


async def test_a_person_who_pauses_takes_over_the_pause_of_the_failure_policy(
    temporal: Client, wanted: WantedSchedule
) -> None:
    schedules = Schedules(temporal)
    await schedules.pause_failing(wanted.saved_query_id, WHY)
    assert await schedules.pause(wanted.saved_query_id, "Paused by a person.")
    assert not await schedules.lift_failing(wanted.saved_query_id, "run 1 completed")


async def test_never_is_not_kept_by_a_pause_that_a_success_would_lift(temporal: Client, wanted: WantedSchedule) -> None:
    schedules, never = Schedules(temporal), wanted.model_copy(update={"never": True})
    await schedules.pause_failing(wanted.saved_query_id, WHY)
    assert await schedules.problem(wanted, None) is None
    assert await schedules.problem(never, None)
    await schedules.ensure(never)
    assert await schedules.problem(never, None) is None
    assert await reason(schedules, wanted) == NEVER_NOTE


async def test_a_schedule_that_is_not_there_is_neither_paused_nor_lifted(temporal: Client) -> None:
    assert not await Schedules(temporal).pause_failing(uuid4(), WHY)
    assert not await Schedules(temporal).lift_failing(uuid4(), "run 1 completed")
