"""The child processes that parse and bind SQL: how they share the work, and what happens when one dies."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from orchestrator.engines.duckdb.child_process import ChildProcess
from orchestrator.model.errors import AnalyzerBusy, EngineCrashed, InvalidQuery, TooManyRequests
from orchestrator.model.source_table import SourceFormat
from tests.engines.conftest import WholeEngine, make_engine


@pytest.fixture
async def mine(tmp_path: Path) -> AsyncIterator[WholeEngine]:
    """An engine whose child processes no other test uses."""
    engine = make_engine(tmp_path, analysis_seconds=5, memory_mb=1000, threads=1)
    yield engine
    await engine.close()


def pids(children: list[ChildProcess]) -> list[int]:
    return [child.pid for child in children if child.pid]


# Takes seconds to bind, so that a process can be killed before it answers.
SLOW = f"SELECT {' + '.join(['1'] * 640)} AS n"


async def next_process(engine: WholeEngine, *, after: int | None) -> int:
    for _ in range(5000):
        new = [pid for pid in pids(engine.analyzer._binder_pool.children) if pid != after]
        if new:
            return new[0]
        await asyncio.sleep(0.001)
    raise AssertionError("no process was started")


async def stop_all_describers(engine: WholeEngine) -> list[asyncio.Task[object]]:
    """Stop the processes that bind statements, each with a request in progress. Returns the requests."""
    projects = (1, 1, 2)
    await asyncio.gather(*(engine.analyzer.describe("SELECT 1 AS a", {}, project_id=project) for project in projects))
    assert len(engine.analyzer._binder_pool.children) == 3
    for pid in pids(engine.analyzer._binder_pool.children):
        os.kill(pid, signal.SIGSTOP)
    asked = [engine.analyzer.describe("SELECT 1 AS a", {}, project_id=project) for project in projects]
    stuck: list[asyncio.Task[object]] = [asyncio.create_task(ask) for ask in asked]
    await asyncio.sleep(0.1)
    return stuck


async def test_parsing_does_not_wait_for_what_is_being_described(mine: WholeEngine) -> None:
    assert await mine.analyzer.references("SELECT * FROM t") == ("t",)
    stuck = await stop_all_describers(mine)
    assert await asyncio.wait_for(mine.analyzer.references("SELECT * FROM t"), 1) == ("t",)
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)


async def test_a_call_that_waits_too_long_learns_what_is_in_its_way(mine: WholeEngine) -> None:
    stuck = await stop_all_describers(mine)
    mine.analyzer._binder_pool.seconds = 1
    own, others = await asyncio.gather(
        mine.analyzer.describe("SELECT 1 AS a", {}, project_id=1),
        mine.analyzer.describe("SELECT 1 AS a", {}, project_id=3),
        return_exceptions=True,
    )
    assert isinstance(own, TooManyRequests)
    assert isinstance(others, AnalyzerBusy)
    assert others.message == "The server is busy reading other queries. Try again in a moment."
    for error in await asyncio.gather(*stuck, return_exceptions=True):
        assert isinstance(error, InvalidQuery)
        assert "too complex to analyse" in error.message
    assert await mine.analyzer.describe("SELECT 1 AS a", {})


async def test_a_process_that_died_while_it_waited_is_replaced(mine: WholeEngine) -> None:
    assert await mine.analyzer.references("SELECT * FROM t") == ("t",)
    for _ in range(3):
        (pid,) = pids(mine.analyzer._parser_pool.children)
        os.kill(pid, signal.SIGKILL)
        assert await mine.analyzer.references("SELECT * FROM t") == ("t",)
        assert pids(mine.analyzer._parser_pool.children) != [pid]


async def test_a_process_that_read_source_files_serves_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("1\n")
    engine = make_engine(tmp_path / "scratch", roots=[tmp_path])
    for _ in range(3):
        assert await engine.analyzer.describe_source(f"{tmp_path}/1.csv", SourceFormat.CSV)
        assert engine.analyzer._source_pool.children == []
    await engine.close()


async def test_the_server_that_processes_are_forked_from_is_replaced(mine: WholeEngine) -> None:
    assert await mine.analyzer.references("SELECT * FROM t") == ("t",)
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined] # nowhere public
    os.kill(server, signal.SIGKILL)
    assert await mine.analyzer.references("SELECT * FROM t") == ("t",)


async def test_a_process_that_dies_of_its_first_request_is_a_crash(mine: WholeEngine) -> None:
    waiting = asyncio.create_task(mine.analyzer.describe(SLOW, {}))
    os.kill(await next_process(mine, after=None), signal.SIGKILL)
    with pytest.raises(EngineCrashed):
        await waiting
    assert await mine.analyzer.describe("SELECT 1 AS a", {})


async def test_a_request_that_kills_every_process_is_a_crash(mine: WholeEngine) -> None:
    assert await mine.analyzer.describe("SELECT 1 AS a", {})
    (first,) = pids(mine.analyzer._binder_pool.children)
    os.kill(first, signal.SIGSTOP)
    waiting = asyncio.create_task(mine.analyzer.describe(SLOW, {}))
    await asyncio.sleep(0.1)
    os.kill(first, signal.SIGKILL)
    os.kill(await next_process(mine, after=first), signal.SIGKILL)
    with pytest.raises(EngineCrashed):
        await waiting


async def test_a_statement_that_takes_too_long_to_analyse_is_invalid(mine: WholeEngine) -> None:
    assert await mine.analyzer.describe("SELECT 1 AS a", {})
    mine.analyzer._binder_pool.seconds = 1
    (pid,) = pids(mine.analyzer._binder_pool.children)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(InvalidQuery, match="too complex to analyse within 1 second"):
        await mine.analyzer.describe("SELECT 1 AS a", {})
    assert await mine.analyzer.describe("SELECT 1 AS a", {})


async def test_closing_ends_what_is_being_analysed(mine: WholeEngine) -> None:
    stuck = await stop_all_describers(mine)
    await mine.close()
    for error in await asyncio.gather(*stuck, return_exceptions=True):
        assert isinstance(error, EngineCrashed)
    assert mine.analyzer._binder_pool.children == []


# Nested comments that are not closed: DuckDB starts again at each of them, so that 48 kB take it ten seconds.
BOMB = "/*" * 60_000


async def test_texts_that_are_slow_to_parse_hold_up_their_own_project_only(mine: WholeEngine) -> None:
    assert await mine.analyzer.references("SELECT * FROM t", project_id=2) == ("t",)
    bombs = [asyncio.create_task(mine.analyzer.references(BOMB, project_id=1)) for _ in range(4)]
    await asyncio.sleep(0.3)
    for _ in range(5):
        assert await asyncio.wait_for(mine.analyzer.references("SELECT * FROM t", project_id=2), 3) == ("t",)
    assert not any(bomb.done() for bomb in bombs)
    first, *rest = await asyncio.gather(*bombs, return_exceptions=True)
    assert isinstance(first, InvalidQuery)
    assert first.message == "Invalid query: it is too complex to analyse within 5 seconds."
    assert all(isinstance(error, (InvalidQuery, TooManyRequests)) for error in rest)


async def test_a_project_whose_queue_is_full_is_sent_away_at_once_and_others_are_served(mine: WholeEngine) -> None:
    bombs = [asyncio.create_task(mine.analyzer.references(BOMB, project_id=1)) for _ in range(140)]
    done, waiting = await asyncio.wait(bombs, timeout=3)
    assert len(done) == 140 - 1 - 128
    assert all(isinstance(bomb.exception(), TooManyRequests) for bomb in done)
    assert await asyncio.wait_for(mine.analyzer.references("SELECT * FROM t", project_id=2), 3) == ("t",)
    for bomb in waiting:
        bomb.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_statements_that_are_slow_to_bind_hold_up_their_own_project_only(mine: WholeEngine) -> None:
    bombs = [asyncio.create_task(mine.analyzer.describe(SLOW, {}, project_id=1)) for _ in range(6)]
    await asyncio.sleep(0.3)
    for _ in range(5):
        assert await asyncio.wait_for(mine.analyzer.describe("SELECT 1 AS a", {}, project_id=2), 3)
    for bomb in bombs:
        bomb.cancel()
    await asyncio.gather(*bombs, return_exceptions=True)


GREEDY = [
    "SELECT count(*) FROM range(length(repeat('x', 1000000000)))",
    "SELECT 1 AS a LIMIT length(repeat('x', 1000000000))",
    "FROM repeat(repeat('x', 1000000000), 3)",
    "SELECT count(*) FROM range(length(list_transform(range(60000000), lambda x: x + 1)::VARCHAR))",
]


@pytest.mark.parametrize("sql", GREEDY)
async def test_a_statement_that_takes_memory_while_it_is_bound_gets_no_querys_share(tmp_path: Path, sql: str) -> None:
    engine = make_engine(tmp_path, analysis_seconds=60, memory_mb=8000)
    peak = 0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max([peak, *(child.memory_bytes() or 0 for child in engine.analyzer._binder_pool.children)])
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    error = (await asyncio.gather(engine.analyzer.describe(sql, {}), return_exceptions=True))[0]
    watching.cancel()
    await engine.close()
    assert peak < 600 << 20
    if "repeat" in sql:
        assert isinstance(error, InvalidQuery)
        assert "Out of Memory" in error.message


async def test_a_process_that_holds_much_after_it_answered_is_replaced(mine: WholeEngine) -> None:
    heavy = f"SELECT * FROM (VALUES {', '.join(f'({n})' for n in range(20_000))}) v"
    assert await mine.analyzer.references(heavy) == ()
    kept = pids(mine.analyzer._parser_pool.children)
    assert await mine.analyzer.references("SELECT * FROM t") == ("t",)
    held = [child.memory_bytes() or 0 for child in mine.analyzer._parser_pool.children]
    assert max(held) <= 128 << 20
    assert not kept or pids(mine.analyzer._parser_pool.children) == kept
