import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.engines.base import QueryResult
from orchestrator.engines.duckdb.child_process import _PRELOADED, LOW_PRIORITY
from orchestrator.engines.duckdb.priorities import GIVES_WAY_AFTER_SECONDS
from orchestrator.model.errors import EngineCrashed, QueryTimedOut
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import WholeEngine, file_url, make_engine, make_plan

ENDLESS = "SELECT sum(random()) AS s FROM range(1000000000000)"
# One call of a scalar function, during which DuckDB does not check for an interrupt.
DEAF = "SELECT length(regexp_replace(repeat('abcdefghij', 30000000 + i::INT), 'a(.)', 'b', 'g')) FROM range(1) r(i)"


@pytest.fixture
async def mine(tmp_path: Path) -> AsyncIterator[WholeEngine]:
    """An engine whose child processes no other test uses."""
    engine = make_engine(tmp_path / "scratch", analysis_seconds=5, memory_mb=1000, threads=1)
    yield engine
    await engine.close()


def start(engine: WholeEngine, tmp_path: Path, sql: str, timeout_seconds: float = 60) -> asyncio.Task[QueryResult]:
    target = tmp_path / "target"
    target.mkdir()
    return asyncio.create_task(
        engine.write(make_plan(sql, (), timeout_seconds), file_url, WriteTarget.local(target), lambda _: None)
    )


async def pid_of_writer(engine: WholeEngine) -> int:
    for _ in range(200):
        await asyncio.sleep(0.05)
        if engine._processes.busy:
            (process,) = engine._processes.busy
            await asyncio.sleep(0.5)
            assert process.child.pid
            return process.child.pid
    raise AssertionError("no query was started")


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def open_files() -> set[str]:
    return {str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.exists()}


@pytest.mark.parametrize("sql", [ENDLESS, DEAF], ids=["endless", "deaf"])
async def test_cancelling_ends_the_process_before_it_returns(mine: WholeEngine, tmp_path: Path, sql: str) -> None:
    task = start(mine, tmp_path, sql)
    pid = await pid_of_writer(mine)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not lives(pid)
    assert time.monotonic() - began < 5
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_a_process_that_does_not_listen_is_killed(mine: WholeEngine, tmp_path: Path) -> None:
    task = start(mine, tmp_path, ENDLESS)
    pid = await pid_of_writer(mine)
    os.kill(pid, signal.SIGSTOP)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not lives(pid)


async def test_cancelling_while_the_process_starts_leaves_none(mine: WholeEngine, tmp_path: Path) -> None:
    await mine.start()
    for n in range(20):
        target = tmp_path / f"target{n}"
        target.mkdir()
        task = asyncio.create_task(mine.write(make_plan(ENDLESS), file_url, WriteTarget.local(target), lambda _: None))
        await asyncio.sleep(n * 0.002)
        task.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not mine._processes.busy
    assert list((tmp_path / "scratch").iterdir()) == []


def priorities(pid: int) -> set[int]:
    threads = [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]
    return {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}


async def test_a_query_that_takes_long_gives_way_to_another_projects(mine: WholeEngine, tmp_path: Path) -> None:
    task = start(mine, tmp_path, ENDLESS)
    pid = await pid_of_writer(mine)
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    await asyncio.sleep(GIVES_WAY_AFTER_SECONDS)
    assert os.getsid(pid) == pid, "its priority would count against the worker's"
    assert priorities(pid) == {usual}, "no other project is there"
    for project_id in (1, 2):
        (tmp_path / str(project_id)).mkdir()
        plan = make_plan("SELECT 1 AS a").model_copy(update={"project_id": project_id})
        await mine.write(plan, file_url, WriteTarget.local(tmp_path / str(project_id)), lambda _: None)
        assert priorities(pid) == ({usual} if project_id == 1 else {LOW_PRIORITY})
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_is_done_for_no_project_takes_no_priority_away(mine: WholeEngine) -> None:
    await mine.analyzer.describe("SELECT 1 AS a", {})
    (child,) = mine.analyzer._binder_pool.children
    os.kill(child.pid or 0, signal.SIGSTOP)
    task = asyncio.create_task(mine.analyzer.describe("SELECT 1 AS a", {}, project_id=1))
    await asyncio.sleep(GIVES_WAY_AFTER_SECONDS + 0.2)
    os.kill(child.pid or 0, signal.SIGCONT)
    await task
    assert not child.has_low_priority


async def test_an_analysis_that_takes_long_gives_way_and_its_process_is_not_used_again(mine: WholeEngine) -> None:
    await mine.analyzer.describe("SELECT 1 AS a", {}, project_id=1)
    (slow,) = mine.analyzer._binder_pool.children
    assert slow.pid
    os.kill(slow.pid, signal.SIGSTOP)
    task = asyncio.create_task(mine.analyzer.describe("SELECT 1 AS a", {}, project_id=1))
    await asyncio.sleep(GIVES_WAY_AFTER_SECONDS + 0.2)
    assert not slow.has_low_priority, "no other project is there"
    await mine.analyzer.describe("SELECT 1 AS a", {}, project_id=2)
    assert slow.has_low_priority
    assert priorities(slow.pid) == {LOW_PRIORITY}
    os.kill(slow.pid, signal.SIGCONT)
    assert [column.name for column in await task] == ["a"]
    assert slow not in mine.analyzer._binder_pool.children


async def test_a_time_out_ends_the_process(mine: WholeEngine, tmp_path: Path) -> None:
    task = start(mine, tmp_path, DEAF, timeout_seconds=1.5)
    pid = await pid_of_writer(mine)
    with pytest.raises(QueryTimedOut, match=r"longer than 1\.5 seconds"):
        await task
    assert not lives(pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_process_that_dies_is_a_crash(mine: WholeEngine, tmp_path: Path, number: signal.Signals) -> None:
    task = start(mine, tmp_path, ENDLESS)
    os.kill(await pid_of_writer(mine), number)
    with pytest.raises(EngineCrashed, match=f"exit status -{int(number)}"):
        await task
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_a_spilling_query_leaves_no_file_when_it_is_killed(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "scratch", memory_mb=200)
    task = start(engine, tmp_path, "SELECT random() AS a, md5(i::VARCHAR) AS b FROM range(90000000) r(i) ORDER BY 1, 2")
    pid = await pid_of_writer(engine)
    for _ in range(400):
        if task.done() or any((tmp_path / "scratch").glob("*/*")):
            break
        await asyncio.sleep(0.05)
    assert any((tmp_path / "scratch").glob("*/*"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await engine.close()
    assert not lives(pid)
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_cancelled_analysis_does_not_answer_the_next_one(mine: WholeEngine) -> None:
    assert await mine.analyzer.references("SELECT * FROM a") == ("a",)
    for n in range(5):
        task = asyncio.create_task(mine.analyzer.references("SELECT * FROM b"))
        await asyncio.sleep(0.0002 * n)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await asyncio.gather(*(mine.analyzer.references(f"SELECT * FROM t{n}") for n in range(5))) == [
        (f"t{n}",) for n in range(5)
    ]


async def test_closing_ends_running_queries(mine: WholeEngine, tmp_path: Path) -> None:
    task = start(mine, tmp_path, ENDLESS)
    pid = await pid_of_writer(mine)
    await mine.close()
    with pytest.raises(EngineCrashed):
        await task
    assert not lives(pid)


async def test_nothing_is_left_open(mine: WholeEngine, tmp_path: Path) -> None:
    async def one(n: int) -> None:
        target = tmp_path / f"t{n}"
        target.mkdir()
        await mine.write(make_plan("SELECT 1"), file_url, WriteTarget.local(target), lambda _: None)

    await one(0)
    files, threads = open_files(), threading.active_count()
    await asyncio.gather(*(one(n) for n in range(1, 9)))
    assert len(open_files() - files) == 0
    assert threading.active_count() <= threads + 8  # the event loop keeps its own pool


PARENT = """
import asyncio, sys
from pathlib import Path
from tests.engines.conftest import WholeEngine, file_url, make_engine, make_plan
from orchestrator.model.write_target import WriteTarget

async def main(folder: Path) -> None:
    engine = make_engine(folder / "scratch", memory_mb=1000, threads=1)
    await engine.analyzer.references("SELECT 1")
    (folder / "target").mkdir()
    target = WriteTarget.local(folder / "target")
    writing = asyncio.create_task(engine.write(make_plan(sys.argv[2]), file_url, target, lambda _: None))
    while not engine._processes.busy:
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    children = [*engine.analyzer._parser_pool.children, *(one.child for one in engine._processes.busy)]
    print(*(child.pid for child in children), flush=True)
    await writing

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("sql", [ENDLESS, DEAF], ids=["endless", "deaf"])
def test_no_process_outlives_a_parent_that_is_killed(tmp_path: Path, sql: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), sql], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(lives, pids))
        parent.kill()
    for _ in range(100):
        if not any(map(lives, pids)):
            return
        time.sleep(0.1)
    raise AssertionError(f"{pids} still live")


def test_the_parent_never_loads_duckdb() -> None:
    code = "import sys, orchestrator.engines.duckdb.engine; sys.exit('_duckdb' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_child_loads_neither_pydantic_nor_temporal_nor_asyncio() -> None:
    code = (
        "import sys, orchestrator.engines.duckdb.child.main, orchestrator.engines.duckdb.child.entry; "
        "orchestrator.engines.duckdb.child.main.HANDLERS['references']({'sql': 'SELECT 1'}).work(print); "
        "sys.exit(bool({'pydantic', 'temporalio', 'asyncio', 'pyarrow', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_module_that_the_fork_server_preloads_is_there() -> None:
    """The fork server passes over a module that it does not find, and children would keep their parent's secrets."""
    assert [name for name in _PRELOADED if importlib.util.find_spec(name) is None] == []
