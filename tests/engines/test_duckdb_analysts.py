"""The processes that look at SQL: how they share the work, and what happens when one dies."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from orchestrator.engines.duckdb import DuckDBEngine
from orchestrator.engines.process import Child
from orchestrator.model.errors import EngineCrashed, InvalidQuery, Transient
from orchestrator.model.source_table import SourceFormat
from tests.engines.conftest import make_engine


@pytest.fixture
async def mine(tmp_path: Path) -> AsyncIterator[DuckDBEngine]:
    """An engine whose processes nobody else uses."""
    engine = make_engine(tmp_path, analysis_seconds=5, memory_mb=1000, threads=1)
    yield engine
    await engine.close()


def pids(children: list[Child]) -> list[int]:
    return [child.pid for child in children if child.pid]


# Takes seconds to bind, so that a process can be killed before it answers.
SLOW = f"SELECT {' + '.join(['1'] * 640)} AS n"


async def next_process(engine: DuckDBEngine, *, after: int | None) -> int:
    for _ in range(5000):
        new = [pid for pid in pids(engine._describers.children) if pid != after]
        if new:
            return new[0]
        await asyncio.sleep(0.001)
    raise AssertionError("no process was started")


async def stop_all_describers(engine: DuckDBEngine) -> list[asyncio.Task[object]]:
    """Requests that are being served by processes that never answer."""
    await asyncio.gather(*(engine.describe("SELECT 1 AS a", {}) for _ in range(5)))
    assert len(engine._describers.children) == 2
    for pid in pids(engine._describers.children):
        os.kill(pid, signal.SIGSTOP)
    stuck: list[asyncio.Task[object]] = [asyncio.create_task(engine.describe("SELECT 1 AS a", {})) for _ in range(2)]
    await asyncio.sleep(0.1)
    return stuck


async def test_parsing_does_not_wait_for_what_is_being_described(mine: DuckDBEngine) -> None:
    assert await mine.references("SELECT * FROM t") == ("t",)
    stuck = await stop_all_describers(mine)
    assert await asyncio.wait_for(mine.references("SELECT * FROM t"), 1) == ("t",)
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)


async def test_who_waits_too_long_is_told_that_the_server_is_busy(mine: DuckDBEngine) -> None:
    mine._describers.seconds = 1
    stuck = await stop_all_describers(mine)
    began = time.monotonic()
    with pytest.raises(Transient) as raised:
        await mine.describe("SELECT 1 AS a", {})
    assert time.monotonic() - began < 3
    assert raised.value.message == "The server is busy reading other queries. Try again in a moment."
    for error in await asyncio.gather(*stuck, return_exceptions=True):
        assert isinstance(error, InvalidQuery)
        assert "too complex to analyse" in error.message
    assert await mine.describe("SELECT 1 AS a", {})


async def test_a_process_that_died_while_it_waited_is_replaced(mine: DuckDBEngine) -> None:
    assert await mine.references("SELECT * FROM t") == ("t",)
    for _ in range(3):
        (pid,) = pids(mine._parser.children)
        os.kill(pid, signal.SIGKILL)
        assert await mine.references("SELECT * FROM t") == ("t",)
        assert pids(mine._parser.children) != [pid]


async def test_a_process_that_read_source_files_serves_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("1\n")
    engine = make_engine(tmp_path / "scratch", roots=[tmp_path])
    for _ in range(3):
        assert await engine.describe_source(f"{tmp_path}/1.csv", SourceFormat.CSV)
        assert engine._readers.children == []
    await engine.close()


async def test_the_server_that_processes_are_forked_from_is_replaced(mine: DuckDBEngine) -> None:
    assert await mine.references("SELECT * FROM t") == ("t",)
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined] # nowhere public
    os.kill(server, signal.SIGKILL)
    assert await mine.references("SELECT * FROM t") == ("t",)


async def test_a_process_that_dies_of_its_first_request_is_a_crash(mine: DuckDBEngine) -> None:
    waiting = asyncio.create_task(mine.describe(SLOW, {}))
    os.kill(await next_process(mine, after=None), signal.SIGKILL)
    with pytest.raises(EngineCrashed):
        await waiting
    assert await mine.describe("SELECT 1 AS a", {})


async def test_a_request_that_kills_every_process_is_a_crash(mine: DuckDBEngine) -> None:
    assert await mine.describe("SELECT 1 AS a", {})
    (first,) = pids(mine._describers.children)
    os.kill(first, signal.SIGSTOP)
    waiting = asyncio.create_task(mine.describe(SLOW, {}))
    await asyncio.sleep(0.1)
    os.kill(first, signal.SIGKILL)
    os.kill(await next_process(mine, after=first), signal.SIGKILL)
    with pytest.raises(EngineCrashed):
        await waiting


async def test_a_statement_that_takes_too_long_to_analyse_is_invalid(mine: DuckDBEngine) -> None:
    assert await mine.describe("SELECT 1 AS a", {})
    mine._describers.seconds = mine._analysis_seconds = 1
    (pid,) = pids(mine._describers.children)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(InvalidQuery, match="too complex to analyse within 1 second"):
        await mine.describe("SELECT 1 AS a", {})
    assert await mine.describe("SELECT 1 AS a", {})


async def test_closing_ends_what_is_being_analysed(mine: DuckDBEngine) -> None:
    stuck = await stop_all_describers(mine)
    await mine.close()
    for error in await asyncio.gather(*stuck, return_exceptions=True):
        assert isinstance(error, EngineCrashed)
    assert mine._describers.children == []
