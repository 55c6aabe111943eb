"""`make bench`: what a run costs beside the same SQL in plain DuckDB, measured in turn on an embedded stack.

Absolute times depend on the machine and on what else it does; the ratios are what to look at.
"""

import argparse
import asyncio
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx
from rich.console import Console
from rich.table import Table

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
# Seldom enough that asking does not compete with the work for the processor.
_POLL_SECONDS = 0.05
SMALL = "SELECT i % 10 AS k, sum(i) AS total, {number} AS number FROM range(1000) t(i) GROUP BY 1"


@dataclass(frozen=True)
class Figure:
    """Seconds of one thing: as many as there were rounds."""

    name: str
    seconds: list[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)


class Api:
    """The calls that the measurements make."""

    def __init__(self, stack: DevStack) -> None:
        info = stack.info
        self._http = httpx.AsyncClient(
            base_url=f"{info['api_url']}/api/projects/{info['project_id']}/warehouse_saved_queries",
            headers={"Authorization": f"Bearer {info['api_key']}"},
            timeout=600,
        )

    async def materialized(self, name: str, sql: str) -> str:
        """A view whose first run has ended."""
        body = {"name": name, "query": {"query": sql}}
        view_id = str((await self._call("POST", "/", body))["id"])
        await self._call("POST", f"/{view_id}/materialize/")
        await self.ended(view_id, runs=1)
        return view_id

    async def run(self, view_id: str) -> None:
        """Start a run and return when it has completed."""
        before = len(await self._history(view_id))
        await self._call("POST", f"/{view_id}/run/")
        await self.ended(view_id, runs=before + 1)

    async def ended(self, view_id: str, *, runs: int) -> None:
        """Return when that many runs have ended. Raises RuntimeError if the newest did not complete."""
        while True:
            history = await self._history(view_id)
            if len(history) >= runs and all(run["status"] != "Running" for run in history):
                break
            await asyncio.sleep(_POLL_SECONDS)
        if history[0]["status"] != "Completed":
            raise RuntimeError(f"a run {history[0]['status']}: {history[0]['error']}")

    async def _history(self, view_id: str) -> list[dict[str, Any]]:
        history: list[dict[str, Any]] = (await self._call("GET", f"/{view_id}/run_history/?limit=100"))["run_history"]
        return history

    async def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = await self._http.request(method, path, json=body)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


def plain(sql: str, folder: Path) -> None:
    """The same work without the product: one connection, one COPY with the same options."""
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(
            f"COPY ({sql}) TO '{folder}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION V2, "
            "FILE_SIZE_BYTES '256MB', OVERWRITE true)"
        )


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """The seconds that it took."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def big_view(api: Api, folder: Path, rounds: int, rows: int) -> list[Figure]:
    """One view with a large result: product and plain DuckDB in turn."""
    sql = BIG.format(rows=rows)
    view_id = await api.materialized("big", sql)
    ours, floor = [], []
    for _ in range(rounds):
        ours.append(await timed(lambda: api.run(view_id)))
        floor.append(await timed(lambda: asyncio.to_thread(plain, sql, folder / "big")))
    return [Figure(f"one view of {rows:,} rows, run", ours), Figure(f"one view of {rows:,} rows, plain DuckDB", floor)]


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


async def measure(rounds: int, rows: int, count: int) -> list[Figure]:
    """Everything, on a stack that is started for it."""
    with tempfile.TemporaryDirectory(prefix="mv-bench-") as name:
        folder = Path(name)
        starts: list[float] = []
        for _ in range(rounds):
            stack = DevStack(folder / "home", bootstrap=bootstrap, say=print)
            began = time.perf_counter()
            async with stack:
                starts.append(time.perf_counter() - began)
        async with DevStack(folder / "home", bootstrap=bootstrap, say=print) as stack:
            api = Api(stack)
            big = await big_view(api, folder, rounds, rows)
            small = await small_views(api, folder, rounds, count)
        return [Figure("the stack's first start", starts[:1]), Figure("a later start", starts[1:]), *big, *small]


def show(figures: list[Figure]) -> None:
    """Print a table, and what the product adds."""
    table = Table("what", "median s", "least", "most", "rounds")
    for figure in figures:
        shown = (f"{value:.2f}" for value in (figure.median, min(figure.seconds), max(figure.seconds)))
        table.add_row(figure.name, *shown, str(len(figure.seconds)))
    console = Console()
    console.print(table)
    for ours, floor in ((figures[2], figures[3]), (figures[4], figures[5])):
        ratio = statistics.median(a / b for a, b in zip(ours.seconds, floor.seconds, strict=True))
        console.print(f"{ours.name}: {ratio:.2f} times plain DuckDB")


def main() -> None:
    """Measure, show and save."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=4_000_000, help="rows of the big view")
    parser.add_argument("--views", type=int, default=50, help="how many small views")
    parser.add_argument("--json", type=Path, help="a file to write every figure to")
    asked = parser.parse_args()
    figures = asyncio.run(measure(max(2, asked.rounds), asked.rows, asked.views))
    show(figures)
    if asked.json:
        machine = {"machine": platform.platform(), "python": platform.python_version(), "duckdb": duckdb.__version__}
        asked.json.write_text(
            json.dumps(machine | {"figures": [asdict(figure) for figure in figures]}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
