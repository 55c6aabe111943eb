"""What a folder of files goes through while it is written: it is flushed bit by bit."""

import asyncio
import errno
import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.model.errors import StoreUnavailable
from orchestrator.stores import local
from orchestrator.stores.local import LocalStore
from tests.support import until

LOCATION = "1/view/run-1"
MUCH = b"x" * 1000


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_FLUSHED_BYTES", len(MUCH))
    monkeypatch.setattr(local, "_FLUSH_SECONDS", 0.01)


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often a file was flushed, by the size that it had."""
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
    target = await store.stage(LOCATION)

    async def at(size: int) -> None:
        async def reached() -> bool:
            return flushed[size] > 0

        await until(reached, f"a flush at {size} bytes")

    async with store.flushing(LOCATION):
        with (target / "data_0.parquet").open("wb", buffering=0) as file:
            file.write(MUCH)
            await at(1000)
            file.write(MUCH[1:])
            (target / "data_1.parquet").write_bytes(MUCH * 3)
            await at(3000)
            file.write(MUCH[:1])
            await at(2000)
    assert flushed == {1000: 1, 3000: 1, 2000: 1}, "at 1,999 bytes it had not grown by much"


async def test_what_could_not_be_flushed_is_told_when_all_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    target = await store.stage(LOCATION)
    met = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail(_: int) -> None:
        loop.call_soon_threadsafe(met.set)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)

    async def write() -> None:
        async with store.flushing(LOCATION):
            (target / "data_0.parquet").write_bytes(MUCH)
            await met.wait()

    with pytest.raises(StoreUnavailable, match="Input/output error"):
        await write()


async def test_a_query_that_is_stopped_waits_for_no_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    target = await store.stage(LOCATION)
    hangs, may_go_on = threading.Event(), threading.Event()

    def hang(_: int) -> None:
        hangs.set()
        may_go_on.wait()

    monkeypatch.setattr(os, "fsync", hang)

    async def write() -> None:
        async with asyncio.timeout(30), store.flushing(LOCATION):
            (target / "data_0.parquet").write_bytes(MUCH)
            await asyncio.to_thread(hangs.wait)
            raise RuntimeError("stopped")

    try:
        with pytest.raises(RuntimeError, match="stopped"):
            await write()
    finally:
        may_go_on.set()
