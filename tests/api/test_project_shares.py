"""The bound on the requests of one project at a time, for requests that come, wait and go in any order."""

import asyncio
import random
from collections.abc import Callable, Coroutine

import pytest

from api.project_shares import Shares
from orchestrator.model.errors import TooManyRequests

PROJECTS = 5


async def settled() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def holder(
    shares: Shares, whose: str, release: asyncio.Event, log: list[int]
) -> Callable[[int], Coroutine[None, None, None]]:
    async def hold(number: int) -> None:
        async with shares.turn(whose):
            log.append(number)
            await release.wait()

    return hold


async def test_no_more_of_one_project_go_on_than_its_share_and_others_do_not_wait() -> None:
    shares, release, log = Shares(at_once=3), asyncio.Event(), list[int]()
    hold = holder(shares, "crowd", release, log)
    tasks = [asyncio.create_task(hold(number)) for number in range(10)]
    await settled()
    assert log == [0, 1, 2]
    async with asyncio.timeout(30), shares.turn("other"):
        pass
    release.set()
    await asyncio.gather(*tasks)
    assert log == list(range(10)), "in the order in which they came"


async def test_what_finds_the_queue_full_or_waits_too_long_is_sent_away() -> None:
    shares, release, log = Shares(at_once=1, waiting=2, longest_wait=0.05), asyncio.Event(), list[int]()
    hold = holder(shares, "crowd", release, log)
    first = asyncio.create_task(hold(0))
    await settled()
    waiting = [asyncio.create_task(hold(number)) for number in (1, 2)]
    await settled()
    with pytest.raises(TooManyRequests):
        await hold(3)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [TooManyRequests] * 2
    release.set()
    await first
    assert log == [0]
    async with asyncio.timeout(30), shares.turn("crowd"):
        pass


async def test_a_turn_that_is_given_up_goes_to_the_next_in_the_queue() -> None:
    chance = random.Random(7)  # noqa: S311 - the same each time
    shares = Shares(at_once=2, waiting=1000, longest_wait=30)
    going_on = dict.fromkeys(range(PROJECTS), 0)

    async def work(whose: int) -> None:
        async with shares.turn(whose):
            going_on[whose] += 1
            assert going_on[whose] <= 2
            try:
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
            finally:
                going_on[whose] -= 1

    tasks = [asyncio.create_task(work(number % PROJECTS)) for number in range(2000)]
    while not all(task.done() for task in tasks):
        chance.choice(tasks).cancel()
        await asyncio.sleep(0)
    failed = [task.exception() for task in tasks if not task.cancelled() and task.exception()]
    assert failed == []
    assert (shares._busy, shares._queues) == ({}, {}), "nothing is kept"
