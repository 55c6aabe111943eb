"""The share of the API that each key has."""

import asyncio
from uuid import UUID, uuid4

import pytest

from api.shares import Shares
from orchestrator.model.errors import TooManyRequests


async def _hold(shares: Shares, key: UUID, until: asyncio.Event) -> None:
    async with shares.turn(key):
        await until.wait()


async def test_a_request_waits_for_those_of_its_own_key_alone() -> None:
    shares, mine, other, over = Shares(2), uuid4(), uuid4(), asyncio.Event()
    held = [asyncio.create_task(_hold(shares, mine, over)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(_hold(shares, mine, over))
    async with asyncio.timeout(10), shares.turn(other):
        assert not waiting.done()
    over.set()
    await asyncio.gather(*held, waiting)
    assert not shares._turns
    assert not shares._asking


async def test_a_request_that_waits_too_long_is_refused_and_leaves_its_place() -> None:
    shares, key, over = Shares(1, wait_seconds=0.05), uuid4(), asyncio.Event()
    held = asyncio.create_task(_hold(shares, key, over))
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await _hold(shares, key, over)
    over.set()
    await held
    await _hold(shares, key, over)
    assert not shares._asking


async def test_no_more_requests_wait_than_may() -> None:
    shares, key, over = Shares(1, most_waiting=2), uuid4(), asyncio.Event()
    held = [asyncio.create_task(_hold(shares, key, over)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await _hold(shares, key, over)
    held[1].cancel()  # as when a client goes away
    await asyncio.wait({held[1]})
    over.set()
    await asyncio.gather(held[0], held[2])
    await _hold(shares, key, over)
