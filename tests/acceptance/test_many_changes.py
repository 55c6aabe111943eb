"""Many changes of one view at the same moment: they queue, and a busy Temporal is not reported as unreachable."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from orchestrator.devstack.stack import DevStack
from orchestrator.model.saved_query import SyncFrequency
from orchestrator.model.schedule import DesiredSchedule
from orchestrator.temporal.client import connect
from orchestrator.temporal.schedules import Schedules
from tests.contract.support import schedule_of, temporal_of
from tests.contract.test_rules_unreachable import an_api, asking
from tests.support.tenants import Json, Tenant

VIEWS = "/warehouse_saved_queries/"
FREQUENCIES = [SyncFrequency(each) for each in ("1hour", "6hour", "never", "24hour", "7day")]
MANY = 100


async def change(tenant: Tenant, view: Json, number: int) -> httpx.Response:
    """Make one change of a view's state; `number` chooses its kind in turn."""
    path = f"{VIEWS}{view['id']}/"
    match number % 5:
        case 0 | 1:
            frequency = FREQUENCIES[number // 5 % len(FREQUENCIES)]
            return await tenant.http.patch(path, json={"sync_frequency": frequency})
        case 2:
            return await tenant.http.post(f"{path}materialize/")
        case 3:
            return await tenant.http.post(f"{VIEWS}resume_schedules/", json={"view_ids": [view["id"]]})
        case _:
            return await tenant.http.post(f"{path}run/")


@pytest.mark.timeout(300)
async def test_a_hundred_changes_of_one_view_at_once_all_succeed(stack: DevStack, tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n", "30day")
    answers = await asyncio.gather(*(change(tenant, view, number) for number in range(MANY)))
    assert {answer.status_code for answer in answers} == {200}, {answer.text for answer in answers if answer.is_error}
    await agrees(stack, tenant, view)


@pytest.mark.timeout(300)
async def test_changes_through_several_processes_succeed_or_say_that_there_is_too_much_to_do(
    stack: DevStack, tenant: Tenant, tmp_path: Path
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n", "30day")
    async with an_api(stack, tmp_path) as url, asking(tenant, url) as other:
        both = (tenant, other)
        answers = await asyncio.gather(*(change(both[number // 5 % 2], view, number) for number in range(MANY)))
        refused = [answer for answer in answers if answer.is_error]
        for answer in refused:
            assert (answer.status_code, answer.json()["code"]) == (503, "temporal_busy"), answer.text
            assert int(answer.headers["retry-after"]) > 0
        assert len(refused) < MANY / 4
        assert (await tenant.http.post(f"{VIEWS}{view['id']}/materialize/")).status_code == 200
    await agrees(stack, tenant, view)


async def test_a_hundred_looks_of_as_many_processes_at_one_schedule_are_all_answered(stack: DevStack) -> None:
    """The Temporal server answers one request at a time and lets one more wait; it refuses the others."""
    temporal = await connect(stack.info["temporal_address"], stack.info["temporal_namespace"])
    desired = DesiredSchedule(saved_query_id=uuid4(), project_id=0, name="v", frequency=SyncFrequency.DAY_30)
    await Schedules(temporal).ensure(desired)
    try:
        looks = await asyncio.gather(*(Schedules(temporal).find(desired.saved_query_id) for _ in range(MANY)))
        assert {look.times.intervals for look in looks if look is not None} == {(timedelta(days=30),)}
        assert None not in looks
    finally:
        await Schedules(temporal).delete(desired.saved_query_id)


async def agrees(stack: DevStack, tenant: Tenant, view: Json) -> None:
    """Assert that the schedule has the frequency that the view shows, regardless of which change was last."""
    shown = await tenant.view(view["id"])
    described = await schedule_of(await temporal_of(stack), view["id"])
    assert described is not None
    frequency = SyncFrequency(shown["sync_frequency"])
    assert described.schedule.state.paused == (frequency is SyncFrequency.NEVER)
    if frequency is not SyncFrequency.NEVER:
        assert [each.every for each in described.schedule.spec.intervals] == [frequency.interval]
