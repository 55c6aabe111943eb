"""Counts the reads of a query once the views without a snapshot that it reads are inlined into it."""

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.model.names import fold


def weigh(names: Iterable[str], views: Mapping[str, Sequence[str]]) -> int:
    """The number of reads of a query that reads `names` (repeats count), directly and through `views`.

    `views` has the names that each inlined view reads. The views must not read one another in a cycle.
    """
    reads = {fold(view): read for view, read in views.items()}
    known: dict[str, int] = {}

    def total(read: Iterable[str]) -> int:
        return sum(weight(fold(name)) for name in read)

    def weight(name: str) -> int:
        if name not in known:
            known[name] = 1 + total(reads.get(name, ()))
        return known[name]

    return total(names)
