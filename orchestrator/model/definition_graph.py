"""Which view reads what, by the keys of names: the graph of a project's definitions as they are, or would be."""

from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter


class DefinitionGraph:
    """Views by the keys of their names, with the keys that each reads: those of views, of tables, or of nothing."""

    def __init__(self, reads: Mapping[str, Iterable[str]]) -> None:
        self.reads = {view: tuple(keys) for view, keys in reads.items()}
        self._readers: dict[str, list[str]] = {}
        for reader, keys in self.reads.items():
            for key in keys:
                self._readers.setdefault(key, []).append(reader)

    def cycle(self) -> list[str] | None:
        """Views that read one another in a cycle, the first repeated at the end; None if there are none."""
        try:
            TopologicalSorter(self.reads).prepare()
        except CycleError as error:
            cycle: list[str] = error.args[1]
            return cycle[::-1]
        return None

    def below(self, start: Iterable[str]) -> set[str]:
        """All views that read some of `start`, directly or not; without `start` itself, unless it does."""
        return _reached(start, lambda key: self._readers.get(key, ()))

    def above(self, start: Iterable[str]) -> set[str]:
        """All that some of `start` reads, directly or not."""
        return _reached(start, lambda key: self.reads.get(key, ()))

    def levels(self, some: Iterable[str]) -> dict[str, int]:
        """The length of the longest path up from each view that leads through others of `some` only, in their order.

        Views that are not in `some` count as parts of the path between two that are.
        """
        chosen = set(some)
        involved = chosen | (self.above(chosen) & self.below(chosen))
        order = TopologicalSorter({key: [one for one in self.reads[key] if one in involved] for key in involved})
        depth: dict[str, int] = {}
        for key in order.static_order():
            above = (depth[one] + (one in chosen) for one in self.reads[key] if one in involved)
            depth[key] = max(above, default=0)
        return {key: depth[key] for key in sorted(chosen, key=lambda one: (depth[one], one))}


def _reached(start: Iterable[str], neighbours: Callable[[str], Iterable[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(start)
    while waiting:
        new = set(neighbours(waiting.pop())) - reached
        reached |= new
        waiting.extend(new)
    return reached
