"""A fault of one run affects that run alone: the run reports what happened, and leaves no file."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.engines.base import QueryResult
from orchestrator.model.errors import (
    EngineCrashed,
    OrchestratorError,
    OutOfMemory,
    OutputTooLarge,
    QueryTimedOut,
    StoreUnavailable,
)
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import WholeEngine, file_url, make_engine, make_plan
from tests.support.tenants import until

# Writes files of its result while it runs, and for longer than any test waits.
GROWING = "SELECT hash(i) AS a, sha256(i::VARCHAR) AS b FROM range(100000000000) r(i)"
OTHER = "SELECT count(*) AS n FROM range(3000000) r(i) WHERE sha256(i::VARCHAR) LIKE '0%'"


@pytest.fixture
async def mine(tmp_path: Path) -> AsyncIterator[WholeEngine]:
    engine = make_engine(tmp_path / "scratch", memory_mb=300, threads=1, output_mb=20_000)
    await engine.start()
    yield engine
    await engine.close()
    assert list((tmp_path / "scratch").iterdir()) == []


class Running:
    """A query that has begun, and another one beside it."""

    def __init__(self, engine: WholeEngine, folder: Path, sql: str, seconds: float = 60) -> None:
        self.engine, self.target, self.beside = engine, folder / "target", folder / "beside"
        self.target.mkdir(exist_ok=True)
        self.beside.mkdir()
        self.task = self._start(self.target, sql, seconds)
        self.other = self._start(self.beside, OTHER, 60)

    def _start(self, target: Path, sql: str, seconds: float) -> asyncio.Task[QueryResult]:
        return asyncio.create_task(
            self.engine.write(make_plan(sql, (), seconds), file_url, WriteTarget.local(target), lambda _: None)
        )

    async def pid(self) -> int:
        """The process of the query, once it has written something."""
        for _ in range(400):
            await asyncio.sleep(0.05)
            if any(path.stat().st_size for path in self.target.iterdir()):
                break
        for child in (process.child for process in self.engine._processes.busy):
            files = Path(f"/proc/{child.pid}/fd").iterdir()
            if any(str(self.target) in str(fd.readlink()) for fd in files if fd.is_symlink()):
                assert child.pid
                return child.pid
        raise AssertionError("no process has the result open")

    async def failure(self) -> OrchestratorError:
        """The error that ended the query. Asserts that it left no file, and that the other query completes."""
        with pytest.raises(OrchestratorError) as raised:
            await self.task
        assert list(self.target.iterdir()) == []
        assert (await self.other).rows == 1
        assert str(self.target.parent) not in raised.value.message
        return raised.value


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "exit status -9: it was killed, perhaps because the machine ran out of memory"),
        (signal.SIGSEGV, "exit status -11: Segmentation fault"),
        (signal.SIGABRT, "exit status -6: Aborted"),
        (signal.SIGBUS, "exit status -7: Bus error"),
    ],
)
async def test_a_crash_costs_one_run(mine: WholeEngine, tmp_path: Path, number: signal.Signals, words: str) -> None:
    running = Running(mine, tmp_path, GROWING)
    os.kill(await running.pid(), number)
    error = await running.failure()
    assert isinstance(error, EngineCrashed)
    assert error.message == f"The process that ran the query ended unexpectedly ({words})."


async def test_running_out_of_memory_costs_one_run(mine: WholeEngine, tmp_path: Path) -> None:
    running = Running(mine, tmp_path, "SELECT list(i) AS a FROM range(200000000) r(i)")
    error = await running.failure()
    assert isinstance(error, OutOfMemory)
    assert error.message.startswith("The query needs more memory than it may use (300 MiB)")


async def test_memory_that_duckdb_does_not_count_costs_one_run(mine: WholeEngine, tmp_path: Path) -> None:
    running = Running(mine, tmp_path, "SELECT list(i) OVER () AS a FROM range(40000) r(i)")
    assert isinstance(await running.failure(), (OutOfMemory, EngineCrashed))


async def test_running_out_of_time_costs_one_run(mine: WholeEngine, tmp_path: Path) -> None:
    running = Running(mine, tmp_path, GROWING, seconds=3)
    await running.pid()
    assert isinstance(await running.failure(), QueryTimedOut)


async def test_a_cancelled_run_leaves_no_file(mine: WholeEngine, tmp_path: Path) -> None:
    running = Running(mine, tmp_path, GROWING)
    await running.pid()
    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task
    assert list(running.target.iterdir()) == []
    assert (await running.other).rows == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with a disk of its own that holds 20 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_result_that_fills_the_disk_costs_one_run(mine: WholeEngine, tmp_path: Path, small_disk: Path) -> None:
    (small_disk / "target").mkdir()
    (tmp_path / "target").symlink_to(small_disk / "target")
    error = await Running(mine, tmp_path, GROWING).failure()
    assert isinstance(error, OutputTooLarge)
    assert error.message.startswith("The result does not fit on the disk: ")
    assert str(small_disk) not in error.message
    assert list((small_disk / "target").iterdir()) == []


async def test_a_disk_that_others_filled_costs_one_run(mine: WholeEngine, tmp_path: Path, small_disk: Path) -> None:
    (small_disk / "others").write_bytes(b"x" * (20 << 20))
    (small_disk / "target").mkdir()
    (tmp_path / "target").symlink_to(small_disk / "target")
    error = await Running(mine, tmp_path, GROWING).failure()
    assert isinstance(error, StoreUnavailable)
    assert error.message.startswith("The disk is full, and the query needs more room on it: ")
    assert "the result" in error.message
    assert str(small_disk) not in error.message


async def test_a_full_disk_for_spilled_data_costs_one_run(tmp_path: Path, small_disk: Path) -> None:
    engine = make_engine(small_disk / "scratch", memory_mb=150, threads=1)
    sql = "SELECT random() AS a, md5(i::VARCHAR) AS b FROM range(9000000) r(i) ORDER BY 1, 2"
    error = await Running(engine, tmp_path, sql).failure()
    await engine.close()
    assert isinstance(error, (StoreUnavailable, OutOfMemory))
    assert "disk" in error.message
    assert list((small_disk / "scratch").iterdir()) == []


async def test_a_result_that_vanishes_while_it_is_written_is_the_disk_s_fault(
    mine: WholeEngine, tmp_path: Path
) -> None:
    running = Running(mine, tmp_path, "SELECT sha256(i::VARCHAR) AS s FROM range(3000000) r(i) ORDER BY s")
    file = running.target / "data_0.parquet"

    async def is_there() -> bool:
        return file.exists()

    await until(is_there, "the result to be begun")
    file.unlink()
    error = await running.failure()
    assert isinstance(error, StoreUnavailable)
    assert error.message == "A file on the disk is not as it was written."
