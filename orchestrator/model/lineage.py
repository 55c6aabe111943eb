"""The graph of views: who reads whom."""

from collections import deque
from collections.abc import Iterable, Mapping
from uuid import UUID


def shortest_path(
    start: Iterable[UUID], goal: UUID, neighbours: Mapping[UUID, Iterable[UUID | None]]
) -> list[UUID] | None:
    """A shortest way from one of `start` to `goal`, both ends included, or None if there is none."""
    came_from: dict[UUID, UUID | None] = dict.fromkeys(start)
    waiting = deque(came_from)
    while waiting:
        here = waiting.popleft()
        if here == goal:
            return _walked(here, came_from)
        for there in neighbours.get(here, ()):
            if there is not None and there not in came_from:
                came_from[there] = here
                waiting.append(there)
    return None


def _walked(end: UUID, came_from: Mapping[UUID, UUID | None]) -> list[UUID]:
    path: list[UUID] = []
    step: UUID | None = end
    while step is not None:
        path.append(step)
        step = came_from[step]
    return path[::-1]
