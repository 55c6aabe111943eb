"""What a run costs beside the same SQL in plain DuckDB, in time and in memory, measured in turn."""

import asyncio
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import Api, Figure, say, show, timed
from benchmarks.floor import plain
from benchmarks.isolation import measure_isolation
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack

# Twelve columns of several kinds, so that writing is most of the work, as it is for real results.
BIG = """
SELECT i AS id, i % 1000 AS k, (i * 7919) % 100003 / 7.0 AS x, (i * 104729) % 1000003 AS y,
       'customer ' || (i % 5000) AS name, md5(i::VARCHAR) AS digest, TIMESTAMP '2020-01-01' + to_seconds(i) AS at,
       (i % 3 = 0) AS flag, (i % 10000)::DECIMAL(12, 2) AS price, [i % 3, i % 5] AS pair, i // 60 AS minute,
       i % 24 AS hour
FROM range({rows}) t(i)
"""
# The same, all of which has to be held before anything is written.
ORDERED = BIG + "ORDER BY digest"
SMALL = "SELECT i % 10 AS k, sum(i) AS total, {number} AS number FROM range(1000) t(i) GROUP BY 1"
_SAMPLE_SECONDS = 0.02
_MEMORY_ROUNDS = 3
_SMALL_ROUNDS = 50


@dataclass
class Peak:
    """The most memory that was seen, in MiB: of all, and of one that is not the first."""

    mib: float = 0
    child_mib: float = 0


@contextmanager
def watched(root: int) -> Iterator[Peak]:
    """Meanwhile, look at how much memory a process and all below it hold; what they share counts once."""
    peak, over = Peak(), threading.Event()

    def look() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            first, *others = (_memory_mib(pid) for pid in below(root))
            peak.mib = max(peak.mib, first + sum(others))
            peak.child_mib = max(peak.child_mib, *others, 0)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def below(root: int) -> list[int]:
    """A process and all its descendants."""
    found = [root]
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:
                continue
    return found


def _memory_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0)


async def big_view(stack: DevStack, folder: Path, rounds: int, kind: str, sql: str) -> list[Figure]:
    """One view with a large result: product and plain DuckDB in turn, each in processes of their own.

    Looking at memory takes time, so it is done in rounds of its own.
    """
    api, worker = Api(stack), stack.info["pids"]["worker"]
    view_id = await api.materialized("".join(c if c.isalnum() else "_" for c in f"v_{kind}"), sql)
    ours, floor, our_peaks, child_peaks, floor_peaks = [], [], [], [], []
    for _ in range(rounds):
        ours.append(await api.run(view_id))
        floor.append((await asyncio.to_thread(_plain_apart, sql, folder / "big", watch=False))[0])
    for _ in range(_MEMORY_ROUNDS):
        with watched(worker) as peak:
            await api.run(view_id)
        our_peaks.append(peak.mib)
        child_peaks.append(peak.child_mib)
        floor_peaks.append((await asyncio.to_thread(_plain_apart, sql, folder / "big", watch=True))[1])
    return [
        Figure(f"{kind}, run", ours),
        Figure(f"{kind}, plain DuckDB", floor),
        Figure(f"{kind}, memory of the worker and its children", our_peaks, "MiB"),
        Figure(f"{kind}, memory of plain DuckDB", floor_peaks, "MiB"),
        Figure(f"{kind}, memory of the query's process alone", child_peaks, "MiB"),
    ]


def _plain_apart(sql: str, folder: Path, *, watch: bool) -> tuple[float, float]:
    """Seconds and MiB of plain DuckDB in a process of its own; its start is not counted."""
    command = [sys.executable, "-m", "benchmarks.floor", sql, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - it is this program
    with process, watched(process.pid) if watch else nullcontext(Peak()) as peak:
        told, _ = process.communicate()
    return float(told), peak.mib


async def small_views(api: Api, folder: Path, rounds: int, count: int) -> list[Figure]:
    """Many small views, all run at once: product and plain DuckDB in turn."""
    statements = [SMALL.format(number=number) for number in range(count)]
    view_ids = [await api.materialized(f"small_{number}", sql) for number, sql in enumerate(statements)]
    ours, floor = [], []

    async def all_plain() -> None:
        for number, sql in enumerate(statements):
            await asyncio.to_thread(plain, sql, folder / f"small-{number}")

    for _ in range(rounds):
        ours.append(await api.run(*view_ids))
        floor.append(await timed(all_plain))
    return [Figure(f"{count} small views, run", ours), Figure(f"{count} small views, plain DuckDB", floor)]


async def measure(folder: Path, rounds: int, rows: int, count: int) -> list[Figure]:
    """Everything, on a stack that is started for it."""
    starts: list[float] = []
    for _ in range(rounds):
        stack = DevStack(folder / "home", bootstrap=bootstrap, say=say)
        began = time.perf_counter()
        async with stack:
            starts.append(time.perf_counter() - began)
    async with DevStack(folder / "home", bootstrap=bootstrap, say=say) as stack:
        big = await big_view(stack, folder, rounds, f"{rows:,} rows", BIG.format(rows=rows))
        ordered = await big_view(stack, folder, rounds, f"{rows:,} rows in order", ORDERED.format(rows=rows))
        small = await small_views(Api(stack), folder, rounds, count)
    isolation = await measure_isolation(folder, _SMALL_ROUNDS)
    startup = [Figure("the stack's first start", starts[:1]), Figure("a later start", starts[1:])]
    figures = [*startup, *big, *ordered, *small, *isolation]
    show("Overhead", figures)
    for ours, floor in (big[:2], big[2:4], ordered[:2], ordered[2:4], small):
        ratio = statistics.median(a / b for a, b in zip(ours.values, floor.values, strict=True))
        say(f"{ours.name}: {ratio:.2f} times plain DuckDB")
    return figures
