import asyncio

import pytest

from orchestrator.engines.fair_slots import FairSlots
from orchestrator.model.errors import TooManyRequests


class Guest:
    """A request that holds its place until `leave` is called."""

    def __init__(self, turns: FairSlots, project: int, log: list[int] | None = None) -> None:
        self._turns, self._project, self._log = turns, project, log
        self._leaving = asyncio.Event()
        self.is_in = False
        self.task = asyncio.create_task(self._stay())

    async def _stay(self) -> None:
        async with self._turns.turn(self._project):
            self.is_in = True
            if self._log is not None:
                self._log.append(self._project)
            await self._leaving.wait()

    async def leave(self) -> None:
        self._leaving.set()
        await self.task


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def held(guests: list[Guest]) -> list[bool]:
    return [guest.is_in for guest in guests]


async def leave(*guests: Guest) -> None:
    for guest in guests:
        await guest.leave()


async def test_a_project_never_holds_every_place() -> None:
    turns = FairSlots(size=3, share=2, queue=10)
    ours = [Guest(turns, 1) for _ in range(4)]
    await settled()
    assert held(ours) == [True, True, False, False]
    other = Guest(turns, 2)
    await settled()
    assert other.is_in
    await leave(*ours, other)


async def test_places_go_round_between_the_projects_that_wait() -> None:
    turns = FairSlots(size=1, share=1, queue=10)
    log: list[int] = []
    guests = [Guest(turns, project, log) for project in (1, 1, 1, 2, 2, 3)]
    await settled()
    for guest in guests:
        guest._leaving.set()
    await asyncio.gather(*(guest.task for guest in guests))
    assert log == [1, 2, 3, 1, 2, 1]


async def test_only_the_project_whose_queue_is_full_is_sent_away() -> None:
    turns = FairSlots(size=2, share=1, queue=2)
    ours = [Guest(turns, 1) for _ in range(3)]
    await settled()
    with pytest.raises(TooManyRequests):
        await Guest(turns, 1).task
    other = Guest(turns, 2)
    await settled()
    assert other.is_in
    await leave(*ours, other)
    again = Guest(turns, 1)
    await settled()
    assert again.is_in
    await again.leave()


async def test_who_is_cancelled_while_waiting_or_at_the_moment_it_is_let_in_keeps_nothing() -> None:
    turns = FairSlots(size=1, share=1, queue=2)
    first, second, third = (Guest(turns, 1) for _ in range(3))
    await settled()
    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    first._leaving.set()
    await asyncio.sleep(0)
    third.task.cancel()
    await asyncio.gather(first.task, third.task, return_exceptions=True)
    last = Guest(turns, 2)
    await settled()
    assert last.is_in
    await last.leave()
    assert (turns._free, dict(turns._held), turns._served, turns._waiting) == (1, {}, {}, {})
