"""A generation of several views over steps of the test's own, at moments that a real one meets only by chance."""

import asyncio
from uuid import UUID, uuid4

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from orchestrator.model.base import now
from orchestrator.model.generation import PublishRequest
from orchestrator.model.run import RunStatus, Trigger
from orchestrator.model.webhook_event import ClosedRuns, WebhookEvent, WebhookEventData, WebhookEventType
from orchestrator.temporal import contract
from orchestrator.workflows import member_queries
from tests.support.tenants import until
from tests.workflows.stand_ins import PATIENCE, Held, Steps, member, running_several


class Telling(Steps):
    """Steps of which publication gives rise to an event for each run."""

    @activity.defn(name=contract.PUBLISH)
    async def publish(self, request: PublishRequest) -> ClosedRuns:
        closed = await super().publish(request)
        return closed.model_copy(update={"notices": tuple(map(recovered, request.run_ids))})


def recovered(run_id: UUID) -> WebhookEvent:
    data = WebhookEventData(
        project_id=1,
        view_id=uuid4(),
        view_name="v",
        run_id=run_id,
        status=RunStatus.COMPLETED,
        trigger=Trigger.API,
        workflow_id="w",
    )
    return WebhookEvent(type=WebhookEventType.RUN_RECOVERED, timestamp=now(), data=data)


async def test_every_event_of_a_publication_is_delivered_before_its_generation_is_over(temporal: Client) -> None:
    steps = Telling([member("a"), member("b", 0), member("c", 0)])
    async with running_several(temporal, steps) as handle:
        await asyncio.wait_for(handle.result(), PATIENCE)
        deliveries = [
            temporal.get_workflow_handle(contract.notice_workflow_id(one.run_id, WebhookEventType.RUN_RECOVERED))
            for one in steps.members
        ]
        for delivery in deliveries:
            await delivery.terminate()  # raises unless it was started


async def test_a_member_that_waits_for_its_turn_to_pin_anew_can_be_cancelled(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_queries, "_REPIN_PAUSES", (5.0, 5.0, 5.0))
    tables = {"one": uuid4(), "other": uuid4()}
    begun: list[str] = []

    async def moved(name: str) -> None:
        begun.append(name)
        if begun.count(name) == 1:
            raise ApplicationError("It moved.", str(tables[name]), 0, type=contract.SOURCE_MOVED, non_retryable=True)

    members = [member("one", component=0), member("other", component=1)]
    steps = Steps(members, write=moved)

    async def both_moved() -> bool:
        return sorted(begun) == ["one", "other"]

    async with running_several(temporal, steps, patched=True) as handle:
        await until(both_moved, "two queries whose sources moved")
        await asyncio.sleep(1)
        second = members[1] if begun[0] == "one" else members[0]
        cancelled = handle.execute_update(contract.CANCEL_MEMBER, second.run_id, result_type=bool)
        assert await asyncio.wait_for(cancelled, 3)
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(handle.result(), PATIENCE)
    assert [(one.run_id, one.status) for one in steps.closed] == [(second.run_id, RunStatus.CANCELLED)]


async def test_a_query_that_runs_while_its_source_is_pinned_anew_runs_again(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_queries, "_REPIN_PAUSES", (0.01, 0.01, 0.01))
    slow, table, begun = Held(), uuid4(), list[str]()

    async def query(name: str) -> None:
        begun.append(name)
        if name == "slow":
            await slow()
        elif begun.count("moved") == 1:
            await asyncio.wait_for(slow.begun.wait(), PATIENCE)
            raise ApplicationError("It moved.", str(table), 0, type=contract.SOURCE_MOVED, non_retryable=True)

    async def repinned() -> bool:
        return begun.count("moved") == 2

    steps = Steps([member("moved"), member("slow"), member("below", 1)], write=query)
    async with running_several(temporal, steps, patched=True) as handle:
        await until(repinned, "the second query of the member that met the change")
        assert begun.count("slow") == 1
        slow.released.set()
        await asyncio.wait_for(handle.result(), PATIENCE)
    assert (begun.count("slow"), begun.count("below")) == (2, 1), "what reads it waits for the second one"
    assert begun.index("below") > begun.index("slow")
    assert len(steps.published) == 1


async def test_two_queries_that_meet_the_same_change_have_it_pinned_anew_once(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_queries, "_REPIN_PAUSES", (0.3, 0.3, 0.3))
    table, begun = uuid4(), list[str]()

    async def moved(name: str) -> None:
        begun.append(name)
        if begun.count(name) == 1:
            raise ApplicationError("It moved.", str(table), 0, type=contract.SOURCE_MOVED, non_retryable=True)

    steps = Steps([member("one"), member("other")], write=moved)
    async with running_several(temporal, steps, patched=True) as handle:
        await asyncio.wait_for(handle.result(), PATIENCE)
    assert [(one.table_id, one.round) for one in steps.repinned] == [(table, 0)]
    assert sorted(begun) == ["one", "one", "other", "other"]


async def test_a_generation_that_waits_for_others_can_be_cancelled(temporal: Client) -> None:
    steps = Steps([member("v")], held_by=["refresh/1/x"] * 1000)

    async def waits() -> bool:
        return steps.begun > 1

    async with running_several(temporal, steps) as handle:
        await until(waits, "a generation that waits")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as raised:
            await asyncio.wait_for(handle.result(), PATIENCE)
    assert isinstance(raised.value.cause, (CancelledError, ApplicationError))
    assert (steps.queried, steps.closed) == ([], [])


async def test_a_signal_cancels_a_member_whose_query_runs(temporal: Client) -> None:
    slow = Held()
    members = [member("slow", component=0), member("below", 0, component=0), member("beside", component=1)]

    async def query(name: str) -> None:
        if name == "slow":
            await slow()

    steps = Steps(members, write=query)
    async with running_several(temporal, steps) as handle:
        await asyncio.wait_for(slow.begun.wait(), PATIENCE)
        for run_id in (members[0].run_id, uuid4(), members[0].run_id):
            await handle.signal(contract.STOP_MEMBER, run_id)
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(handle.result(), PATIENCE)
    assert steps.published == [("beside",)]
    ended = {one.run_id: one.status for one in steps.closed}
    assert ended == {members[0].run_id: RunStatus.CANCELLED, members[1].run_id: RunStatus.SKIPPED}


async def test_a_member_that_is_not_there_or_is_published_cannot_be_cancelled(temporal: Client) -> None:
    slow = Held()
    members = [member("quick", component=0), member("slow", component=1)]

    async def query(name: str) -> None:
        if name == "slow":
            await slow()

    steps = Steps(members, write=query)

    async def published() -> bool:
        return steps.published == [("quick",)]

    async with running_several(temporal, steps) as handle:
        await until(published, "the publication of the quick member")
        for run_id in (members[0].run_id, uuid4()):
            assert not await handle.execute_update(contract.CANCEL_MEMBER, run_id, result_type=bool)
        slow.released.set()
        await asyncio.wait_for(handle.result(), PATIENCE)
    assert steps.closed == []


async def test_a_member_is_cancelled_before_its_generation_has_begun(temporal: Client) -> None:
    """Clients see its run as soon as the first step has stored it, long before that step ends."""
    beginning = Held()
    members = [member("v", component=0), member("below", 0, component=0), member("beside", component=1)]
    steps = Steps(members, begin=beginning)
    async with running_several(temporal, steps) as handle:
        await asyncio.wait_for(beginning.begun.wait(), PATIENCE)
        await handle.signal(contract.STOP_MEMBER, members[0].run_id)
        # Updates come after signals: once this one is answered, the signal was taken.
        assert not await handle.execute_update(contract.CANCEL_MEMBER, uuid4(), result_type=bool)
        beginning.released.set()
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(handle.result(), PATIENCE)
    assert steps.queried == ["beside"]
    ended = {one.run_id: one.status for one in steps.closed}
    assert ended == {members[0].run_id: RunStatus.CANCELLED, members[1].run_id: RunStatus.SKIPPED}
