import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.engines.admission import Admission, sharing_slot
from orchestrator.model.errors import EngineCrashed, OutOfMemory, WorkerBusy
from orchestrator.model.run import Progress
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import LIMITS, WholeEngine, file_url, make_engine, make_plan
from tests.engines.duckdb.test_child_process import ENDLESS


def silent() -> None:
    pass


class Guest:
    """A query that asks for memory, and holds it until `leave` is called."""

    def __init__(
        self, admission: Admission, memory_mb: int, on_wait: Callable[[], None] = silent, project: int = 0
    ) -> None:
        self._admission, self._memory_mb, self._on_wait, self._project = admission, memory_mb, on_wait, project
        self._leaving = asyncio.Event()
        self.is_in = False
        self.task = asyncio.create_task(self._stay())

    async def _stay(self) -> None:
        async with self._admission.admit(self._memory_mb, self._on_wait, project_id=self._project):
            self.is_in = True
            await self._leaving.wait()

    async def leave(self) -> None:
        self._leaving.set()
        await self.task


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_only_so_many_are_in_as_the_memory_holds() -> None:
    admission = Admission(1000)
    guests = [Guest(admission, 400) for _ in range(5)]
    for count in (2, 3, 4, 5):
        await settled()
        assert [guest.is_in for guest in guests] == [True] * count + [False] * (5 - count)
        await guests[count - 2].leave()
    await guests[-1].leave()


async def test_a_small_one_does_not_overtake_a_large_one() -> None:
    admission = Admission(1000)
    first, large, small = Guest(admission, 600), Guest(admission, 1000), Guest(admission, 100)
    await settled()
    assert (first.is_in, large.is_in, small.is_in) == (True, False, False)
    await first.leave()
    await settled()
    assert (large.is_in, small.is_in) == (True, False)
    await large.leave()
    await small.leave()


async def test_who_is_cancelled_while_waiting_lets_the_next_one_in() -> None:
    admission = Admission(1000)
    first, large, small = Guest(admission, 600), Guest(admission, 1000), Guest(admission, 100)
    await settled()
    large.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await large.task
    await settled()
    assert small.is_in
    await first.leave()
    await small.leave()
    everything = Guest(admission, 1000)
    await settled()
    assert everything.is_in
    await everything.leave()


async def test_who_is_cancelled_at_the_moment_it_is_let_in_keeps_nothing() -> None:
    admission = Admission(1000)
    first, second = Guest(admission, 1000), Guest(admission, 1000)
    await settled()
    first._leaving.set()
    await asyncio.sleep(0)
    second.task.cancel()
    await asyncio.gather(first.task, second.task, return_exceptions=True)
    third = Guest(admission, 1000)
    await settled()
    assert third.is_in
    await third.leave()


async def test_who_waits_too_long_may_come_again_later() -> None:
    admission = Admission(1000, max_wait_seconds=0.2)
    first, second = Guest(admission, 1000), Guest(admission, 1000)
    with pytest.raises(WorkerBusy):
        await second.task
    await first.leave()
    third = Guest(admission, 1000)
    await settled()
    assert third.is_in
    await third.leave()


async def test_who_needs_more_than_there_is_never_waits() -> None:
    with pytest.raises(OutOfMemory) as raised:
        await Guest(Admission(1000), 1001).task
    assert raised.value.message == (
        "The query may use 1,001 MiB of memory, but the queries of this worker may use only 1,000 MiB together "
        "(MATVIEW_WORKER_MEMORY_MB)."
    )


async def test_who_waits_is_called_a_few_times_a_second() -> None:
    admission = Admission(1000)
    calls: list[float] = []
    first = Guest(admission, 1000, lambda: calls.append(-1))
    second = Guest(admission, 1000, lambda: calls.append(time.monotonic()))
    await asyncio.sleep(1.2)
    await first.leave()
    await second.leave()
    assert -1 not in calls
    assert 3 <= len(calls) <= 12


async def test_closing_sends_away_who_waits() -> None:
    admission = Admission(1000)
    first, second = Guest(admission, 1000), Guest(admission, 1000)
    await settled()
    admission.close()
    with pytest.raises(EngineCrashed, match="while the query waited"):
        await second.task
    await first.leave()


def held(guests: list[Guest]) -> list[bool]:
    return [guest.is_in for guest in guests]


@pytest.mark.parametrize("queries", [1, 2, 5])
async def test_a_project_runs_all_queries_but_one(queries: int) -> None:
    admission = Admission(10_000, queries=queries, reserve_mb=100)
    ours = [Guest(admission, 100, project=1) for _ in range(queries + 1)]
    await settled()
    assert held(ours) == [True] * queries + [False]
    other = Guest(admission, 100, project=2)
    await settled()
    assert other.is_in
    third = Guest(admission, 100, project=3)
    await settled()
    assert not third.is_in
    await ours[0].leave()
    await settled()
    # A project that runs nothing comes first; of several, the one that has waited longest.
    assert (third.is_in, ours[-1].is_in) == ((False, True) if queries == 1 else (True, False))
    for guest in (*ours[1:-1], other, *((ours[-1], third) if queries == 1 else (third, ours[-1]))):
        await guest.leave()


async def test_a_project_leaves_memory_for_the_query_of_another() -> None:
    admission = Admission(1000, queries=5, reserve_mb=400)
    ours = [Guest(admission, 300, project=1) for _ in range(3)]
    await settled()
    assert held(ours) == [True, True, False]
    other = Guest(admission, 400, project=2)
    await settled()
    assert other.is_in
    await other.leave()
    assert held(ours) == [True, True, False]
    for guest in ours:
        await guest.leave()


async def test_a_single_query_may_take_all_memory() -> None:
    admission = Admission(1000, queries=2, reserve_mb=400)
    only = Guest(admission, 1000, project=1)
    await settled()
    assert only.is_in
    await only.leave()


async def test_a_large_query_is_overtaken_by_projects_that_run_nothing_for_a_while_only() -> None:
    admission = Admission(1000, max_wait_seconds=2, queries=9)
    running, large = Guest(admission, 500, project=1), Guest(admission, 1000, project=2)
    small = Guest(admission, 100, project=3)
    await settled()
    assert (running.is_in, large.is_in, small.is_in) == (True, False, True)
    await asyncio.sleep(1.2)
    late = Guest(admission, 100, project=4)
    await settled()
    assert not late.is_in
    for guest in (running, small):
        await guest.leave()
    await settled()
    assert (large.is_in, late.is_in) == (True, False)
    for guest in (large, late):
        await guest.leave()


async def test_who_waits_for_its_own_project_in_the_last_place_makes_way() -> None:
    admission = Admission(1000, queries=2, reserve_mb=100)
    ours = [Guest(admission, 100, project=1) for _ in range(3)]
    with pytest.raises(WorkerBusy):
        await ours[2].task
    assert held(ours) == [True, True, False]
    # It keeps waiting if the worker has another place left.
    await ours[1].leave()
    crowded = Admission(100, queries=3)
    first, second = Guest(crowded, 100, project=1), Guest(crowded, 100, project=1)
    await asyncio.sleep(1.6)
    assert not second.task.done()
    for guest in (ours[0], first, second):
        await guest.leave()


async def test_those_that_share_a_place_take_one() -> None:
    admission = Admission(1000, queries=2, reserve_mb=100)
    with sharing_slot():
        ours = [Guest(admission, 100, project=1) for _ in range(6)]
    await asyncio.sleep(1.6)
    assert held(ours) == [True, True, *[False] * 4]
    assert not any(guest.task.done() for guest in ours)
    rest = [Guest(admission, 100, project=1) for _ in range(2)]
    for guest in ours[2:]:  # now all three places are taken
        with pytest.raises(WorkerBusy):
            await guest.task
    for guest in ours[:2]:
        await guest.leave()
    await settled()
    assert held(rest) == [True, True]
    for guest in rest:
        await guest.leave()


class Query:
    """A query that was handed to an engine, and the progress that the engine reported."""

    def __init__(self, engine: WholeEngine, target: Path, sql: str, memory_mb: int, seconds: float = 60) -> None:
        target.mkdir()
        plan = make_plan(sql, (), seconds, LIMITS.model_copy(update={"memory_mb": memory_mb}))
        self.observed: list[Progress] = []
        self.task = asyncio.create_task(engine.write(plan, file_url, WriteTarget.local(target), self.observed.append))

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never happened")


async def test_a_query_waits_for_the_memory_of_others_and_says_so(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "scratch", worker_memory_mb=600)
    try:
        running = Query(engine, tmp_path / "a", ENDLESS, 500)
        await until(lambda: running.observed)
        # The query's time limit begins when the query does, not before.
        waiting = Query(engine, tmp_path / "b", "SELECT 1 AS a", 200, seconds=5)
        await until(lambda: len(waiting.observed) > 2)
        assert all(progress.waiting and progress.percent is None for progress in waiting.observed)
        assert not any(progress.waiting for progress in running.observed)
        assert len(engine._processes.busy) == 1
        assert len(list((tmp_path / "scratch").iterdir())) == 1
        await running.cancel()
        assert (await waiting.task).rows == 1
    finally:
        await engine.close()


async def test_a_query_that_waits_is_cancelled_at_once(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "scratch", worker_memory_mb=600)
    try:
        running = Query(engine, tmp_path / "a", ENDLESS, 500)
        await until(lambda: running.observed)
        waiting = Query(engine, tmp_path / "b", "SELECT 1 AS a", 500)
        await until(lambda: waiting.observed)
        began = time.monotonic()
        await waiting.cancel()
        assert waiting.task.cancelled()
        assert time.monotonic() - began < 2
        await running.cancel()
    finally:
        await engine.close()


async def test_a_query_that_no_worker_of_this_size_can_run_fails_for_good(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "scratch", worker_memory_mb=600)
    with pytest.raises(OutOfMemory, match="MATVIEW_WORKER_MEMORY_MB"):
        await Query(engine, tmp_path / "a", "SELECT 1", 700).task
    assert not (tmp_path / "scratch").exists()
    await engine.close()
