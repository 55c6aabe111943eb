"""Everybody in turn, round after round, each alone on the machine as far as this program decides."""

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
    """One thing that is measured, and how it is put beside the floor.

    `seconds` holds those of each round by contender, `failures` why a contender has none that count.
    """

    title: str
    views: int = 1
    beside: Beside = "nothing"
    seconds: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


class Race:
    """A workload for a number of contenders, some of whom may fail without stopping the others.

    Args:
        workload: What all of them materialize.
        folder: Where they do it; nothing is left there.
        binaries: The contenders, and where the programs of each are.
        rounds: How many turns each has.
    """

    def __init__(self, workload: Workload, folder: Path, binaries: Mapping[str, Path], rounds: int) -> None:
        self._workload = workload
        self._folder = folder / workload.name
        self._binaries = binaries
        self._rounds = rounds
        self._expected: Digest = {}
        self.loads: list[float] = []

    async def refreshes(self, beside: Beside) -> list[Column]:
        """Everything was materialized once, and is materialized again in every round."""
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
        """From nothing that runs to the first result: in an empty folder, and where a start has left its state."""
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
        """The floor is first in the first round, as it says what is right; who is first changes from then on."""
        names = list(self._binaries)
        by = number % len(names)
        self.loads.append(os.getloadavg()[0])
        say(f"{self._workload.title}, round {number + 1} of {self._rounds}, load average {self.loads[-1]:.1f}")
        return names[by:] + names[:by]

    async def _guarded(self, columns: list[Column], name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do it unless the contender has failed before; whatever goes wrong is the contender's own affair."""
        if any(name in column.failures for column in columns):
            return
        try:
            await work()
        except Exception as error:  # whatever a program of others does, the rest goes on
            told = str(error) if isinstance(error, PeerError) else f"{type(error).__name__}: {error}"
            say(f"  {name} failed: {told}")
            for column in columns:
                column.failures[name] = told

    async def _first(self, name: str, contender: Competitor) -> None:
        await asyncio.to_thread(contender.prepare)
        async with contender.serving():
            await contender.build()
        await self._check(contender)
        say(f"  {name} has built everything once")

    async def _again(self, name: str, contender: Competitor, column: Column) -> None:
        async with contender.serving():
            if contender.keeps_running:
                await contender.refresh()  # not counted: in use, its servers have not only just been started
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
        """Raises PeerError if the results are not those of whoever came first."""
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
    """Print a line for whoever waits; the table alone goes to the standard output."""
    Console(stderr=True, highlight=False).print(text, markup=False)
