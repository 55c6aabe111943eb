"""The store flushes the files of a folder to disk while they are written."""

import asyncio
import errno
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.model.errors import StoreUnavailable
from orchestrator.stores import background_fsync
from orchestrator.stores.local import LocalStore
from tests.support.tenants import until

LOCATION = "1/view/run-1"
MUCH = b"x" * 1000


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_fsync, "_GROWN_BYTES", len(MUCH))
    monkeypatch.setattr(background_fsync, "_PAUSE_SECONDS", 0.01)


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """The number of flushes, by the size of the file."""
    found: Counter[int] = Counter()
    sync = os.fsync

    def note(descriptor: int) -> None:
        sync(descriptor)
        found[os.fstat(descriptor).st_size] += 1

    monkeypatch.setattr(os, "fsync", note)
    return found


async def test_a_file_is_flushed_when_it_has_grown_by_much_and_then_not_again(
    tmp_path: Path, flushed: Counter[int]
) -> None:
    store = LocalStore(tmp_path)
    target = (await store.stage(LOCATION)).folder

    async def at(size: int) -> None:
        async def reached() -> bool:
            return flushed[size] > 0

        await until(reached, f"a flush at {size} bytes")

    async with store.background_fsync(LOCATION):
        with (target / "data_0.parquet").open("wb", buffering=0) as file:
            file.write(MUCH)
            await at(1000)
            file.write(MUCH[1:])
            (target / "data_1.parquet").write_bytes(MUCH * 3)
            await at(3000)
            file.write(MUCH[:1])
            await at(2000)
    assert flushed == {1000: 1, 3000: 1, 2000: 1}, "at 1,999 bytes it had not grown by much"


async def test_what_could_not_be_flushed_is_raised_when_all_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    target = (await store.stage(LOCATION)).folder
    met = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail(_: int) -> None:
        loop.call_soon_threadsafe(met.set)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)

    async def write() -> None:
        async with store.background_fsync(LOCATION):
            (target / "data_0.parquet").write_bytes(MUCH)
            await met.wait()

    with pytest.raises(StoreUnavailable, match="Input/output error"):
        await write()


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Makes every flush wait until the test is over. The event is set once the first flush waits."""
    stuck, over = threading.Event(), threading.Event()

    def hang(_: int) -> None:
        stuck.set()
        over.wait()

    monkeypatch.setattr(os, "fsync", hang)
    yield stuck
    over.set()


async def test_who_is_stopped_and_who_has_not_had_a_turn_wait_for_no_flush(
    tmp_path: Path, stuck: threading.Event
) -> None:
    store = LocalStore(tmp_path)
    first, second = [(await store.stage(f"1/view/run-{number}")).folder for number in (1, 2)]

    async def write() -> None:
        async with store.background_fsync("1/view/run-1"):
            (first / "data_0.parquet").write_bytes(MUCH)
            assert await asyncio.to_thread(stuck.wait, 30)
            async with store.background_fsync("1/view/run-2"):
                (second / "data_0.parquet").write_bytes(MUCH)
                await asyncio.sleep(0.1)
            raise RuntimeError("stopped")

    async with asyncio.timeout(30):
        with pytest.raises(RuntimeError, match="stopped"):
            await write()


async def test_a_folder_that_is_away_for_a_moment_is_flushed_when_it_is_back(
    tmp_path: Path, flushed: Counter[int]
) -> None:
    store = LocalStore(tmp_path)
    target = (await store.stage(LOCATION)).folder

    async def lasting() -> bool:
        return flushed[2000] > 0

    async with store.background_fsync(LOCATION):
        target.rmdir()
        await asyncio.sleep(0.1)
        target.mkdir()
        (target / "data_0.parquet").write_bytes(MUCH * 2)
        await until(lasting, "a flush")
