"""Parts that the measurements share: a client of the API, figures, tables and percentiles."""

import asyncio
import json
import os
import platform
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import httpx
from rich.console import Console
from rich.table import Table

from orchestrator.devstack.home import DevInfo
from orchestrator.devstack.stack import DevStack

Json = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")

# A poll costs the server several milliseconds. So the pause between two polls grows from the first to the last value.
_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS = 0.05, 0.5
# How many views are created at a time where their creation is not measured.
MADE_AT_ONCE = 8
# With hundreds at once, waiting for the client's own connection pool takes as long as all that is measured.
_ASKED_AT_ONCE = 16
_WIDTH = 120


@dataclass(frozen=True)
class Measurement:
    """The values of one figure, in one unit: one for each round or call."""

    name: str
    values: list[float]
    unit: str = "s"

    @property
    def median(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)


class Api:
    """The calls that the measurements make."""

    def __init__(self, stack: DevStack | DevInfo) -> None:
        info = stack.info if isinstance(stack, DevStack) else stack
        self.alive_url = f"{info['api_url']}/livez"
        self.base_url = f"{info['api_url']}/api/projects/{info['project_id']}"
        self.headers = {"Authorization": f"Bearer {info['api_key']}"}
        # The server closes a connection that is idle for five seconds. The client drops it first, or a call could fail.
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=2)
        self._http = httpx.AsyncClient(base_url=self.base_url, headers=self.headers, timeout=600, limits=limits)
        self._runs: Counter[str] = Counter()

    async def materialized(self, name: str, sql: str) -> str:
        """Create a view and materialize it; returns its id when its first run has ended."""
        view_id = await self.create(name, sql)
        await self.call("POST", f"/warehouse_saved_queries/{view_id}/materialize/")
        await self.ended(view_id, runs=1)
        return view_id

    async def all_materialized(self, statements: Mapping[str, str]) -> list[str]:
        """Materialize a view for each name and statement; returns their ids when all first runs have ended."""
        return await at_once(MADE_AT_ONCE, lambda item: self.materialized(*item), statements.items())

    async def create(self, name: str, sql: str) -> str:
        """Create a view that is not materialized; returns its id."""
        return str(
            (await self.call("POST", "/warehouse_saved_queries/", {"name": name, "query": {"query": sql}}))["id"]
        )

    async def add_table(self, name: str, pattern: Path, file_format: str) -> None:
        """Register files as a source table."""
        body = {"name": name, "format": file_format, "url_pattern": str(pattern)}
        await self.call("POST", "/warehouse_tables/", body)

    async def edit(self, view_id: str, sql: str) -> None:
        """Change the query of a view."""
        body = {"query": {"query": sql}, "soft_update": True}
        await self.call("PATCH", f"/warehouse_saved_queries/{view_id}/", body)

    async def run(self, *view_ids: str, undisturbed: float = 0) -> float:
        """Run each view and wait; returns the seconds from the first request to the last publication.

        The end is the time that the product recorded, by the clock of this machine, and not that of a poll. For the
        first `undisturbed` seconds the client does not poll, since a poll takes processor time.
        """
        before = [len(await self.history(view_id)) for view_id in view_ids]
        began = time.time()
        await self._act("run", view_ids)
        await asyncio.sleep(undisturbed)
        # The last first: once that run has ended, mostly all have, and polling the others slows no run down.
        asked = reversed(list(zip(view_ids, before, strict=True)))
        ends = [await self.ended(view_id, runs=runs + 1) for view_id, runs in asked]
        return max(ends) - began

    async def run_promptly(self, *view_ids: str, first: bool = False) -> float:
        """Run each view; returns the seconds until a client that polls every 0.05 seconds has seen that all have ended.

        Args:
            view_ids: Views whose earlier runs, if there were any, were all waited for through this object.
            first: Materialize the views, so that these are their first runs.
        """
        action = "materialize" if first else "run"
        began = time.perf_counter()
        await self._act(action, view_ids)
        for view_id in view_ids:
            await self.ended(view_id, runs=self._runs[view_id] + 1, longest_pause=_FIRST_POLL_SECONDS)
        return time.perf_counter() - began

    async def refresh(self, select: Json, **more: object) -> tuple[float, Json]:
        """Refresh views as one generation; returns the seconds from the request to its end, and itself.

        The end is the time that the product recorded, as in `run`. Raises RuntimeError if a view failed.
        """
        began = time.time()
        started = await self.call("POST", "/generations/", {"select": select, **more})
        while True:
            # Each pause is as long as all before it: a long refresh is not slowed by many polls.
            await asyncio.sleep(max(_FIRST_POLL_SECONDS, time.time() - began))
            newest = (await self.call("GET", "/generations/?page_size=1"))["results"][0]
            if newest["id"] != started["id"]:
                raise RuntimeError("another client has started a generation since")
            if newest["status"] != "Running":
                break
        seconds = datetime.fromisoformat(newest["finished_at"]).timestamp() - began
        if newest["status"] not in {"Completed", "Skipped"}:
            raise RuntimeError(f"a generation {newest['status']}: {newest['counts']}")
        return seconds, newest

    async def _act(self, action: str, view_ids: Sequence[str]) -> None:
        paths = (f"/warehouse_saved_queries/{view_id}/{action}/" for view_id in view_ids)
        body = {"full_refresh": True} if action == "run" else None
        await at_once(_ASKED_AT_ONCE, lambda path: self.call("POST", path, body), paths)

    async def ended(self, view_id: str, *, runs: int, longest_pause: float = _LAST_POLL_SECONDS) -> float:
        """Wait until so many runs have ended; returns when the newest did. Raises RuntimeError if it did not complete.

        The pause between two polls grows up to `longest_pause` seconds.
        """
        pause = _FIRST_POLL_SECONDS
        while True:
            history = await self.history(view_id)
            if len(history) >= runs and all(run["status"] != "Running" for run in history):
                break
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, longest_pause)
        self._runs[view_id] = len(history)
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
        """Send a request; returns the JSON of the answer. Raises httpx.HTTPStatusError."""
        answer = await self.ask(method, path, body)
        found: Json = answer.json() if answer.content else {}
        return found

    async def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Send a request; returns the answer, whose body is not parsed. Raises httpx.HTTPStatusError."""
        answer = await self._http.request(method, path, json=body)
        answer.raise_for_status()
        return answer


async def at_once(count: int, work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
    """Do the work for all items, `count` at a time; returns the results in the order of the items."""
    paced = asyncio.Semaphore(count)

    async def one(item: T) -> R:
        async with paced:
            return await work(item)

    return await asyncio.gather(*(one(item) for item in items))


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Do the work; returns the seconds that it took."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def percentile(values: Sequence[float], share: float) -> float:
    """The value that the given share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def show(title: str, figures: Sequence[Measurement], *, percentiles: bool = False) -> None:
    """Print a table: the median and the extremes, or the median, the 99th percentile and the maximum."""
    heads = ("median", "p99", "most") if percentiles else ("median", "least", "most")
    table = Table("what", *heads, "unit", "rounds", title=title)
    for figure in figures:
        middle = percentile(figure.values, 0.99) if percentiles else min(figure.values)
        shown = (f"{value:.3g}" for value in (figure.median, middle, max(figure.values)))
        table.add_row(figure.name, *shown, figure.unit, str(len(figure.values)))
    # Without a terminal, the default width of rich would break every name into two lines.
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table)


def say(text: str) -> None:
    """Print a line."""
    Console(highlight=False).print(text)


def ratios(name: str, ours: Measurement, floor: Measurement) -> Measurement:
    """Divide the time of each round by that of its floor."""
    return Measurement(name, [a / b for a, b in zip(ours.values, floor.values, strict=True)], "times")


def over_floor(name: str, ours: Measurement, floor: Measurement, views: int) -> Measurement:
    """The milliseconds a view that each round took longer than its floor."""
    return Measurement(name, [1000 * (a - b) / views for a, b in zip(ours.values, floor.values, strict=True)], "ms")


def save(path: Path, figures: Sequence[Measurement], load: Sequence[float] = ()) -> None:
    """Write every figure to a file, with the machine that it was taken on.

    `load` is the machine's load average before the measurement, if it is known; the one after it is added.
    """
    machine = {"machine": platform.platform(), "processors": os.cpu_count(), "python": platform.python_version()}
    around = {"duckdb": duckdb.__version__, "load_before": list(load), "load_after": list(os.getloadavg())}
    found = {"figures": [asdict(figure) for figure in figures]}
    path.write_text(json.dumps(machine | around | found, indent=2) + "\n")
