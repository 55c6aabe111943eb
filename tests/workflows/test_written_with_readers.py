"""Members that are written together with those that read them, in one activity, each after those that it reads."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, strategies as st
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from orchestrator.activities import write_several
from orchestrator.model.generation import MemberPlan, RefreshOutcome
from orchestrator.model.run import RunStatus
from orchestrator.temporal import contract
from orchestrator.workflows import member_writes
from orchestrator.workflows.members import MOST_IN_FLIGHT, Members
from tests.workflows.stand_ins import PATIENCE, Held, Steps, member, running_several
from tests.workflows.test_member_writes import activities, ends, outcome, published

# A root, two that read it, four that read these, and one that reads all four.
PARENTS = [(), (0,), (0,), (1,), (1,), (2,), (1, 2), (3, 4, 5, 6)]
NAMES = [f"v{number}" for number in range(len(PARENTS))]


def tree() -> list[MemberPlan]:
    return [member(name, *parents) for name, parents in zip(NAMES, PARENTS, strict=True)]


@pytest.fixture
def any_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes its time for the shortest query."""
    monkeypatch.setattr(member_writes, "_SHORT_SECONDS", 600)
    monkeypatch.setattr(write_several, "_BEGIN_SECONDS", 600)


async def written(temporal: Client, steps: Steps) -> list[tuple[str, int]]:
    async with running_several(temporal, steps, patched=True) as handle:
        await outcome(handle)
        return await activities(handle)


def is_in_order(steps: Steps) -> bool:
    at = {name: len(steps.queried) - steps.queried[::-1].index(name) for name in steps.queried}
    return all(at[NAMES[parent]] < at[name] for name, parents in zip(NAMES, PARENTS, strict=True) for parent in parents)


@pytest.mark.usefixtures("any_is_short")
async def test_after_a_short_member_all_that_read_it_share_one_activity(temporal: Client) -> None:
    steps = Steps(tree())
    assert await written(temporal, steps) == [(contract.WRITE_SNAPSHOT, 1), (contract.WRITE_SNAPSHOTS, 7)]
    assert Counter(steps.queried) == Counter(NAMES), "none is written twice"
    assert is_in_order(steps)
    assert [set(some) for some in steps.published] == [set(NAMES)]


async def test_after_a_longer_member_each_has_an_activity_that_any_worker_can_take(temporal: Client) -> None:
    async def query(_: str) -> None:
        await asyncio.sleep(0.3)

    steps = Steps(tree(), write=query)
    found = await written(temporal, steps)
    assert {name for name, _ in found if name == contract.WRITE_SNAPSHOT}
    assert max(size for _, size in found) == 1
    assert is_in_order(steps)


@pytest.mark.usefixtures("any_is_short")
async def test_what_reads_a_member_that_fails_is_not_run_and_all_else_is_once(temporal: Client) -> None:
    async def query(name: str) -> None:
        if name == "v1":
            raise ApplicationError("v1 cannot be done.", type="query_failed", non_retryable=True)

    steps = Steps(tree(), write=query)
    await written(temporal, steps)
    skipped = dict.fromkeys(("v3", "v4", "v6", "v7"), (RunStatus.SKIPPED, None))
    assert ends(steps) == {"v1": (RunStatus.FAILED, "v1 cannot be done."), **skipped}
    assert Counter(steps.queried) == Counter(["v0", "v1", "v2", "v5"])
    assert published(steps) == ["v0", "v2", "v5"]


@pytest.mark.usefixtures("any_is_short")
async def test_what_reads_a_member_that_is_tried_again_waits_for_it(temporal: Client) -> None:
    async def query(name: str) -> None:
        if name == "v2" and steps.queried.count(name) == 1:
            raise ApplicationError("The disk is away.")

    steps = Steps(tree(), write=query)
    await written(temporal, steps)
    assert Counter(steps.queried) == Counter([*NAMES, "v2"])
    assert is_in_order(steps)
    assert published(steps) == NAMES


@pytest.mark.usefixtures("any_is_short")
async def test_what_reads_a_slow_member_has_an_activity_of_its_own_after_it(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_several, "_BEGIN_SECONDS", 0.5)

    async def query(name: str) -> None:
        if name == "v1":
            await asyncio.sleep(1)

    steps = Steps(tree(), write=query)
    found = await written(temporal, steps)
    assert found[:2] == [(contract.WRITE_SNAPSHOT, 1), (contract.WRITE_SNAPSHOTS, 7)]
    assert len(found) > 2
    assert Counter(steps.queried) == Counter(NAMES)
    assert is_in_order(steps)


@pytest.mark.usefixtures("any_is_short")
async def test_a_cancelled_member_takes_those_that_read_it_with_it_and_no_others(temporal: Client) -> None:
    slow = Held()

    async def query(name: str) -> None:
        if name == "v1":
            await slow()

    members = tree()
    steps = Steps(members, write=query)
    async with running_several(temporal, steps, patched=True) as handle:
        await asyncio.wait_for(slow.begun.wait(), PATIENCE)
        assert await handle.execute_update(contract.CANCEL_MEMBER, members[1].run_id, result_type=bool)
        with pytest.raises(WorkflowFailureError):  # as the stand-in for `summarize` sums it up
            await outcome(handle)
    skipped = dict.fromkeys(("v3", "v4", "v6", "v7"), (RunStatus.SKIPPED, None))
    assert ends(steps) == {"v1": (RunStatus.CANCELLED, None), **skipped}
    assert published(steps) == ["v0", "v2", "v5"]
    assert steps.queried.count("v1") == 1


@pytest.mark.usefixtures("any_is_short")
async def test_a_cancel_of_the_generation_ends_them_all(temporal: Client) -> None:
    slow = Held()

    async def query(name: str) -> None:
        if name == "v2":
            await slow()

    steps = Steps(tree(), write=query)
    handle: WorkflowHandle[Any, RefreshOutcome]
    async with running_several(temporal, steps, patched=True) as handle:
        await asyncio.wait_for(slow.begun.wait(), PATIENCE)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await outcome(handle)
    assert {status for status, _ in ends(steps).values()} == {RunStatus.CANCELLED}
    assert len(ends(steps)) == len(NAMES)
    assert steps.published == []


GRAPHS = st.lists(st.tuples(st.sets(st.integers(0, 39), max_size=3), st.booleans(), st.booleans()), max_size=60)


@given(GRAPHS)
def test_readers_come_after_all_that_they_read_and_wait_for_nothing_else(
    drawn: list[tuple[set[int], bool, bool]],
) -> None:
    plans = [
        member(str(number), *sorted({parent % number for parent in parents} if number else ()))
        for number, (parents, _, _) in enumerate(drawn)
    ]
    members = Members(plans)
    found = [members.find(one.run_id) for one in plans]
    by_position = {one.position: one for one in found if one is not None}
    started = list(members.start_ready())
    for one, (_, is_done, _) in zip(started, drawn, strict=False):
        if is_done:
            members.take(one)
    started += members.start_ready()
    some = [one for one, (_, _, is_meant) in zip(started, drawn, strict=False) if is_meant]
    readers = members.readers(some)
    assert len({one.run_id for one in readers}) == len(readers)
    before = {one.position for one in some}
    for one in readers:
        unwritten = set(members.unwritten_parents(one))
        assert unwritten, "it would have been ready"
        assert unwritten <= {by_position[position].run_id for position in before}
        before.add(one.position)
    for one in readers:
        members.start(one)
    querying, _ = members.shown().get("querying", (0, []))
    assert querying <= MOST_IN_FLIGHT
