"""An apply lifts the pause of a schedule by the same changes of a view as an edit of that view alone does."""

from pathlib import Path

import pytest

from orchestrator.temporal.schedule_state import FAILURE_PAUSE_NOTE
from tests.definitions.project import apply
from tests.support.operator import Flaky, Operator, a_flaky_view
from tests.support.tenants import Json, Tenant

RESUMED = ("sync_resumed", False)


@pytest.fixture
async def paused(tenant: Tenant, sources: Path, operator: Operator) -> Flaky:
    """A view whose schedule was paused because it failed."""
    flaky = await a_flaky_view(tenant, sources)
    await flaky.failed_before(4)
    await operator.tick(flaky.view_id)
    assert (await flaky.show())["paused_reason"].startswith(FAILURE_PAUSE_NOTE)
    return flaky


async def changed(flaky: Flaky, **fields: object) -> Json:
    """Apply the project's own definitions with other fields of its one view; returns the view after that."""
    flaky.fix()  # the API reads the files of a new source table before it plans
    body = await flaky.tenant.call("GET", "/definitions/")
    (view,) = body["views"]
    await apply(flaky.tenant, {"views": [view | fields], "refresh": False})
    flaky.break_()
    return await flaky.show()


@pytest.mark.parametrize(
    "fields",
    [
        {"sync_frequency": "6hour"},
        {"sync_frequency": None, "cron": "0 6 * * *"},
        {"query": {"query": "SELECT a + 1 AS a FROM v_input"}},
    ],
    ids=["frequency", "cron", "query"],
)
async def test_another_timing_or_query_lifts_the_pause_and_begins_another_failure_streak(
    fields: Json, paused: Flaky, operator: Operator
) -> None:
    shown = await changed(paused, **fields)
    assert (shown["schedule_paused"], shown["paused_reason"]) == (False, None)
    assert shown["next_run_at"] is not None
    assert (await paused.verbs())[RESUMED] == 1

    await paused.failed_before(3)
    await operator.tick(paused.view_id)
    assert not await paused.is_paused(), "the failures of before do not count"
    await operator.tick(paused.view_id)
    assert await paused.is_paused()


@pytest.mark.parametrize(
    "fields",
    [{"description": "of a"}, {"freshness": "upstream"}, {"sync_frequency": "never"}],
    ids=["description", "freshness", "never"],
)
async def test_a_change_of_neither_and_the_frequency_never_leave_the_schedule_paused(
    fields: Json, paused: Flaky
) -> None:
    assert (await changed(paused, **fields))["schedule_paused"]
    assert (await paused.verbs())[RESUMED] == 0


async def test_another_frequency_lifts_the_pause_of_an_operator_and_another_time_zone_does_not(
    tenant: Tenant, sources: Path, operator: Operator
) -> None:
    flaky = await a_flaky_view(tenant, sources)
    cron = {"sync_frequency": None, "cron": "0 6 * * *"}
    await changed(flaky, **cron)
    await operator.schedule(flaky.view_id).pause(note="maintenance")
    shown = await changed(flaky, **cron, time_zone="Europe/Berlin")
    assert (shown["time_zone"], shown["paused_reason"]) == ("Europe/Berlin", "maintenance")
    assert not (await changed(flaky, sync_frequency="6hour", cron=None, time_zone=None))["schedule_paused"]
    assert (await flaky.verbs())[RESUMED] == 1
