"""How much a query becomes once the views without a snapshot that it reads stand in it as text."""

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.model.names import fold


def weigh(names: Iterable[str], views: Mapping[str, Sequence[str]]) -> int:
    """How often a text that reads `names`, each as often as it is named, reads something, itself and through `views`.

    `views` says the same of each view that is evaluated inside it. They do not read one another in a circle.
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
