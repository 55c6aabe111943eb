"""The webhook receives each event once, and a run never waits for the delivery."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.service import RPCError

from orchestrator.devstack.stack import DevStack
from orchestrator.temporal import contract
from tests.checks.test_gate import Orders, add
from tests.contract.support import temporal_of
from tests.support.operator import Flaky, Operator, a_flaky_view
from tests.support.tenants import ENDLESS, Json, Tenant, a_tenant, dev_stack, until
from tests.support.webhook_receiver import SECRET, Receiver


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.open()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
async def notifying(session_folder: Path, sources: Path, receiver: Receiver) -> AsyncIterator[DevStack]:
    """A stack that has a webhook, and runs one query at a time."""
    async with AsyncExitStack() as exits:
        with pytest.MonkeyPatch.context() as patch:  # only while this stack starts: other stacks have no webhook
            patch.setenv("MATVIEW_WEBHOOK_URL", receiver.url)
            patch.setenv("MATVIEW_WEBHOOK_SECRET", SECRET)
            patch.setenv("MATVIEW_MAX_CONCURRENT_QUERIES", "1")
            stack = await exits.enter_async_context(dev_stack(session_folder / "notifying", sources))
        yield stack


@pytest.fixture
async def flaky(notifying: DevStack, sources: Path) -> AsyncIterator[Flaky]:
    async with a_tenant(notifying) as tenant:
        yield await a_flaky_view(tenant, sources)


@pytest.fixture
async def operator(notifying: DevStack) -> Operator:
    return Operator(await temporal_of(notifying))


async def taken(receiver: Receiver, view_id: str, count: int) -> list[str]:
    """The types of the events that the receiver accepted, once there are `count` of them."""

    async def ask() -> list[str] | None:
        found = receiver.taken(view_id)
        return found if len(found) >= count else None

    return await until(ask, f"{count} notice(s)")


async def test_the_first_failure_and_the_recovery_are_sent_once_each_and_signed(
    flaky: Flaky, receiver: Receiver
) -> None:
    failed = [await flaky.run(), await flaky.run()][0]
    flaky.fix()
    completed = [await flaky.run(), await flaky.run()][0]
    flaky.break_()
    await flaky.run()

    assert await taken(receiver, flaky.view_id, 3) == ["run.failed", "run.recovered", "run.failed"]
    first, second, third = receiver.about(flaky.view_id)
    assert all(one.is_signed for one in (first, second, third))
    assert len({one.headers["webhook-id"] for one in (first, second, third)}) == 3
    assert all("." not in one.headers["webhook-id"] for one in (first, second, third))
    assert first.headers["content-type"] == "application/json"
    assert first.json == {
        "type": "run.failed",
        "timestamp": first.json["timestamp"],
        "data": {
            "project_id": flaky.tenant.project_id,
            "view_id": flaky.view_id,
            "view_name": "v",
            "run_id": failed["id"],
            "status": "Failed",
            "trigger": "api",
            "workflow_id": f"materialize/{flaky.view_id}",
            "error": failed["error"],
            "error_code": "input_missing",
            "consecutive_failures": None,
            "check": None,
        },
    }
    assert datetime.fromisoformat(first.json["timestamp"]) == datetime.fromisoformat(failed["finished_at"])
    assert (second.json["data"]["run_id"], second.json["data"]["status"]) == (completed["id"], "Completed")
    assert (second.json["data"]["error"], second.json["data"]["error_code"]) == (None, None)


async def test_a_check_that_fails_and_passes_again_is_sent_once_each(
    notifying: DevStack, sources: Path, receiver: Receiver
) -> None:
    async with a_tenant(notifying) as tenant:
        orders = Orders(tenant, sources)
        view = await orders.make("1,a")
        warned = await add(tenant, view, "unique", column_name="id", severity="warn", name="order_ids")
        blocking = await add(tenant, view, "not_null", column_name="kind")
        contents = (["1,a"], ["1,a", "1,b"], ["2,a", "2,b"], ["3,", "4,"], ["5,a"])
        for number, rows in enumerate(contents, start=1):
            orders.write(*rows)
            await tenant.act(view["id"], "run")
            await tenant.ended(view["id"], number)
        expected = ["check.failed", "check.recovered", "check.failed", "run.failed", "check.recovered", "run.recovered"]
        assert sorted(await taken(receiver, view["id"], 6)) == sorted(expected)
        events = [one.json["data"] | {"type": one.json["type"]} for one in receiver.about(view["id"])]
        found = [(one["check"]["id"], one["type"], one["check"]["failing_rows"]) for one in events if one["check"]]
        assert [one for one in found if one[0] == warned["id"]] == [
            (warned["id"], "check.failed", 1),
            (warned["id"], "check.recovered", 0),
        ]
        assert [one for one in found if one[0] == blocking["id"]] == [
            (blocking["id"], "check.failed", 2),
            (blocking["id"], "check.recovered", 0),
        ]
        (first, *_) = [one for one in events if one["check"]]
        assert (first["view_name"], first["status"], first["error"]) == ("orders", "Completed", None)
        assert first["check"] == {
            "id": warned["id"],
            "label": "order_ids",
            "severity": "warn",
            "status": "failed",
            "failing_rows": 1,
        }


async def test_a_run_that_was_lost_sends_one_notice_whichever_process_notices(
    notifying: DevStack, receiver: Receiver, operator: Operator
) -> None:
    """The deleted workflow can send nothing: the API closes the run, and a worker's reconciler sends the event."""
    async with a_tenant(notifying) as tenant:
        view = await tenant.create_view("v", ENDLESS)
        await tenant.act(view["id"], "materialize")
        run = await tenant.running(view["id"])
        execution = WorkflowExecution(workflow_id=run["workflow_id"], run_id=run["workflow_run_id"])
        request = DeleteWorkflowExecutionRequest(namespace="default", workflow_execution=execution)
        await operator.temporal.workflow_service.delete_workflow_execution(request)
        lost = await tenant.ended(view["id"])
        assert (lost["status"], "lost" in lost["error"]) == ("Failed", True)
        for _ in range(2):
            await operator.temporal.get_schedule_handle(contract.RECONCILE_ID).trigger()
            assert await taken(receiver, view["id"], 1) == ["run.failed"]
        (notice,) = receiver.about(view["id"])
        assert notice.is_signed
        assert notice.json["data"]["run_id"] == run["id"]
        assert notice.json["data"]["error_code"] == "run_lost"


async def test_no_notice_holds_what_a_terminal_would_obey(notifying: DevStack, receiver: Receiver) -> None:
    async with a_tenant(notifying) as tenant:
        view = await tenant.materialized("v", "SELECT error(chr(27) || '[2J' || chr(8238) || chr(10) || 'end') AS n")
        assert await taken(receiver, view["id"], 1) == ["run.failed"]
        (notice,) = receiver.about(view["id"])
        assert "\\x1b[2J\\u202e\nend" in notice.json["data"]["error"]


async def test_a_view_that_never_worked_is_sent_once_and_a_first_success_is_no_recovery(
    notifying: DevStack, receiver: Receiver
) -> None:
    async with a_tenant(notifying) as tenant:
        view = await tenant.materialized("v", "SELECT error('always') AS n")
        assert await taken(receiver, view["id"], 1) == ["run.failed"]
        good = await tenant.materialized("good", "SELECT 1 AS n")
        assert good["status"] == "Completed"
        for runs in (2, 3):
            await tenant.act(view["id"], "run")
            await tenant.closed(await tenant.ended(view["id"], runs))
        assert receiver.taken(view["id"]) == ["run.failed"]
        assert receiver.about(good["id"]) == []


async def test_a_pause_by_the_failure_policy_is_sent(flaky: Flaky, receiver: Receiver, operator: Operator) -> None:
    await operator.tick(flaky.view_id, 6)
    assert await taken(receiver, flaky.view_id, 2) == ["run.failed", "schedule.paused"]
    data = receiver.about(flaky.view_id)[1].json["data"]
    assert (data["consecutive_failures"], data["trigger"], data["status"]) == (5, "schedule", "Failed")
    runs = await flaky.tenant.history(flaky.view_id)
    assert data["run_id"] == runs[1]["id"], "the fifth, and not the sixth"


async def test_a_notice_is_sent_until_it_is_taken(flaky: Flaky, receiver: Receiver) -> None:
    receiver.answer(500, 429)
    await flaky.run()
    assert await taken(receiver, flaky.view_id, 1) == ["run.failed"]
    tries = receiver.about(flaky.view_id)
    assert [one.answered for one in tries] == [500, 429, 204]
    assert len({one.headers["webhook-id"] for one in tries}) == 1, "a receiver can tell that it is the same"
    assert len({one.body for one in tries}) == 1
    assert all(one.is_signed for one in tries)
    sent = [int(one.headers["webhook-timestamp"]) for one in tries]
    assert sent == sorted(set(sent)), "each is stamped when it is sent"


async def test_runs_do_not_wait_for_a_webhook_that_refuses_connections(flaky: Flaky, receiver: Receiver) -> None:
    receiver.close()
    try:
        assert (await flaky.run())["status"] == "Failed"
        flaky.fix()
        assert (await flaky.run())["status"] == "Completed"
        assert receiver.about(flaky.view_id) == []
    finally:
        receiver.open()
    assert sorted(await taken(receiver, flaky.view_id, 2)) == ["run.failed", "run.recovered"]


async def test_a_webhook_that_hangs_does_not_take_the_place_of_a_query(flaky: Flaky, receiver: Receiver) -> None:
    async def arrived() -> bool:
        return bool(receiver.about(flaky.view_id))

    receiver.may_answer.clear()
    try:
        assert (await flaky.run())["status"] == "Failed"
        await until(arrived, "the notice to arrive")
        flaky.fix()
        assert (await flaky.run())["status"] == "Completed", "there is one place, and the webhook is not in it"
        assert [one.json["type"] for one in receiver.about(flaky.view_id)].count("run.failed") == 1
    finally:
        receiver.may_answer.set()
    await taken(receiver, flaky.view_id, 2)


def delivery_of(temporal: Client, run: Json) -> WorkflowHandle[Any, Any]:
    """The workflow that delivers the event of a failed run."""
    return temporal.get_workflow_handle(contract.notice_workflow_id(run["id"], "run.failed"))


@pytest.mark.parametrize("status", [302, 400, 410])
async def test_a_notice_that_is_refused_is_not_sent_again(
    status: int, flaky: Flaky, receiver: Receiver, operator: Operator
) -> None:
    receiver.answer(status)
    run = await flaky.run()
    delivery = delivery_of(operator.temporal, run)
    with pytest.raises(WorkflowFailureError) as failure:
        await asyncio.wait_for(delivery.result(), timeout=60)
    assert isinstance(failure.value.cause, ActivityError)
    refused = failure.value.cause.cause
    assert isinstance(refused, ApplicationError)
    assert (refused.type, refused.message) == ("webhook_refused", f"The webhook answered {status}.")
    assert len(receiver.about(flaky.view_id)) == 1


async def test_a_delivery_is_a_workflow_that_outlives_its_run_and_names_no_secret(
    flaky: Flaky, receiver: Receiver, operator: Operator
) -> None:
    receiver.close()
    try:
        run = await flaky.run()
        delivery = delivery_of(operator.temporal, run)

        async def tried() -> str | None:
            pending = (await delivery.describe()).raw_description.pending_activities
            return pending[0].last_failure.message if pending and pending[0].attempt > 1 else None

        assert re.fullmatch(r"The webhook cannot be reached \(\w+\)\.", await until(tried, "a second try"))
        assert (await delivery.describe()).status is WorkflowExecutionStatus.RUNNING
        assert (await flaky.show())["status"] == "Failed"
    finally:
        receiver.open()
    await delivery.result()
    history = (await delivery.fetch_history()).to_json()
    assert "hidden" not in history, "the token of the URL"
    assert SECRET not in history


async def test_without_a_webhook_nothing_is_sent(stack: DevStack, tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT error('always') AS n")
    (run,) = await tenant.history(view["id"])
    delivery = delivery_of(await temporal_of(stack), await tenant.closed(run))
    with pytest.raises(RPCError, match="not found"):
        await delivery.describe()
