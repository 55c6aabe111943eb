"""Measures the memory of a run beside plain DuckDB with the same SQL, and the time that a process of its own costs."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import Api, Measurement, say, show
from benchmarks.process_cost import measure_isolation
from benchmarks.processes import below
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
# The same rows, sorted: DuckDB has to hold all of them before it writes any.
ORDERED = BIG + "ORDER BY digest"
# One of many small views. Its query takes next to nothing, so that the cost of the rest of a run shows.
SMALL = "SELECT i % 10 AS k, sum(i) AS total, {number} AS number FROM range(1000) t(i) GROUP BY 1"
_SAMPLE_SECONDS = 0.02


@dataclass
class Peak:
    """The most memory seen, in MiB: of a process with its descendants, and of a single descendant."""

    mib: float = 0
    child_mib: float = 0


@contextmanager
def watched(root: int) -> Iterator[Peak]:
    """Sample the memory of a process and its descendants while the context is open; shared memory counts once."""
    peak, over = Peak(), threading.Event()

    def look() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            first, *others = (memory_mib(pid) for pid in below(root))
            peak.mib = max(peak.mib, first + sum(others))
            peak.child_mib = max(peak.child_mib, *others, 0)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def memory_mib(pid: int) -> float:
    """The memory of a process, with its share of what it shares; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0)


async def memory(stack: DevStack, folder: Path, rounds: int, kind: str, sql: str) -> list[Measurement]:
    """Measure one view with a large result: the product and plain DuckDB in turn, each in processes of their own."""
    api, worker = Api(stack), stack.info["pids"]["worker"]
    view_id = await api.materialized("".join(c if c.isalnum() else "_" for c in f"v_{kind}"), sql)
    ours, children, floor = [], [], []
    for _ in range(rounds):
        with watched(worker) as peak:
            await api.run(view_id)
        ours.append(peak.mib)
        children.append(peak.child_mib)
        floor.append((await asyncio.to_thread(plain_apart, sql, folder / "big", watch=True))[1])
    return [
        Measurement(f"{kind}, memory of the worker and its children", ours, "MiB"),
        Measurement(f"{kind}, memory of the query's process alone", children, "MiB"),
        Measurement(f"{kind}, memory of plain DuckDB", floor, "MiB"),
    ]


def plain_apart(
    sql: str, folder: Path, sources: Mapping[str, Path] | None = None, *, watch: bool = False
) -> tuple[float, float]:
    """Run plain DuckDB in its own process; returns the seconds without its start, and with `watch` the peak in MiB."""
    named = [f"{name}={path}" for name, path in (sources or {}).items()]
    command = [sys.executable, "-m", "benchmarks.baseline", sql, str(folder), *named]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - it is this program
    with process, watched(process.pid) if watch else nullcontext(Peak()) as peak:
        output, _ = process.communicate()
    return float(output), peak.mib


async def measure(folder: Path, rounds: int, rows: int, starts: int) -> list[Measurement]:
    """Measure everything, on a stack that is started for it."""
    async with DevStack(folder / "home", bootstrap=bootstrap, say=say) as stack:
        big = await memory(stack, folder, rounds, f"{rows:,} rows", BIG.format(rows=rows))
        ordered = await memory(stack, folder, rounds, f"{rows:,} rows in order", ORDERED.format(rows=rows))
    figures = [*big, *ordered, *await measure_isolation(folder, starts)]
    show("Memory, and what a process of its own costs", figures)
    return figures
