"""Descendants and processor time of processes, from `/proc`."""

import os
from collections.abc import Mapping
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM = 11, 12, 13, 14


def below(root: int) -> list[int]:
    """A process and all its descendants."""
    found = [root]
    for pid in found:
        found += _children(pid)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in children.read_text().split()]
        except OSError:
            continue
    return found


def working(root: int, before: Mapping[int, float]) -> set[int]:
    """Those descendants of a process's children that are new or have used processor time since `before`."""
    found = set(below(root)) - {root, *_children(root)}
    return {pid for pid in found if pid not in before or _cpu_seconds(pid) > before[pid]}


def cpu_of_each(root: int) -> dict[int, float]:
    """The processor time of a process and of each of its descendants, by process id."""
    return {pid: _cpu_seconds(pid) for pid in below(root)}


def cpu_seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """The processor time that each process and its descendants have used so far, also those that have ended."""
    return {name: sum(_cpu_seconds(pid) for pid in below(root)) for name, root in roots.items()}


def own_cpu_seconds() -> float:
    """The processor time that this process alone has used so far."""
    used = os.times()
    return used.user + used.system


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    # The kernel adds the time of a child that has ended and was waited for to its parent.
    return sum(int(fields[n]) for n in (_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM)) / _TICKS_A_SECOND
