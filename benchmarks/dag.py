"""Views upon views: 200 in 10 layers of 20, each reading two of the layer above, refreshed layer by layer.

The product runs no graph by itself and skips no run whose inputs are the same. So this does what a client can do today:
run all views of a layer at once, wait for them, and go on to the next. After the edit of a view, it asks for its
descendants and runs these. Plain DuckDB runs the same statements in the same order, each on the files of earlier ones.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.baseline import plain
from benchmarks.common import MADE_AT_ONCE, Api, Measurement, at_once, over_floor, ratios, say, show
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack

_SOURCE = "numbers"
_NUMBERS = "SELECT i % 10 AS k, i AS v FROM range(100000) t(i)"
_FIRST = "SELECT k, sum(v)::BIGINT % 1000003 AS v FROM numbers WHERE v % {width} = {column} GROUP BY k"
_LATER = "SELECT a.k, (a.v + b.v + {more}) % 1000003 AS v FROM {one} a JOIN {other} b ON a.k = b.k"


@dataclass(frozen=True)
class Node:
    """A view of the graph: its name, its SQL, and the names that it reads."""

    name: str
    sql: str
    inputs: tuple[str, ...]


def graph(prefix: str, layers: int, width: int) -> list[list[Node]]:
    """The layers, the same every time; from the second on, each view reads two of the layer above."""
    made = [[Node(f"{prefix}_0_{n}", _FIRST.format(width=width, column=n), (_SOURCE,)) for n in range(width)]]
    for layer in range(1, layers):
        above, step = made[-1], 1 + layer % (width - 1)
        made.append([])
        for n in range(width):
            one, other = above[n].name, above[(n + step) % width].name
            sql = _LATER.format(one=one, other=other, more=0)
            made[-1].append(Node(f"{prefix}_{layer}_{n}", sql, (one, other)))
    return made


async def measure(folder: Path, rounds: int, layers: int, width: int) -> list[Measurement]:
    """Measure a first build, a run of all views, and one after an edit; each round has new views."""
    source = folder / "numbers.parquet"
    duckdb.sql(_NUMBERS).write_parquet(str(source))
    kinds = ("first build", "nothing changed, all run again", "one view edited, it and its descendants run")
    ours: dict[str, list[float]] = {kind: [] for kind in kinds}
    floor: dict[str, list[float]] = {kind: [] for kind in kinds}
    counts: dict[str, int] = {}
    async with DevStack(folder / "home", bootstrap=bootstrap, say=say, extra_source_roots=[folder]) as stack:
        api = Api(stack)
        await api.add_table(_SOURCE, source, "Parquet")
        for number in range(rounds):
            built = Built(api, graph(f"r{number}", layers, width), folder)
            await built.create()
            for kind, edits, first in zip(kinds, (False, False, True), (True, False, False), strict=True):
                chosen = await built.edit() if edits else built.every
                counts[kind] = len(chosen)
                ours[kind].append(await built.run(chosen, first=first))
                floor[kind].append(await asyncio.to_thread(built.run_plain, chosen))
    figures = []
    for kind in kinds:
        named = f"{kind} ({counts[kind]} views)"
        run, raw = Measurement(named, ours[kind]), Measurement(f"{named}, plain DuckDB", floor[kind])
        beside = ratios(f"{named}, beside plain DuckDB", run, raw)
        figures += [run, raw, beside, over_floor(f"{named}, a view over the floor", run, raw, counts[kind])]
    show(f"A graph of {layers} layers of {width} views", figures)
    say("There are no runs of a graph yet: a client runs it layer by layer, and nothing is skipped.")
    return figures


class Built:
    """A graph in the product, and the same in plain DuckDB."""

    def __init__(self, api: Api, layers: Sequence[Sequence[Node]], folder: Path) -> None:
        self._api = api
        self._layers = [list(layer) for layer in layers]
        self._folder = folder
        self._ids: dict[str, str] = {}
        self.every = {node.name for layer in layers for node in layer}

    async def create(self) -> None:
        """Save the views, none of which is materialized yet; this is not measured."""
        for layer in self._layers:
            ids = await at_once(MADE_AT_ONCE, lambda node: self._api.create(node.name, node.sql), layer)
            self._ids |= {node.name: view_id for node, view_id in zip(layer, ids, strict=True)}

    async def edit(self) -> set[str]:
        """Change the first view of the middle layer; returns the names of it and of its descendants."""
        layer = len(self._layers) // 2
        old = self._layers[layer][0]
        new = Node(old.name, _LATER.format(one=old.inputs[0], other=old.inputs[1], more=1), old.inputs)
        self._layers[layer][0] = new
        view_id = self._ids[new.name]
        await self._api.edit(view_id, new.sql)
        told = await self._api.call("POST", f"/warehouse_saved_queries/{view_id}/descendants/", {"level": "all"})
        names = {view_id: name for name, view_id in self._ids.items()}
        return {new.name, *(names[one] for one in told["descendants"])}

    async def run(self, chosen: Collection[str], *, first: bool) -> float:
        """Run the chosen views, layer by layer; returns the seconds, with the client's waits between two layers.

        `first` materializes them, so that these are their first runs.
        """
        began = time.perf_counter()
        for layer in self._layers:
            view_ids = [self._ids[node.name] for node in layer if node.name in chosen]
            await self._api.run_promptly(*view_ids, first=first)
        return time.perf_counter() - began

    def run_plain(self, chosen: Collection[str]) -> float:
        """Run the statements of the chosen views in plain DuckDB; returns the seconds."""
        began = time.perf_counter()
        for node in (node for layer in self._layers for node in layer if node.name in chosen):
            plain(node.sql, self._folder / node.name, {name: self._files(name) for name in node.inputs})
        return time.perf_counter() - began

    def _files(self, name: str) -> Path:
        return self._folder / ("numbers.parquet" if name == _SOURCE else f"{name}/*.parquet")
