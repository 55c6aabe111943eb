"""The failure policy as a worker calls it; the worker may have to call it again after a lost answer."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from orchestrator.catalog import failure_streaks, runs
from orchestrator.catalog.database import Database
from orchestrator.catalog.failure_streaks import RunContext
from orchestrator.devstack.stack import DevStack
from orchestrator.model.errors import TemporalUnavailable
from orchestrator.model.generation import EndedRun
from orchestrator.model.run import RunRequest, RunStatus, Trigger
from orchestrator.model.webhook_event import WebhookEventType
from orchestrator.reconciliation.failure_policy import FailurePolicy
from orchestrator.temporal.client import connect
from orchestrator.temporal.schedules import Schedules
from tests.support.operator import Flaky, Operator, a_flaky_view
from tests.support.tenants import Tenant


@dataclass(frozen=True)
class Worker:
    """A policy, and the catalog that it is applied to."""

    policy: FailurePolicy

    async def standing(self, run_id: str) -> RunContext:
        async with self.policy.database.begin() as tx:
            return await failure_streaks.load_run_context(tx, UUID(run_id))

    async def fail(self, view_id: str) -> RunContext:
        """Record a scheduled run as failed, as if its worker had died before it applied the policy."""
        request = RunRequest(saved_query_id=UUID(view_id), trigger=Trigger.SCHEDULE)
        async with self.policy.database.begin() as tx:
            run = await runs.ensure_run(tx, request, "died", uuid4())
            end = EndedRun(run_id=run.id, status=RunStatus.FAILED, error="no more", error_code="query_failed")
            await runs.close(tx, [end])
        return await self.standing(str(run.id))

    async def apply(self, run_id: str) -> list[WebhookEventType]:
        return [notice.type for notice in await self.policy.on_run_finished(await self.standing(run_id))]


@pytest.fixture
async def worker(stack: DevStack) -> AsyncIterator[Worker]:
    """A worker that has a webhook. The stack's own worker has none, and has applied the policy before."""
    client = await connect(stack.info["temporal_address"], stack.info["temporal_namespace"])
    database = Database(stack.info["database_url"], pool_size=1)
    yield Worker(FailurePolicy(database, Schedules(client), notifies=True))
    await database.close()


@pytest.fixture
async def flaky(tenant: Tenant, sources: Path) -> Flaky:
    return await a_flaky_view(tenant, sources)


async def test_a_pause_that_is_asked_for_again_is_recorded_once_and_answered_the_same(
    flaky: Flaky, operator: Operator, worker: Worker
) -> None:
    await operator.tick(flaky.view_id, 6)
    sixth, fifth, *_, first, _completed = [run["id"] for run in await flaky.tenant.history(flaky.view_id)]
    assert await worker.apply(fifth) == [WebhookEventType.SCHEDULE_PAUSED]
    assert await worker.apply(fifth) == [WebhookEventType.SCHEDULE_PAUSED]
    assert await worker.apply(sixth) == [], "the pause is not its own"
    assert await worker.apply(first) == [WebhookEventType.RUN_FAILED]
    assert (await flaky.verbs())["sync_paused", True] == 1


async def test_a_pause_that_was_made_and_not_noted_is_noted_by_the_next_try(flaky: Flaky, worker: Worker) -> None:
    await flaky.failed_before(4)
    fifth = await worker.fail(flaky.view_id)
    away = Schedules(await connect("127.0.0.1:9", None, lazy=True))
    with pytest.raises(TemporalUnavailable):
        await replace(worker.policy, schedules=away).on_run_finished(fifth)
    assert (await flaky.verbs())["sync_paused", True] == 0
    notices = await worker.policy.on_run_finished(fifth)
    assert [notice.type for notice in notices] == [WebhookEventType.SCHEDULE_PAUSED]
    assert await flaky.is_paused()
    assert (await flaky.verbs())["sync_paused", True] == 1


async def test_a_pause_that_meets_an_edit_of_the_query_is_lifted_at_once(flaky: Flaky, worker: Worker) -> None:
    await flaky.failed_before(4)
    fifth = await worker.fail(flaky.view_id)
    change = {"query": {"query": "SELECT 1 AS n"}, "soft_update": True}
    await flaky.tenant.call("PATCH", f"/warehouse_saved_queries/{flaky.view_id}/", change)
    assert await worker.policy.on_run_finished(fifth) == ()
    assert not await flaky.is_paused()


async def test_a_repeated_lift_is_recorded_once(flaky: Flaky, operator: Operator, worker: Worker) -> None:
    await flaky.failed_before(4)
    await operator.tick(flaky.view_id)
    flaky.fix()
    completed = await flaky.run()
    assert not await flaky.is_paused()
    for _ in range(2):
        assert await worker.apply(completed["id"]) == [WebhookEventType.RUN_RECOVERED]
    assert (await flaky.verbs())["sync_resumed", True] == 1


async def test_how_a_run_stood_is_the_same_whenever_it_is_asked(
    flaky: Flaky, operator: Operator, worker: Worker
) -> None:
    await operator.tick(flaky.view_id, 2)
    second = (await flaky.tenant.history(flaky.view_id))[0]["id"]
    at_once = await worker.standing(second)
    assert (at_once.failures_since_reset, at_once.failures_since_success, at_once.previous_status) == (
        2,
        2,
        RunStatus.FAILED,
    )
    await flaky.run()
    await operator.tick(flaky.view_id)
    flaky.fix()
    await flaky.run()
    assert await worker.standing(second) == at_once


async def test_nothing_is_sent_about_a_view_that_is_not_materialized_any_more(flaky: Flaky, worker: Worker) -> None:
    failed = await flaky.run()
    assert await worker.apply(failed["id"]) == [WebhookEventType.RUN_FAILED]
    await flaky.tenant.act(flaky.view_id, "revert_materialization")
    assert await worker.apply(failed["id"]) == []
