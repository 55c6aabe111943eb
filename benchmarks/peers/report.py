"""The side-by-side table, as Markdown."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.common import Measurement
from benchmarks.peers.measure import CONTENDERS, FLOOR, Column

_NONE = "-"


def markdown(
    columns: Sequence[Column], names: Sequence[str], missing: Mapping[str, str], loads: Sequence[float]
) -> str:
    """The table, the circumstances of the measurement, and the failures.

    Args:
        columns: The measurements.
        names: The contenders, in the order of the rows.
        missing: The reasons why some contenders could not be installed.
        loads: The machine's load average at the start of each round.
    """
    heads = ["", "writes"]
    for column in columns:
        heads += [f"{column.title}, s", *_heads_beside(column)]
    rows = [[CONTENDERS[name].title, CONTENDERS[name].writes, *_cells(columns, name, missing)] for name in names]
    lines = [_line(heads), _line(["---", "---", *["--:"] * (len(heads) - 2)]), *map(_line, rows)]
    failed = [f"- {CONTENDERS[name].title}: {why}" for name, why in missing.items()]
    failed += [
        f"- {CONTENDERS[name].title}, {column.title}: {why}"
        for column in columns
        for name, why in column.failures.items()
    ]
    return (
        "\n".join([*lines, "", _circumstances(columns, loads), *(["", "Failed:", "", *failed] if failed else [])])
        + "\n"
    )


def figures(columns: Sequence[Column], loads: Sequence[float]) -> list[Measurement]:
    """All values of the contenders that did not fail."""
    found = [
        Measurement(f"{column.title}, {name}", values)
        for column in columns
        for name, values in column.seconds.items()
        if name not in column.failures
    ]
    return [*found, Measurement("load average at the start of a round", list(loads), "")]


def _heads_beside(column: Column) -> list[str]:
    return {"a view": ["over the floor, ms a view"], "times": ["times the floor"], "nothing": []}[column.beside]


def _cells(columns: Sequence[Column], name: str, missing: Mapping[str, str]) -> list[str]:
    cells = []
    for column in columns:
        if name in missing:
            cells.append("not installed")
        elif name in column.failures:
            cells.append("failed")
        else:
            cells.append(_spread(column.seconds[name]))
        if column.beside != "nothing":
            cells.append(_beside(column, name))
    return cells


def _beside(column: Column, name: str) -> str:
    """The median over the rounds, each compared with the floor of the same round."""
    if name == FLOOR or not {name, FLOOR} <= column.seconds.keys() - column.failures.keys():
        return _NONE
    pairs = list(zip(column.seconds[name], column.seconds[FLOOR], strict=True))
    if column.beside == "times":
        return f"{statistics.median(a / b for a, b in pairs):.2f}"
    return f"{statistics.median(1000 * (a - b) / column.views for a, b in pairs):.0f}"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _circumstances(columns: Sequence[Column], loads: Sequence[float]) -> str:
    rounds = max((len(values) for column in columns for values in column.seconds.values()), default=0)
    return (
        f"Medians (least to most) of {rounds} {'round' if rounds == 1 else 'rounds'} in alternation, "
        f"on {os.cpu_count()} processors, Python {platform.python_version()}; "
        f"load average at the start of a round {min(loads):.1f} to {max(loads):.1f}."
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
