"""What the measurements share: a client of the API, figures, tables and percentiles."""

import asyncio
import json
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import httpx
from rich.console import Console
from rich.table import Table

from orchestrator.devstack.stack import DevStack

Json = dict[str, Any]

# Asking costs the server several milliseconds: the longer something takes, the more seldom it is asked about.
_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS = 0.05, 0.5


@dataclass(frozen=True)
class Figure:
    """Values of one thing, in one unit: as many as there were rounds."""

    name: str
    values: list[float]
    unit: str = "s"

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)


class Api:
    """The calls that the measurements make."""

    def __init__(self, stack: DevStack) -> None:
        info = stack.info
        self.base_url = f"{info['api_url']}/api/projects/{info['project_id']}"
        self.headers = {"Authorization": f"Bearer {info['api_key']}"}
        self._http = httpx.AsyncClient(base_url=self.base_url, headers=self.headers, timeout=600)

    async def materialized(self, name: str, sql: str) -> str:
        """A view whose first run has ended."""
        view_id = await self.create(name, sql)
        await self.call("POST", f"/warehouse_saved_queries/{view_id}/materialize/")
        await self.ended(view_id, runs=1)
        return view_id

    async def create(self, name: str, sql: str) -> str:
        """A view that is not materialized."""
        return str(
            (await self.call("POST", "/warehouse_saved_queries/", {"name": name, "query": {"query": sql}}))["id"]
        )

    async def add_table(self, name: str, pattern: Path, file_format: str) -> None:
        """Register files as a source table."""
        body = {"name": name, "format": file_format, "url_pattern": str(pattern)}
        await self.call("POST", "/warehouse_tables/", body)

    async def edit(self, view_id: str, sql: str) -> None:
        """Give a view another query."""
        body = {"query": {"query": sql}, "soft_update": True}
        await self.call("PATCH", f"/warehouse_saved_queries/{view_id}/", body)

    async def run(self, *view_ids: str) -> float:
        """Start a run of each and wait; the seconds from the first request to the last publication.

        The end is what the product recorded, by the clock of this machine, not when somebody came to look.
        """
        before = [len(await self.history(view_id)) for view_id in view_ids]
        began = time.time()
        await asyncio.gather(*(self.call("POST", f"/warehouse_saved_queries/{v}/run/") for v in view_ids))
        ends = [await self.ended(view_id, runs=runs + 1) for view_id, runs in zip(view_ids, before, strict=True)]
        return max(ends) - began

    async def ended(self, view_id: str, *, runs: int) -> float:
        """When the last of that many runs ended. Raises RuntimeError if the newest did not complete."""
        pause = _FIRST_POLL_SECONDS
        while True:
            history = await self.history(view_id)
            if len(history) >= runs and all(run["status"] != "Running" for run in history):
                break
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LAST_POLL_SECONDS)
        if history[0]["status"] != "Completed":
            raise RuntimeError(f"a run {history[0]['status']}: {history[0]['error']}")
        return datetime.fromisoformat(history[0]["finished_at"]).timestamp()

    async def history(self, view_id: str) -> list[Json]:
        """The last runs of a view, newest first."""
        found: list[Json] = (await self.call("GET", f"/warehouse_saved_queries/{view_id}/run_history/?limit=100"))[
            "run_history"
        ]
        return found

    async def call(self, method: str, path: str, body: object = None) -> Json:
        """What the API answers. Raises httpx.HTTPStatusError."""
        answer = await self._http.request(method, path, json=body)
        answer.raise_for_status()
        found: Json = answer.json() if answer.content else {}
        return found


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """The seconds that it took."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def percentile(values: Sequence[float], share: float) -> float:
    """The value that the given share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def show(title: str, figures: Sequence[Figure], *, percentiles: bool = False) -> None:
    """Print a table: the median and the extremes, or the median, the 99th percentile and the maximum."""
    heads = ("median", "p99", "most") if percentiles else ("median", "least", "most")
    table = Table("what", *heads, "unit", "rounds", title=title)
    for figure in figures:
        middle = percentile(figure.values, 0.99) if percentiles else min(figure.values)
        shown = (f"{value:.3g}" for value in (figure.median, middle, max(figure.values)))
        table.add_row(figure.name, *shown, figure.unit, str(len(figure.values)))
    Console().print(table)


def say(text: str) -> None:
    """Print a line."""
    Console(highlight=False).print(text)


def save(path: Path, figures: Sequence[Figure]) -> None:
    """Write every figure to a file, with the machine that it was taken on."""
    machine = {"machine": platform.platform(), "python": platform.python_version(), "duckdb": duckdb.__version__}
    path.write_text(json.dumps(machine | {"figures": [asdict(figure) for figure in figures]}, indent=2) + "\n")
