"""Members that share an activity: each ends as it would by itself, and none holds the others up."""

import asyncio
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from orchestrator.activities import write_several
from orchestrator.activities.write import WriteActivities
from orchestrator.activities.write_several import WriteSeveralActivities
from orchestrator.model.generation import MemberEnd, MemberPlan, MembersTask, MemberTask, RefreshOutcome
from orchestrator.model.run import Progress, RunStatus
from orchestrator.temporal import contract
from orchestrator.workflows import member_queries
from tests.support.tenants import until
from tests.workflows.stand_ins import PATIENCE, Held, Steps, member, running_several

NAMES = [f"v{number}" for number in range(8)]


def independent(*names: str) -> list[MemberPlan]:
    return [member(name, component=number) for number, name in enumerate(names)]


async def outcome(handle: WorkflowHandle[Any, RefreshOutcome]) -> RefreshOutcome:
    return await asyncio.wait_for(handle.result(), PATIENCE)


async def activities(handle: WorkflowHandle[Any, RefreshOutcome]) -> list[tuple[str, int]]:
    """The type of each activity that the generation has scheduled, and the number of its members."""
    events = (await handle.fetch_history()).events
    scheduled = [one.activity_task_scheduled_event_attributes for one in events if one.event_type == 10]
    # Behind the runs, the id of an activity of several has its number.
    return [(one.activity_type.name, one.activity_id.count("-") // 4) for one in scheduled]


def ends(steps: Steps) -> dict[str, tuple[RunStatus, str | None]]:
    return {steps.name_of(one.run_id): (one.status, one.error) for one in steps.closed}


def published(steps: Steps) -> list[str]:
    return sorted(name for some in steps.published for name in some)


async def test_members_that_are_ready_together_share_activities(temporal: Client) -> None:
    members = independent(*(f"v{number:02}" for number in range(40)))
    steps = Steps(members)
    async with running_several(temporal, steps) as handle:
        await outcome(handle)
        found = await activities(handle)
    assert published(steps) == sorted(one.name for one in members)
    assert Counter(steps.queried) == Counter(one.name for one in members), "none is written twice"
    assert sum(size for _, size in found) == 40
    assert len(found) < 16
    assert max(size for _, size in found) <= 8


async def test_a_few_members_have_an_activity_each(temporal: Client) -> None:
    steps = Steps(independent("one", "two", "three"))
    async with running_several(temporal, steps) as handle:
        await outcome(handle)
        found = await activities(handle)
    assert found == [(contract.WRITE_SNAPSHOT, 1)] * 3


async def test_a_member_that_fails_does_so_alone_and_is_not_tried_again(temporal: Client) -> None:
    async def query(name: str) -> None:
        if name == "v3":
            raise ApplicationError("v3 cannot be done.", type="query_failed", non_retryable=True)

    steps = Steps([*independent(*NAMES), member("below", 3, component=3)], write=query)
    async with running_several(temporal, steps) as handle:
        await outcome(handle)
    assert ends(steps) == {"v3": (RunStatus.FAILED, "v3 cannot be done."), "below": (RunStatus.SKIPPED, None)}
    assert steps.closed[0].error_code == "query_failed"
    assert published(steps) == sorted({*NAMES} - {"v3"})
    assert Counter(steps.queried) == Counter(NAMES)


@pytest.mark.parametrize(
    "error", [ApplicationError("The disk is away."), OSError("unforeseen")], ids=["known", "other"]
)
async def test_a_member_that_may_succeed_later_is_tried_again_by_itself(temporal: Client, error: Exception) -> None:
    async def query(name: str) -> None:
        if name == "v5" and steps.queried.count(name) == 1:
            raise error

    steps = Steps(independent(*NAMES), write=query)
    async with running_several(temporal, steps) as handle:
        await outcome(handle)
        found = await activities(handle)
    assert published(steps) == NAMES
    assert Counter(steps.queried) == Counter(NAMES) + Counter(["v5"])
    assert (contract.WRITE_SNAPSHOT, 1) in found


async def test_a_slow_member_holds_up_no_reader_of_another_one(temporal: Client) -> None:
    slow = Held()

    async def query(name: str) -> None:
        if name == "v0":
            await slow()

    below = [member(f"below_{name}", number) for number, name in enumerate(NAMES)]
    steps = Steps([*independent(*NAMES), *below], write=query)
    async with running_several(temporal, steps) as handle:
        await until(lambda: _is({f"below_{n}" for n in NAMES[1:]} <= {*steps.queried}), "all that do not read it")
        assert not slow.released.is_set()
        slow.released.set()
        await outcome(handle)
    assert published(steps) == sorted([*NAMES, *(one.name for one in below)])
    assert max(Counter(steps.queried).values()) == 1


async def test_a_member_that_waits_for_its_turn_is_given_to_another_activity(temporal: Client) -> None:
    slow = Held()

    async def query(name: str) -> None:
        if name == "v0":
            await slow()
        while name == "v1" and steps.queried.count("v1") == 1:
            await asyncio.sleep(0.05)
            steps.reporters["v1"].report(Progress(percent=None, elapsed_seconds=0, waiting=True))

    steps = Steps(independent(*NAMES), write=query)
    async with running_several(temporal, steps) as handle:
        await until(lambda: _is(any("v1" in some for some in steps.published)), "the member that waited")
        assert not slow.released.is_set()
        slow.released.set()
        await outcome(handle)
    assert published(steps) == NAMES
    assert Counter(steps.queried) == Counter(NAMES) + Counter(["v1"])


async def test_a_member_that_waits_for_short_ones_of_other_activities_keeps_its_turn(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_several, "_SHORT_SECONDS", 1.0)
    names = [f"v{number:02}" for number in range(16)]
    turns = {name: 0.2 * number for number, name in enumerate(names[4:], start=1)}

    async def query(name: str) -> None:
        await asyncio.sleep(turns.get(name, 0))
        while name == "v00" and len(steps.queried) < len(names) + 1 and not all_ended.is_set():
            await asyncio.sleep(0.05)
            steps.reporters["v00"].report(Progress(percent=None, elapsed_seconds=0, waiting=True))
        if name == names[-1]:
            all_ended.set()

    all_ended = asyncio.Event()
    steps = Steps(independent(*names), write=query)
    async with running_several(temporal, steps, patched=True) as handle:
        await outcome(handle)
    assert Counter(steps.queried) == Counter(names), "none is given back"


async def test_a_member_is_cancelled_and_those_beside_it_are_written(temporal: Client) -> None:
    slow, beside = Held(), Held()

    async def query(name: str) -> None:
        if name == "v0":
            await slow()
        elif name == "v1":
            await beside()

    members = independent(*NAMES)
    steps = Steps(members, write=query)
    async with running_several(temporal, steps) as handle:
        await asyncio.wait_for(slow.begun.wait(), PATIENCE)
        await asyncio.wait_for(beside.begun.wait(), PATIENCE)
        assert await handle.execute_update(contract.CANCEL_MEMBER, members[0].run_id, result_type=bool)
        beside.released.set()
        with pytest.raises(WorkflowFailureError):  # as the stand-in for `summarize` sums it up
            await outcome(handle)
    assert ends(steps) == {"v0": (RunStatus.CANCELLED, None)}
    assert published(steps) == NAMES[1:]
    assert steps.queried.count("v0") == 1


async def test_a_cancel_of_the_generation_ends_every_shared_activity(temporal: Client) -> None:
    slow = Held()

    async def query(name: str) -> None:
        if name in {"v0", "v4"}:
            await slow()

    steps = Steps(independent(*NAMES), write=query, all_or_nothing=True)
    async with running_several(temporal, steps) as handle:
        await asyncio.wait_for(slow.begun.wait(), PATIENCE)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await outcome(handle)
    assert steps.published == []
    assert {status for status, _ in ends(steps).values()} == {RunStatus.CANCELLED}
    assert len(ends(steps)) == 8


async def test_a_source_that_moved_under_some_members_is_pinned_again_once(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_queries, "_REPIN_PAUSES", (0.01, 0.01, 0.01))
    table = uuid4()

    async def query(name: str) -> None:
        if name in {"v2", "v3"} and steps.queried.count(name) == 1:
            raise ApplicationError("a.csv moved.", str(table), 0, type=contract.SOURCE_MOVED, non_retryable=True)

    steps = Steps(independent(*NAMES), write=query)
    async with running_several(temporal, steps, patched=True) as handle:
        await outcome(handle)
    assert [(one.table_id, one.round) for one in steps.repinned] == [(table, 0)]
    assert published(steps) == NAMES


async def test_an_activity_says_nothing_of_a_member_that_is_written_again_by_another_one(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_queries, "_REPIN_PAUSES", (0.01, 0.01, 0.01))
    table, slow, again, moved = uuid4(), Held(), Held(), Held()
    names = [f"v{number:02}" for number in range(16)]
    readers = names[1:6]

    async def query(name: str) -> None:
        if name == "v00":
            await slow()
        elif name == "v04" and steps.queried.count(name) == 1:
            await moved()
            raise ApplicationError("a.csv moved.", str(table), 0, type=contract.SOURCE_MOVED, non_retryable=True)
        elif name == "v01" and steps.queried.count(name) == 2:
            await again()

    members = [member(name, component=min(number, 1)) for number, name in enumerate(names)]
    steps = Steps(members, write=query, repinned={one.run_id for one in members if one.name in readers})
    async with running_several(temporal, steps, patched=True) as handle:
        # The first activity goes on with v00 when the others of it are known to be written.
        await until(lambda: _is_reported(handle), "a report of the members that have ended")
        moved.released.set()
        await asyncio.wait_for(again.begun.wait(), PATIENCE)
        slow.released.set()
        await until(lambda: _is(("v00",) in steps.published), "the publication of the slow one")
        await asyncio.sleep(0.5)
        assert steps.published == [("v00",)], "v01 is still being written"
        again.released.set()
        await outcome(handle)
    assert [set(some) for some in steps.published] == [{"v00"}, {*names[1:]}]
    assert Counter(steps.queried) == Counter([*names, *readers])


async def test_a_shared_activity_that_is_tried_again_gives_all_members_back() -> None:
    """Its first attempt may have lost its worker; others may write some of the members by now."""
    steps = Steps(independent(*NAMES))
    several = WriteSeveralActivities(cast("WriteActivities", steps), lambda _: nullcontext())
    tasks = tuple(
        MemberTask(generation_id=uuid4(), project_id=1, saved_query_id=one.saved_query_id, run_id=one.run_id)
        for one in steps.members
    )
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, attempt=2)
    found = await environment.run(several.write_snapshots, MembersTask(members=tasks, number=3))
    assert found == tuple(MemberEnd(run_id=one.run_id, number=3) for one in steps.members)
    assert steps.queried == []


async def _is_reported(handle: WorkflowHandle[Any, RefreshOutcome]) -> bool:
    accepted = [
        one.workflow_execution_update_accepted_event_attributes.accepted_request.input.name
        for one in (await handle.fetch_history()).events
        if one.HasField("workflow_execution_update_accepted_event_attributes")
    ]
    return contract.MEMBERS_ENDED in accepted


async def _is(truth: bool) -> bool:
    return truth
