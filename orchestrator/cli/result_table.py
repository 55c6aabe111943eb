"""Rows of a result as a table of text, which fits into the terminal."""

import json
import re
import shutil
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len

from orchestrator.cli.output import Dim, Failure, echo, echo_parts
from orchestrator.model.printable import one_line

_NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(.*\)|BIGNUM")
_DECIMAL = re.compile(r"DECIMAL\(\d+,(\d+)\)")
_GAP = 2
# A column is not cut to less than this if others can be left out.
_LEAST_WIDTH = 8
_PLAN = ("explain_key", "explain_value")


class _Number(str):
    """A number as it is written in JSON, with all its digits."""

    __slots__ = ()


class Column(NamedTuple):
    """A column of a result."""

    name: str
    type: str


def parsed(text: str, rows: str = "results") -> dict[str, Any]:
    """The JSON object, with its numbers as they are written. Raises Failure if it has no list of this name."""
    try:
        found = json.loads(text, parse_float=_Number, parse_int=_Number)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get(rows), list):
        raise Failure("the answer holds no rows: it is not from Matview's API")
    return found


def cell_text(value: object, kind: str) -> str:
    """A value of this DuckDB type as text of one line."""
    return _cell(value, None, _scale(kind))


def echo_table(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
    """Print the rows below the names of their columns, each in one line.

    On a terminal, values are cut to its width, and columns for which there is no space are left out.
    """
    if tuple(column.name for column in columns) == _PLAN:
        for row in rows:
            echo(str(row[1]).rstrip())  # a drawing of several lines
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    header = [_cut(one_line(column.name), width) for column in columns]
    scales = [_scale(column.type) for column in columns]
    cells = [[_cell(value, width, scale) for value, scale in zip(row, scales, strict=True)] for row in rows]
    widths = [max(cell_len(line[i]) for line in (header, *cells)) for i in range(len(columns))]
    shown = widths if width is None else _fitted(widths, width)
    is_right = [_NUMERIC.fullmatch(column.type) is not None for column in columns]
    _echo_line(header, shown, is_right)
    _echo_line(["-" * one for one in shown], shown, is_right)
    for cell in cells:
        _echo_line(cell, shown, is_right)
    if len(shown) < len(columns):
        missing = ", ".join(header[len(shown) :])
        echo(_cut(f"({len(columns) - len(shown):,} more columns: {missing})", width))


def _echo_line(cells: Sequence[str], widths: Sequence[int], is_right: Sequence[bool]) -> None:
    parts: list[str] = []
    for number, width in enumerate(widths):
        cell = _cut(cells[number], width)
        blanks = " " * (width - cell_len(cell))
        is_last = number == len(widths) - 1
        parts += [blanks, cell] if is_right[number] else [cell, "" if is_last else blanks]
        parts.append("" if is_last else " " * _GAP)
    echo_parts(parts)


def _fitted(widths: Sequence[int], available: int) -> list[int]:
    """The widths of the first columns, the widest of them cut, such that they fit."""
    count = len(widths)
    while count > 1 and _taken(widths[:count], _LEAST_WIDTH) > available:
        count -= 1
    kept = widths[:count]
    if _taken(kept, max(kept, default=0)) <= available:
        return list(kept)
    low, high = 1, available
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _taken(kept, middle) <= available else (low, middle - 1)
    spare = max(0, available - _taken(kept, low))
    fitted = []
    for width in kept:
        more = int(width > low and spare > 0)
        spare -= more
        fitted.append(min(width, low + more))
    return fitted


def _taken(widths: Sequence[int], most: int) -> int:
    return sum(min(width, most) for width in widths) + _GAP * (len(widths) - 1)


def _scale(kind: str) -> int:
    """How many digits a value of this type has behind its point, of which JSON has no zeros at the end."""
    decimal = _DECIMAL.fullmatch(kind)
    return int(decimal[1]) if decimal else 0


def _cell(value: object, width: int | None, scale: int) -> str:
    """A value as text of one line, at most as wide as the terminal."""
    if value is None:
        return Dim("null")
    if isinstance(value, _Number) and scale:
        whole, _, fraction = value.partition(".")
        return f"{whole}.{fraction:0<{scale}}"
    text = value if isinstance(value, str) else _json(value)
    # A value may have millions of characters, of which the first ones are enough.
    return _cut(one_line(text if width is None else text[: 4 * width]), width, is_longer=len(text) > 4 * (width or 0))


def _cut(text: str, width: int | None, *, is_longer: bool = False) -> str:
    """The text, with `…` for its end if it is wider than this."""
    if width is None or (not is_longer and cell_len(text) <= width) or (is_longer and not text):
        return text
    taken, end = 0, 0
    for end, character in enumerate(text):  # noqa: B007 - the position after the loop is the result
        taken += cell_len(character)
        if taken > width - 1:
            break
    else:
        end = len(text)
    cut = text[:end] + "…" * (width > 0)
    return Dim(cut) if isinstance(text, Dim) else cut


def _json(value: object) -> str:
    """A nested value as JSON, with its numbers as they were written."""
    if isinstance(value, _Number):
        return value
    if isinstance(value, list):
        return f"[{', '.join(_json(one) for one in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json(str(key))}: {_json(one)}" for key, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
