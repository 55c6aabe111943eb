"""The limits of a query, and its error message when it exceeds one."""

import asyncio
from pathlib import Path

import pytest

from orchestrator.model.errors import EngineCrashed, OutOfMemory, OutputTooLarge
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import LIMITS, WholeEngine, file_url, make_engine, make_plan
from tests.engines.duckdb.test_child_process import ENDLESS, pid_of_writer

# 64 hexadecimal digits a row, which compress to half their size at best.
WIDE = "SELECT sha256(i::VARCHAR) AS a FROM range({}) r(i)"
SPILLS = "SELECT random() AS a, md5(i::VARCHAR) AS b FROM range(2500000) r(i) ORDER BY 1, 2"


async def attempt(engine: WholeEngine, target: Path, sql: str, **limits: int) -> int:
    target.mkdir()
    own = LIMITS.model_copy(update=limits) if limits else None
    return (await engine.write(make_plan(sql, limits=own), file_url, WriteTarget.local(target), lambda _: None)).rows


async def test_a_plan_without_limits_has_those_of_the_worker(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "scratch", output_mb=1)
    try:
        with pytest.raises(OutputTooLarge) as raised:
            await attempt(engine, tmp_path / "a", WIDE.format(100_000))
        assert raised.value.message == "The result is larger than it may be (1 MiB)."
        assert await attempt(engine, tmp_path / "b", WIDE.format(100_000), output_mb=20) == 100_000
    finally:
        await engine.close()


async def test_a_plan_has_its_own_limit_of_memory(engine: WholeEngine, tmp_path: Path) -> None:
    sql = "SELECT list(i) AS a FROM range(20000000) r(i)"
    with pytest.raises(OutOfMemory, match=r"more memory than it may use \(100 MiB\)"):
        await attempt(engine, tmp_path / "a", sql, memory_mb=100)
    assert await attempt(engine, tmp_path / "b", sql, memory_mb=1500) == 1


@pytest.mark.parametrize("order", ["", " ORDER BY a"], ids=["several files", "one file"])
async def test_a_result_that_grows_too_large_is_ended_while_it_is_written(
    engine: WholeEngine, tmp_path: Path, order: str
) -> None:
    # The whole result would be 12 GB.
    rows = 200_000_000 if not order else 3_000_000
    with pytest.raises(OutputTooLarge, match=r"larger than it may be \(20 MiB\)"):
        await attempt(engine, tmp_path / "a", WIDE.format(rows) + order, output_mb=20)
    assert list((tmp_path / "a").iterdir()) == []


async def test_spilling_more_than_allowed_is_out_of_memory_that_names_both_limits(
    engine: WholeEngine, tmp_path: Path
) -> None:
    with pytest.raises(OutOfMemory) as raised:
        await attempt(engine, tmp_path / "a", SPILLS, memory_mb=100, temp_disk_mb=10)
    assert raised.value.message == (
        "The query needs more memory than it may use (100 MiB), and for what does not fit into it more temporary disk "
        "space than it may use (10 MiB)."
    )
    assert await attempt(engine, tmp_path / "b", SPILLS, memory_mb=100) == 2_500_000


async def test_the_threads_are_those_of_the_limits(tmp_path: Path) -> None:
    async def threads_of(limit: int) -> int:
        engine = make_engine(tmp_path / "scratch", threads=limit)
        task = asyncio.create_task(attempt(engine, tmp_path / f"target{limit}", ENDLESS))
        pid = await pid_of_writer(engine)
        count = len(list(Path(f"/proc/{pid}/task").iterdir()))
        await engine.close()
        with pytest.raises(EngineCrashed):
            await task
        return count

    assert await threads_of(4) - await threads_of(1) == 3
