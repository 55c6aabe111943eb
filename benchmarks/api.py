"""Requests a second that the API answers, and the 99th percentile of their latency, in a project with many views."""

import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.common import Api, Measurement, at_once, say, show, timed
from benchmarks.memory_cost import SMALL
from benchmarks.seed_catalog import fill
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack

_AT_ONCE = (1, 8)
_PAGE = 100
_REAL = 100
_WARM_UP = 8
_VIEWS = "/warehouse_saved_queries/"

T = TypeVar("T")
Call = Callable[[int], Awaitable[object]]


async def measure(folder: Path, requests: int, counts: Sequence[int], seed: int) -> list[Measurement]:
    """Measure every call, with more and more views in one project of one stack."""
    # The views that are written into the catalog have no schedules. The reconciler would create them.
    os.environ["MATVIEW_RECONCILE_SECONDS"] = "86400"
    figures: list[Measurement] = []
    async with DevStack(folder / "home", bootstrap=bootstrap, say=say) as stack:
        callers = Callers(Api(stack), requests, random.Random(seed))  # noqa: S311 - the same pages every time
        real = min(_REAL, requests, *counts)
        callers.real = await callers.api.all_materialized({f"real_{n}": SMALL.format(number=n) for n in range(real)})
        there = real
        for count in sorted(counts):
            project = int(stack.info["project_id"])
            await fill(stack.info["database_url"], project, count - there, prefix=f"filled_{count}")
            there = count
            figures += await callers.measure(count)
    say(
        f"{real} of the views were made through the API: those that are retrieved and run. "
        "The others were written into the catalog."
    )
    return figures


async def _seconds(call: Callable[[T], Awaitable[object]], item: T) -> float:
    return await timed(lambda: call(item))


class Callers:
    """Clients that call the API, some at a time."""

    def __init__(self, api: Api, requests: int, chance: random.Random) -> None:
        self.api = api
        self.real: list[str] = []
        self._requests = requests
        self._chance = chance
        self._made = 0

    async def measure(self, count: int) -> list[Measurement]:
        """Measure every kind of call with `count` views, by one client and by several."""
        times, rates = [], []
        for callers in _AT_ONCE:
            for kind, call in self._kinds(count).items():
                label = f"{kind}, {count:,} views, {callers} at once"
                seconds, wall = await (self._runs(callers) if kind == "run" else self._calls(call, callers))
                times.append(Measurement(label, [1000 * one for one in seconds], "ms"))
                rates.append(Measurement(f"{label}, requests a second", [len(seconds) / wall], "1/s"))
        show(f"The API with {count:,} views", times, percentiles=True)
        show(f"The API with {count:,} views", rates)
        return times + rates

    def _kinds(self, count: int) -> dict[str, Call]:
        pages = [self._chance.randint(1, max(1, count // _PAGE)) for _ in range(self._requests + _WARM_UP)]
        return {
            "nothing (the floor)": lambda _: self.api.ask("GET", self.api.alive_url),
            "list, any page": lambda n: self.api.ask("GET", f"{_VIEWS}?page_size={_PAGE}&page={pages[n]}"),
            "list, the last page": lambda _: self.api.ask("GET", f"{_VIEWS}?page_size={_PAGE}&page={count // _PAGE}"),
            "list, a part of a name": lambda _: self.api.ask("GET", f"{_VIEWS}?search=led_{count}_7"),
            "retrieve": lambda n: self.api.ask("GET", f"{_VIEWS}{self.real[n % len(self.real)]}/"),
            "create": lambda _: self._create(),
            "run": lambda n: self.api.ask(
                "POST", f"{_VIEWS}{self.real[n % len(self.real)]}/run/", {"full_refresh": True}
            ),
        }

    async def _calls(self, call: Call, callers: int) -> tuple[list[float], float]:
        """The seconds of each call, and of all calls together."""
        await at_once(callers, call, range(self._requests, self._requests + _WARM_UP))
        began = time.perf_counter()
        seconds = await at_once(callers, lambda n: _seconds(call, n), range(self._requests))
        return seconds, time.perf_counter() - began

    async def _runs(self, callers: int) -> tuple[list[float], float]:
        """The seconds of each call that starts a run, and of all these calls together.

        Each wave runs views that have no run in progress, and then waits until its runs have ended.
        """
        seconds: list[float] = []
        wall = 0.0
        while len(seconds) < self._requests:
            wave = self.real[: self._requests - len(seconds)]
            before = [len(await self.api.history(view_id)) for view_id in wave]
            began = time.perf_counter()
            seconds += await at_once(callers, lambda view_id: _seconds(self._run, view_id), wave)
            wall += time.perf_counter() - began
            for view_id, runs in zip(wave, before, strict=True):
                await self.api.ended(view_id, runs=runs + 1)
        return seconds, wall

    async def _run(self, view_id: str) -> object:
        return await self.api.ask("POST", f"{_VIEWS}{view_id}/run/", {"full_refresh": True})

    async def _create(self) -> object:
        self._made += 1
        body = {"name": f"made_{self._made}", "query": {"query": SMALL.format(number=self._made)}}
        return await self.api.ask("POST", _VIEWS, body)
