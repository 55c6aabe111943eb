"""Lists in parts that fit into one statement."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")

# PostgreSQL takes 65,535 parameters in a statement, and other tasks of the process get their turn between two parts.
BATCH = 5_000


def batches(items: Sequence[T], size: int = BATCH) -> Iterable[Sequence[T]]:
    """The items in order, `size` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))
