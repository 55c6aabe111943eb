"""Views upon views: 200 in 10 layers of 20, each reading two of the layer above, refreshed as one generation.

There are two floors in the same run. Plain DuckDB with a connection a view is what users would write themselves; on one
connection that stays open it is the limit. Both run the same statements in the same order, each on the files of earlier
ones. "Nothing changed" has no floor: no query runs.
"""

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.baseline import connected, copy, plain
from benchmarks.common import MADE_AT_ONCE, Api, Measurement, at_once, over_floor, ratios, say, show
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack

_SOURCE = "numbers"
_NUMBERS = "SELECT i // 100 % 10 AS k, i AS v FROM range(100000) t(i)"  # every view has a row for each k
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
    """Measure a first build, a refresh in which nothing changed, and one after an edit; each round has new views."""
    source = folder / "numbers.parquet"
    duckdb.sql(_NUMBERS).write_parquet(str(source))
    built_from_nothing, nothing, edited = (
        "first build",
        "nothing changed",
        "one view edited, it and its descendants run",
    )
    ours: dict[str, list[float]] = {kind: [] for kind in (built_from_nothing, nothing, edited)}
    floors: dict[str, list[float]] = {}
    counts: dict[str, int] = {built_from_nothing: layers * width}
    async with DevStack(folder / "home", bootstrap=bootstrap, say=say, extra_source_roots=[folder]) as stack:
        api = Api(stack)
        await api.add_table(_SOURCE, source, "Parquet")
        for number in range(rounds):
            built = Built(api, graph(f"r{number}", layers, width), folder)
            await built.create()
            for kind, taken in ours.items():
                if kind == edited:
                    counts[kind] = len(chosen := await built.edit())
                seconds, ran = await built.refresh()
                taken.append(seconds)
                if ran != (0 if kind == nothing else counts[kind]):
                    raise RuntimeError(f"{kind}: {ran} queries ran")
                if kind != nothing:
                    chosen = chosen if kind == edited else built.every
                    for floor, work in (("a connection a view", built.run_plain), ("one connection", built.run_warm)):
                        floors.setdefault(f"{kind}, plain DuckDB, {floor}", []).append(
                            await asyncio.to_thread(work, chosen)
                        )
    figures = [Measurement(f"{nothing} ({layers * width} views, no query)", ours[nothing])]
    for kind in (built_from_nothing, edited):
        run = Measurement(f"{kind} ({counts[kind]} views)", ours[kind])
        figures.append(run)
        for name, values in floors.items():
            if name.startswith(kind):
                raw = Measurement(name, values)
                figures += [raw, ratios(f"{kind}, beside {name[len(kind) + 2 :]}", run, raw)]
                figures.append(over_floor(f"{kind}, a view over {name[len(kind) + 2 :]}", run, raw, counts[kind]))
    show(f"A graph of {layers} layers of {width} views", figures)
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
        """Save the views and give them their schedules, without a first run; this is not measured."""
        for layer in self._layers:
            ids = await at_once(MADE_AT_ONCE, lambda node: self._api.create(node.name, node.sql), layer)
            self._ids |= {node.name: view_id for node, view_id in zip(layer, ids, strict=True)}
            paths = (f"/warehouse_saved_queries/{view_id}/materialize/" for view_id in ids)
            await at_once(MADE_AT_ONCE, lambda path: self._api.call("POST", path, {"run": False}), paths)

    async def edit(self) -> set[str]:
        """Change the first view of the middle layer; returns the names of it and of its descendants."""
        layer = len(self._layers) // 2
        old = self._layers[layer][0]
        new = Node(old.name, _LATER.format(one=old.inputs[0], other=old.inputs[1], more=1), old.inputs)
        self._layers[layer][0] = new
        view_id = self._ids[new.name]
        await self._api.edit(view_id, new.sql)
        below = await self._api.call("POST", f"/warehouse_saved_queries/{view_id}/descendants/", {"level": "all"})
        names = {view_id: name for name, view_id in self._ids.items()}
        return {new.name, *(names[one] for one in below["descendants"])}

    async def refresh(self) -> tuple[float, int]:
        """Refresh the whole graph; returns the seconds, and how many queries ran."""
        seconds, generation = await self._api.refresh({"views": list(self._ids.values())})
        return seconds, generation["counts"].get("Completed", 0)

    def run_plain(self, chosen: Collection[str]) -> float:
        """Run the statements of the chosen views in plain DuckDB, a connection each; returns the seconds."""
        began = time.perf_counter()
        for node in self._chosen(chosen):
            plain(node.sql, self._folder / node.name, {name: self._files(name) for name in node.inputs})
        return time.perf_counter() - began

    def run_warm(self, chosen: Collection[str]) -> float:
        """The same on one connection, the opening of which is counted."""
        began = time.perf_counter()
        with connected() as connection:
            for node in self._chosen(chosen):
                sources = {name: self._files(name) for name in node.inputs}
                copy(connection, node.sql, self._folder / node.name, sources)
        return time.perf_counter() - began

    def _chosen(self, chosen: Collection[str]) -> Iterator[Node]:
        return (node for layer in self._layers for node in layer if node.name in chosen)

    def _files(self, name: str) -> Path:
        return self._folder / ("numbers.parquet" if name == _SOURCE else f"{name}/*.parquet")
