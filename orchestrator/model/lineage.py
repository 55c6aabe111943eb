"""The graph of views: which view reads which views and source tables.

A node is a view's id, or the name of a source table, which reads nothing.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from orchestrator.model.saved_query import ViewStatus

Node = UUID | str


class GraphNode(NamedTuple):
    """A view or source table as the graph of its project shows it. A source table has only a name."""

    id: UUID
    name: str
    is_view: bool
    is_materialized: bool = False
    status: ViewStatus | None = None
    data_as_of: datetime | None = None


def shortest_path(
    start: Iterable[UUID], goal: UUID, neighbours: Mapping[UUID, Iterable[UUID | None]]
) -> list[UUID] | None:
    """A shortest path from one of `start` to `goal`, both ends included, or None if there is none."""
    previous: dict[UUID, UUID | None] = dict.fromkeys(start)
    waiting = deque(previous)
    while waiting:
        here = waiting.popleft()
        if here == goal:
            return _rebuild_path(here, previous)
        for there in neighbours.get(here, ()):
            if there is not None and there not in previous:
                previous[there] = here
                waiting.append(there)
    return None


def _rebuild_path(end: UUID, previous: Mapping[UUID, UUID | None]) -> list[UUID]:
    path: list[UUID] = []
    step: UUID | None = end
    while step is not None:
        path.append(step)
        step = previous[step]
    return path[::-1]


def nodes_at_distance(start: Node, level: int, neighbours: Mapping[Node, Iterable[Node]]) -> set[Node]:
    """All nodes that a path of exactly `level` steps leads to; empty if no path is that long."""
    reached: set[Node] = {start}
    for _ in range(level):
        reached = {node for here in reached for node in neighbours.get(here, ())}
        if not reached:
            break
    return reached


def reachable_from(start: Node, neighbours: Mapping[Node, Iterable[Node]]) -> set[Node]:
    """All nodes that a path from `start` leads to, without `start` itself."""
    reached: set[Node] = set()
    waiting = [start]
    while waiting:
        new = set(neighbours.get(waiting.pop(), ())) - reached
        reached |= new
        waiting.extend(new)
    return reached


def inputs_first(some: Iterable[UUID], readers: Mapping[UUID, Iterable[UUID]]) -> list[UUID]:
    """`some` and all nodes that read something, in an order in which each comes after what it reads."""
    waits = Counter(reader for reading in readers.values() for reader in reading)
    ready = deque(dict.fromkeys(node for node in (*some, *readers) if not waits[node]))
    ordered: list[UUID] = []
    while ready:
        node = ready.popleft()
        ordered.append(node)
        for reader in readers.get(node, ()):
            waits[reader] -= 1
            if not waits[reader]:
                ready.append(reader)
    kept = set(some).union(*readers.values())
    return [node for node in ordered if node in kept]
