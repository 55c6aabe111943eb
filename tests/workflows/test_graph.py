"""A generation of several views over steps of the test's own: what starts, ends and is published when."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError

from orchestrator.model.generation import RefreshOutcome
from orchestrator.model.run import RunStatus
from orchestrator.temporal import contract
from orchestrator.workflows import member_queries, refresh
from tests.support.tenants import until
from tests.workflows.stand_ins import PATIENCE, Held, Steps, member, running_several

Query = Callable[[str], Awaitable[None]]


async def outcome(handle: WorkflowHandle[Any, RefreshOutcome]) -> RefreshOutcome:
    return await asyncio.wait_for(handle.result(), PATIENCE)


def queries(**by_name: Query) -> Query:
    """The queries of these members; all others end at once."""

    async def run(name: str) -> None:
        if name in by_name:
            await by_name[name](name)

    return run


async def fails(name: str) -> None:
    raise ApplicationError(f"{name} cannot be done.", type="query_failed", non_retryable=True)


def diamond() -> list[Any]:
    return [member("top"), member("left", 0), member("right", 0), member("bottom", 1, 2)]


async def test_a_member_starts_when_its_own_parents_are_done(temporal: Client) -> None:
    slow = Held()
    members = [member("slow"), member("quick"), member("below_quick", 1), member("below_both", 0, 2)]
    steps = Steps(members, write=queries(slow=slow))
    async with running_several(temporal, steps) as handle:
        await until(lambda: _is("below_quick" in steps.queried), "the child of the quick member")
        await asyncio.sleep(0.3)
        assert "below_both" not in steps.queried
        assert steps.published == [], "one component is published as one"
        slow.released.set()
        await outcome(handle)
    assert steps.queried[-1] == "below_both"
    assert [set(some) for some in steps.published] == [{"slow", "quick", "below_quick", "below_both"}]


async def test_components_do_not_wait_for_each_other(temporal: Client) -> None:
    slow = Held()
    steps = Steps([member("slow", component=0), member("other", component=1)], write=queries(slow=slow))
    async with running_several(temporal, steps) as handle:
        await until(lambda: _is(steps.published == [("other",)]), "the publication of the other component")
        slow.released.set()
        await outcome(handle)
    assert steps.published == [("other",), ("slow",)]


async def test_components_that_are_complete_at_almost_the_same_time_are_published_together(temporal: Client) -> None:
    slow = Held()
    members = [member(name, component=number) for number, name in enumerate(("slow", "one", "two", "three"))]
    steps = Steps(members, write=queries(slow=slow))
    async with running_several(temporal, steps) as handle:
        await until(lambda: _is(len(steps.published) == 1), "a publication")
        assert set(steps.published[0]) == {"one", "two", "three"}
        slow.released.set()
        await outcome(handle)
    assert steps.published[1:] == [("slow",)]


async def test_a_failed_member_skips_its_descendants_and_no_others(temporal: Client) -> None:
    steps = Steps(diamond(), write=queries(left=fails))
    async with running_several(temporal, steps) as handle:
        await outcome(handle)
    closed = {steps.name_of(one.run_id): (one.status, one.error, one.reason) for one in steps.closed}
    assert closed == {
        "left": (RunStatus.FAILED, "left cannot be done.", None),
        "bottom": (RunStatus.SKIPPED, None, '"left" failed.'),
    }
    assert [set(some) for some in steps.published] == [{"top", "right"}]


async def test_all_or_nothing_has_nothing_to_publish_before_the_end_and_does_not_ask_again_and_again(
    temporal: Client,
) -> None:
    slow = Held()
    steps = Steps(
        [member("slow", component=0), member("done", component=1)], write=queries(slow=slow), all_or_nothing=True
    )
    async with running_several(temporal, steps) as handle:
        await asyncio.wait_for(slow.begun.wait(), PATIENCE)
        await asyncio.sleep(1.5 * refresh._GATHER_SECONDS)
        history = await handle.fetch_history()
        assert not any(event.HasField("timer_started_event_attributes") for event in history.events)
        slow.released.set()
        await outcome(handle)
    assert [set(some) for some in steps.published] == [{"slow", "done"}]


async def test_all_or_nothing_publishes_nothing_and_stops_the_other_queries(temporal: Client) -> None:
    slow, failing = Held(), Held()

    async def fails_later(name: str) -> None:
        await failing()
        await fails(name)

    members = [member("slow", component=0), member("bad", component=1), member("done", component=2)]
    steps = Steps(members, write=queries(slow=slow, bad=fails_later), all_or_nothing=True)
    async with running_several(temporal, steps) as handle:
        await asyncio.wait_for(slow.begun.wait(), PATIENCE)
        failing.released.set()
        await outcome(handle)
    assert steps.published == []
    assert {steps.name_of(one.run_id): one.status for one in steps.closed} == {
        "slow": RunStatus.SKIPPED,
        "bad": RunStatus.FAILED,
        "done": RunStatus.SKIPPED,
    }


async def test_a_cancel_ends_every_query_and_closes_every_run(temporal: Client) -> None:
    slow = Held()
    steps = Steps(diamond(), write=queries(left=slow))
    async with running_several(temporal, steps) as handle:
        await asyncio.wait_for(slow.begun.wait(), PATIENCE)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as raised:
            await outcome(handle)
    assert isinstance(raised.value.cause, CancelledError)
    assert steps.published == []
    assert {one.status for one in steps.closed} == {RunStatus.CANCELLED}
    assert len({one.run_id for one in steps.closed}) == 4


async def test_one_member_is_cancelled_while_it_runs_or_waits(temporal: Client) -> None:
    slow = Held()
    members = diamond()
    steps = Steps(members, write=queries(left=slow))
    async with running_several(temporal, steps) as handle:
        await asyncio.wait_for(slow.begun.wait(), PATIENCE)
        assert await handle.execute_update(contract.CANCEL_MEMBER, members[3].run_id, result_type=bool)
        assert await handle.execute_update(contract.CANCEL_MEMBER, members[1].run_id, result_type=bool)
        await outcome_or_failure(handle)
        assert [set(some) for some in steps.published] == [{"top", "right"}]
    closed = {steps.name_of(one.run_id): one.status for one in steps.closed}
    assert closed == {"bottom": RunStatus.CANCELLED, "left": RunStatus.CANCELLED}


async def test_a_member_whose_source_moved_runs_again_with_all_that_read_it(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_queries, "_REPIN_PAUSES", (0.01, 0.01, 0.01))
    members, tries = diamond(), {"count": 0}

    async def moved(_: str) -> None:
        tries["count"] += 1
        if tries["count"] < 3:
            details = (str(members[0].run_id), tries["count"] - 1)
            raise ApplicationError("a.csv moved.", *details, type=contract.SOURCE_MOVED, non_retryable=True)

    steps = Steps(members, write=queries(bottom=moved))
    async with running_several(temporal, steps, patched=True) as handle:
        await outcome(handle)
    assert [one.round for one in steps.repinned] == [0, 1]
    assert {name: steps.queried.count(name) for name in steps.queried} == {
        "top": 3,
        "left": 3,
        "right": 3,
        "bottom": 3,
    }
    assert [set(some) for some in steps.published] == [{"top", "left", "right", "bottom"}]


async def test_a_source_that_moves_all_the_time_fails_what_reads_it(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_queries, "_REPIN_PAUSES", (0.01, 0.01, 0.01))
    members, rounds = [member("v"), member("below", 0)], iter(range(9))

    async def moved(_: str) -> None:
        details = (str(members[0].run_id), next(rounds))
        raise ApplicationError("a.csv moved.", *details, type=contract.SOURCE_MOVED, non_retryable=True)

    steps = Steps(members, write=queries(v=moved))
    async with running_several(temporal, steps, patched=True) as handle:
        await outcome(handle)
    assert len(steps.repinned) == 3
    closed = {steps.name_of(one.run_id): (one.status, one.error) for one in steps.closed}
    assert closed == {"v": (RunStatus.FAILED, "a.csv moved."), "below": (RunStatus.SKIPPED, None)}


async def test_a_long_history_is_continued_in_a_further_run(temporal: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "_MOST_EVENTS", 30)
    members = [member(f"v{number}", component=number) for number in range(100)]
    steps = Steps(members)
    async with running_several(temporal, steps, patched=True) as handle:
        done = await outcome(handle)
    assert done.detail == "Completed"
    assert sorted(name for some in steps.published for name in some) == sorted(one.name for one in members)
    assert sorted(steps.queried) == sorted(one.name for one in members), "none is written twice"
    assert steps.begun > 1


async def test_a_generation_waits_while_others_hold_its_views(temporal: Client) -> None:
    steps = Steps([member("v")], held_by=["materialize/x", "refresh/1/y"])
    async with running_several(temporal, steps) as handle:
        await outcome(handle)
    assert (steps.begun, steps.published) == (3, [("v",)])


async def outcome_or_failure(handle: WorkflowHandle[Any, RefreshOutcome]) -> None:
    try:
        await outcome(handle)
    except WorkflowFailureError:
        return


async def _is(truth: bool) -> bool:
    return truth
