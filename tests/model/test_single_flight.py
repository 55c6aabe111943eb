"""Work that many callers request at the same moment."""

import asyncio

import pytest

from orchestrator.model.single_flight import SingleFlight


async def test_those_who_ask_during_a_call_share_one_that_begins_after_they_asked() -> None:
    shared: SingleFlight[str, int] = SingleFlight()
    begun = 0
    going_on = asyncio.Event()
    finish = asyncio.Event()

    async def work() -> int:
        nonlocal begun
        begun += 1
        number = begun
        going_on.set()
        await finish.wait()
        return number

    first = asyncio.create_task(shared.call("key", work))
    await going_on.wait()
    others = [asyncio.create_task(shared.call("key", work)) for _ in range(100)]
    await asyncio.sleep(0)
    finish.set()
    assert await first == 1
    assert await asyncio.gather(*others) == [2] * 100
    assert begun == 2
    assert await shared.call("key", work) == 3, "nothing is kept"


async def test_keys_do_not_wait_for_one_another() -> None:
    shared: SingleFlight[str, str] = SingleFlight()
    never = asyncio.Event()

    async def hang() -> str:
        await never.wait()
        return "late"

    async def answer() -> str:
        return "at once"

    hanging = asyncio.create_task(shared.call("a", hang))
    async with asyncio.timeout(30):
        assert await shared.call("b", answer) == "at once"
    never.set()
    assert await hanging == "late"


async def test_a_failure_reaches_those_who_shared_it_and_none_who_come_later() -> None:
    shared: SingleFlight[str, None] = SingleFlight()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def succeed() -> None:
        await asyncio.sleep(0)

    outcomes = await asyncio.gather(*(shared.call("key", fail) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError] * 3
    await shared.call("key", succeed)


async def test_a_caller_who_gives_up_takes_the_call_from_no_other() -> None:
    shared: SingleFlight[str, int] = SingleFlight()
    finish = asyncio.Event()

    async def work() -> int:
        await finish.wait()
        return 1

    impatient = asyncio.create_task(shared.call("key", work))
    patient = asyncio.create_task(shared.call("key", work))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    finish.set()
    assert await patient == 1
