"""Calls that gather while others are served."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from orchestrator.aio import Grouped


class Work:
    """Squares numbers, those that may be in one go when `gate` opens. 13 is refused, 0 has no square."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()
        self.square = Grouped(self._square, most=3, shared=ConnectionError)
        self.is_away = False

    async def _square(self, numbers: Sequence[int]) -> Mapping[int, int]:
        self.groups.append([*numbers])
        await self.gate.wait()
        if self.is_away:
            raise ConnectionError
        if 13 in numbers:
            raise ValueError(13)
        return {number: number**2 for number in numbers if number}


async def asked(work: Work, *numbers: int) -> list[asyncio.Task[int | None]]:
    tasks = [asyncio.create_task(work.square(number)) for number in numbers]
    await asyncio.sleep(0.01)
    return tasks


async def test_calls_gather_while_others_are_served() -> None:
    work = Work()
    tasks = [*await asked(work, 1), *await asked(work, 2, 3, 4, 5)]
    work.gate.set()
    assert await asyncio.gather(*tasks) == [1, 4, 9, 16, 25]
    assert work.groups == [[1], [2, 3, 4], [5]]
    assert await work.square(6) == 36  # also after everything was served


async def test_a_key_is_once_in_a_group() -> None:
    work = Work()
    tasks = [*await asked(work, 1), *await asked(work, 2, 2)]
    work.gate.set()
    assert await asyncio.gather(*tasks) == [1, 4, 4]
    assert work.groups == [[1], [2], [2]]


async def test_without_a_value_there_is_none() -> None:
    work = Work()
    work.gate.set()
    assert await work.square(0) is None


async def test_an_error_of_one_is_that_of_no_other() -> None:
    work = Work()
    tasks = [*await asked(work, 1), *await asked(work, 2, 13, 3)]
    work.gate.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert (found[0], found[1], found[3]) == (1, 4, 9)
    assert isinstance(found[2], ValueError)


async def test_a_shared_error_is_that_of_all_and_the_next_call_is_served() -> None:
    work = Work()
    tasks = [*await asked(work, 1), *await asked(work, 2, 3)]
    work.is_away = True
    work.gate.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [ConnectionError] * 3
    assert work.groups == [[1], [2, 3]]
    work.is_away = False
    assert await work.square(4) == 16


async def test_a_caller_that_is_cancelled_takes_nothing_from_the_others() -> None:
    work = Work()
    first, second, third = [*await asked(work, 1), *await asked(work, 2, 3)]
    second.cancel()
    first.cancel()
    work.gate.set()
    assert await third == 9
    assert work.groups == [[1], [3]]
    with pytest.raises(asyncio.CancelledError):
        await second
