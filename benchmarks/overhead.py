"""What a run costs beside the same SQL in plain DuckDB, in time and in memory, measured in turn."""

import asyncio
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.common import Api, Figure, say, show, timed
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
SMALL = "SELECT i % 10 AS k, sum(i) AS total, {number} AS number FROM range(1000) t(i) GROUP BY 1"
_SAMPLE_SECONDS = 0.02


def plain(sql: str, folder: Path) -> None:
    """The same work without the product: one connection, one COPY with the same options."""
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET enable_progress_bar = false")
        connection.execute(
            f"COPY ({sql}) TO '{folder}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION V2, "
            "FILE_SIZE_BYTES '256MB', OVERWRITE true)"
        )


@dataclass
class Peak:
    """The most memory that was seen, in MiB."""

    mib: float = 0


@contextmanager
def watched(root: int) -> Iterator[Peak]:
    """Meanwhile, look at how much memory a process and all below it hold; what they share counts once."""
    peak, over = Peak(), threading.Event()

    def look() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            peak.mib = max(peak.mib, sum(_memory_mib(pid) for pid in below(root)))

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


async def big_view(stack: DevStack, folder: Path, rounds: int, rows: int) -> list[Figure]:
    """One view with a large result: product and plain DuckDB in turn, each in processes of their own."""
    api, sql = Api(stack), BIG.format(rows=rows)
    view_id = await api.materialized("big", sql)
    ours, floor, our_peaks, floor_peaks = [], [], [], []
    for _ in range(rounds):
        with watched(stack.info["pids"]["worker"]) as peak:
            ours.append(await timed(lambda: api.run(view_id)))
        our_peaks.append(peak.mib)
        seconds, mib = await asyncio.to_thread(_plain_apart, sql, folder / "big")
        floor.append(seconds)
        floor_peaks.append(mib)
    name = f"one view of {rows:,} rows"
    return [
        Figure(f"{name}, run", ours),
        Figure(f"{name}, plain DuckDB", floor),
        Figure(f"{name}, memory of the worker and its child", our_peaks, "MiB"),
        Figure(f"{name}, memory of plain DuckDB", floor_peaks, "MiB"),
    ]


def _plain_apart(sql: str, folder: Path) -> tuple[float, float]:
    """Seconds and MiB of plain DuckDB in a process of its own; its start is not counted."""
    script = (
        "import sys, time; from pathlib import Path; from benchmarks.overhead import plain\n"
        "began = time.perf_counter(); plain(sys.argv[1], Path(sys.argv[2])); print(time.perf_counter() - began)"
    )
    command = [sys.executable, "-c", script, sql, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - it is this program
    with process, watched(process.pid) as peak:
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
        ours.append(await timed(lambda: asyncio.gather(*(api.run(view_id) for view_id in view_ids))))
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
        big = await big_view(stack, folder, rounds, rows)
        small = await small_views(Api(stack), folder, rounds, count)
    figures = [Figure("the stack's first start", starts[:1]), Figure("a later start", starts[1:]), *big, *small]
    show("Overhead", figures)
    for ours, floor in (big[:2], big[2:], small):
        ratio = statistics.median(a / b for a, b in zip(ours.values, floor.values, strict=True))
        say(f"{ours.name}: {ratio:.2f} times plain DuckDB")
    return figures
