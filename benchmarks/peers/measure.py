"""Measures all contenders in turn, round after round, each alone on the machine as far as this program decides."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console

from benchmarks.peers.competitor import Competitor, Digest
from benchmarks.peers.dagster import Dagster
from benchmarks.peers.dbt import Dbt
from benchmarks.peers.matview import Plain, Product
from benchmarks.peers.prefect import Prefect
from benchmarks.peers.sqlmesh import SQLMesh
from benchmarks.peers.subprocesses import PeerError
from benchmarks.peers.workloads import Workload

FLOOR = "plain"
PEERS: dict[str, type[Competitor]] = {"dbt": Dbt, "sqlmesh": SQLMesh, "dagster": Dagster, "prefect": Prefect}
CONTENDERS: dict[str, type[Competitor]] = {FLOOR: Plain, "product": Product, **PEERS}

Beside = Literal["a view", "times", "nothing"]


@dataclass(frozen=True)
class Column:
    """One measurement, and how it is compared with the floor.

    `seconds` holds the time of each round by contender, `failures` the reason why those of a contender do not count.
    """

    title: str
    views: int = 1
    beside: Beside = "nothing"
    seconds: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


class Race:
    """Runs a workload for several contenders. A contender that fails does not stop the others.

    Args:
        workload: The views that all of them materialize.
        folder: The folder in which they work, and in which nothing is left at the end.
        binaries: The contenders, and the folder of the programs of each.
        rounds: How often each is measured.
    """

    def __init__(self, workload: Workload, folder: Path, binaries: Mapping[str, Path], rounds: int) -> None:
        self._workload = workload
        self._folder = folder / workload.name
        self._binaries = binaries
        self._rounds = rounds
        self._expected: Digest = {}
        self.loads: list[float] = []

    async def refreshes(self, beside: Beside) -> list[Column]:
        """Materialize everything once, and measure how each contender materializes it again in every round."""
        column = Column(self._workload.title, len(self._workload.views), beside)
        contenders = {name: self._contender(name, self._folder / name) for name in self._binaries}
        for name, contender in contenders.items():
            await self._guarded([column], name, partial(self._first, name, contender))
        for number in range(self._rounds):
            for name in self._order(number):
                await self._guarded([column], name, partial(self._again, name, contenders[name], column))
        shutil.rmtree(self._folder, ignore_errors=True)
        return [column]

    async def cold_starts(self) -> list[Column]:
        """Measure cold starts until the first result: in an empty folder, and in one that an earlier start has used."""
        columns = [Column(f"{self._workload.title}, new"), Column(f"{self._workload.title}, again")]
        for number in range(self._rounds):
            for name in self._order(number):
                folder = self._folder / f"{name}-{number}"
                await self._guarded(columns, name, partial(self._start, name, self._contender(name, folder), columns))
                shutil.rmtree(folder, ignore_errors=True)
        return columns

    def _contender(self, name: str, folder: Path) -> Competitor:
        return CONTENDERS[name](self._workload, folder, self._binaries[name])

    def _order(self, number: int) -> list[str]:
        """The order of a round. The floor begins round 1, as its results are the expected ones; then it rotates."""
        names = list(self._binaries)
        by = number % len(names)
        self.loads.append(os.getloadavg()[0])
        say(f"{self._workload.title}, round {number + 1} of {self._rounds}, load average {self.loads[-1]:.1f}")
        return names[by:] + names[:by]

    async def _guarded(self, columns: list[Column], name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work unless the contender has failed before. Any error is recorded as its failure."""
        if any(name in column.failures for column in columns):
            return
        try:
            await work()
        except Exception as error:  # the failure of one contender must not stop the others
            message = str(error) if isinstance(error, PeerError) else f"{type(error).__name__}: {error}"
            say(f"  {name} failed: {message}")
            for column in columns:
                column.failures[name] = message

    async def _first(self, name: str, contender: Competitor) -> None:
        await asyncio.to_thread(contender.prepare)
        async with contender.serving():
            await contender.build()
        await self._check(contender)
        say(f"  {name} has built everything once")

    async def _again(self, name: str, contender: Competitor, column: Column) -> None:
        async with contender.serving():
            if contender.keeps_running:
                await contender.refresh()  # not counted: in real use, its servers have been running for a while
            await asyncio.to_thread(contender.spoil)
            seconds = await contender.refresh()
        await self._check(contender)
        self._count(column, name, seconds)

    async def _start(self, name: str, contender: Competitor, columns: list[Column]) -> None:
        await asyncio.to_thread(contender.prepare)
        for column in columns:
            seconds = await contender.cold()
            await self._check(contender)
            self._count(column, name, seconds)
            await asyncio.to_thread(contender.spoil)

    async def _check(self, contender: Competitor) -> None:
        """Raises PeerError if the results differ from those of the contender that came first."""
        found = await asyncio.to_thread(contender.digest)
        self._expected = self._expected or found
        wrong = [view for view, digest in found.items() if digest != self._expected[view]]
        if wrong:
            raise PeerError(f"{len(wrong)} of {len(found)} results are not what {FLOOR} made, {wrong[0]} for one")

    @staticmethod
    def _count(column: Column, name: str, seconds: float) -> None:
        column.seconds.setdefault(name, []).append(seconds)
        say(f"  {name}: {seconds:.2f} s")


def say(text: str) -> None:
    """Print a line of progress to standard error; only the table goes to standard output."""
    Console(stderr=True, highlight=False).print(text, markup=False)
