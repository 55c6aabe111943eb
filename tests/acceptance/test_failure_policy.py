"""The failure policy pauses a schedule whose runs fail repeatedly, and several actions lift that pause."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from orchestrator.temporal.schedule_spec import NEVER_NOTE
from orchestrator.temporal.schedule_state import FAILURE_PAUSE_NOTE
from tests.contract.support import VIEWS
from tests.support.operator import Flaky, Operator, a_flaky_view
from tests.support.tenants import Tenant

PAUSED = ("sync_paused", True)


@pytest.fixture
async def flaky(tenant: Tenant, sources: Path) -> Flaky:
    return await a_flaky_view(tenant, sources)


@pytest.fixture
async def paused(flaky: Flaky, operator: Operator) -> Flaky:
    """A view whose schedule was paused because it failed."""
    await flaky.failed_before(4)
    await operator.tick(flaky.view_id)
    assert (await flaky.show())["paused_reason"].startswith(FAILURE_PAUSE_NOTE)
    return flaky


async def test_the_fifth_scheduled_failure_in_a_row_pauses_the_schedule_and_says_why(
    flaky: Flaky, operator: Operator
) -> None:
    await operator.tick(flaky.view_id, 4)
    assert not await flaky.is_paused()
    await operator.tick(flaky.view_id)

    view, newest = await flaky.show(), (await flaky.tenant.history(flaky.view_id))[0]
    assert (view["schedule_paused"], view["next_run_at"]) == (True, None)
    reason = view["paused_reason"]
    assert reason.startswith(f"{FAILURE_PAUSE_NOTE}5 scheduled runs failed in a row.")
    assert newest["id"] in reason
    assert '"v_input"' in reason, "the last error"
    assert "resuming the schedule" in reason, "what lifts it"
    assert view["row_count"] == 1, "the last good result stays readable"
    assert (await flaky.verbs())[PAUSED] == 1

    await operator.tick(flaky.view_id)
    assert (await flaky.show())["paused_reason"] == reason, "a pause that is there is not made again"
    assert (await flaky.verbs())[PAUSED] == 1


async def test_failures_of_runs_by_hand_neither_count_nor_begin_the_count_anew(
    flaky: Flaky, operator: Operator
) -> None:
    for _ in range(5):
        assert (await flaky.run())["status"] == "Failed"
    await operator.tick(flaky.view_id, 3)
    assert (await flaky.run())["status"] == "Failed"
    await operator.tick(flaky.view_id)
    assert not await flaky.is_paused()
    await operator.tick(flaky.view_id)
    assert await flaky.is_paused()


async def test_a_success_begins_the_count_anew(flaky: Flaky, operator: Operator) -> None:
    await operator.tick(flaky.view_id, 4)
    flaky.fix()
    assert (await flaky.run())["status"] == "Completed"
    flaky.break_()
    await operator.tick(flaky.view_id, 4)
    assert not await flaky.is_paused()


async def by_a_success(flaky: Flaky) -> None:
    flaky.fix()
    assert (await flaky.run())["status"] == "Completed"
    flaky.break_()


async def by_an_edit(flaky: Flaky) -> None:
    change = {"query": {"query": "SELECT a + 1 AS a FROM v_input"}, "soft_update": True}
    await flaky.tenant.call("PATCH", f"{VIEWS}{flaky.view_id}/", change)


async def by_saving_again(flaky: Flaky) -> None:
    body = {"name": "v", "query": {"query": "SELECT a + 2 AS a FROM v_input"}, "soft_update": True}
    await flaky.tenant.call("POST", VIEWS, body)


async def by_resuming(flaky: Flaky) -> None:
    answer = await flaky.tenant.call("POST", f"{VIEWS}resume_schedules/", {"view_ids": [flaky.view_id]})
    assert answer["resumed"] == [flaky.view_id]


async def by_the_frequency(flaky: Flaky) -> None:
    await flaky.tenant.call("PATCH", f"{VIEWS}{flaky.view_id}/", {"sync_frequency": "24hour"})


@pytest.mark.parametrize("lift", [by_a_success, by_an_edit, by_saving_again, by_resuming, by_the_frequency])
async def test_the_pause_is_lifted_and_four_more_failures_do_not_bring_it_back(
    lift: Callable[[Flaky], Awaitable[None]], paused: Flaky, operator: Operator
) -> None:
    await lift(paused)
    view = await paused.show()
    assert (view["schedule_paused"], view["paused_reason"]) == (False, None)
    assert view["next_run_at"] is not None
    assert (await paused.verbs())["sync_resumed", lift is by_a_success] == 1

    await operator.tick(paused.view_id, 4)
    assert not await paused.is_paused()
    await operator.tick(paused.view_id)
    assert await paused.is_paused()
    assert (await paused.verbs())[PAUSED] == 2


async def test_what_changes_no_query_lifts_nothing(paused: Flaky) -> None:
    for change in ({"description": "why"}, {"query": {"query": "SELECT a FROM v_input"}}, {"name": "w"}):
        assert (await paused.tenant.call("PATCH", f"{VIEWS}{paused.view_id}/", change))["schedule_paused"]
    assert (await paused.run())["status"] == "Failed"
    assert (await paused.show())["paused_reason"].startswith(FAILURE_PAUSE_NOTE)


async def test_an_operators_own_pause_is_neither_overwritten_nor_lifted(flaky: Flaky, operator: Operator) -> None:
    await operator.schedule(flaky.view_id).pause(note="maintenance")
    await operator.tick(flaky.view_id, 5)
    assert (await flaky.show())["paused_reason"] == "maintenance"
    for lift in (by_an_edit, by_saving_again, by_a_success):
        await lift(flaky)
        assert (await flaky.show())["paused_reason"] == "maintenance"
    assert {verb for verb, _ in await flaky.verbs()} & {"sync_paused", "sync_resumed"} == set()


async def test_an_operator_who_takes_the_pause_over_keeps_it(paused: Flaky, operator: Operator) -> None:
    await operator.schedule(paused.view_id).pause(note="mine now")
    await by_a_success(paused)
    assert (await paused.show())["paused_reason"] == "mine now"


async def test_an_operators_unpause_holds_until_the_next_scheduled_failure(paused: Flaky, operator: Operator) -> None:
    await operator.schedule(paused.view_id).unpause(note="let us see")
    assert (await paused.run())["status"] == "Failed"
    assert not await paused.is_paused()
    await operator.tick(paused.view_id)
    assert (await paused.show())["paused_reason"].startswith(f"{FAILURE_PAUSE_NOTE}6 scheduled runs failed in a row.")


async def test_a_view_set_to_never_meanwhile_stays_paused_when_it_works_again(paused: Flaky) -> None:
    await paused.tenant.call("PATCH", f"{VIEWS}{paused.view_id}/", {"sync_frequency": "never"})
    assert (await paused.show())["paused_reason"] == NEVER_NOTE
    await by_a_success(paused)
    assert (await paused.show())["paused_reason"] == NEVER_NOTE


async def test_a_view_that_is_materialized_anew_begins_without_a_past(paused: Flaky, operator: Operator) -> None:
    await paused.tenant.act(paused.view_id, "revert_materialization")
    await paused.tenant.act(paused.view_id, "materialize")
    await paused.tenant.ended(paused.view_id)
    await operator.tick(paused.view_id, 4)
    assert not await paused.is_paused()


async def test_views_that_fail_at_the_same_time_are_counted_apart(
    tenant: Tenant, sources: Path, operator: Operator
) -> None:
    one, other = await a_flaky_view(tenant, sources, "one"), await a_flaky_view(tenant, sources, "other")
    await asyncio.gather(operator.tick(one.view_id, 5), operator.tick(other.view_id, 3))
    assert await one.is_paused()
    assert not await other.is_paused()
