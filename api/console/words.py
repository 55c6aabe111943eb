"""Numbers, sizes, lengths of time and cells as people read them."""

import difflib
import json
import re
from collections.abc import Sequence
from typing import Any

MISSING = "\u2013"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP, _FEW = 1024, 10
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_LONGEST_CELL = 120
_NO_SLUG = re.compile(r"[^a-z0-9]+")


def number(value: int | None, missing: str = MISSING) -> str:
    """A number with its digits in groups."""
    return missing if value is None else f"{value:,}".replace(",", "\u202f")


def size(value: int | None, missing: str = MISSING) -> str:
    """A size in bytes in its largest unit."""
    if value is None:
        return missing
    amount, unit = float(value), 0
    while amount >= _STEP and unit < len(_UNITS) - 1:
        amount, unit = amount / _STEP, unit + 1
    digits = 1 if unit and amount < _FEW else 0
    return f"{amount:.{digits}f} {_UNITS[unit]}"


def seconds(value: float | None, missing: str = MISSING) -> str:
    """A length of time in its two largest units."""
    if value is None:
        return missing
    if value < _MINUTE:
        return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
    whole = round(value)
    for length, name, part, part_name in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min")):
        if whole >= length:
            return f"{whole // length} {name} {whole % length // part} {part_name}"
    return f"{whole // _MINUTE} min {whole % _MINUTE} s"


def cell(value: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """A cell of a table: its text, the beginning of a long one, and whether it is null or a number."""
    is_null = value is None
    text = "NULL" if is_null else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    short = text if len(text) <= _LONGEST_CELL else text[:_LONGEST_CELL]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"text": text, "short": short, "is_cut": short != text, "is_null": is_null, "is_number": is_number}


def slug(text: str | None) -> str:
    """A word as the name of a class."""
    return _NO_SLUG.sub("-", (text or "none").lower()).strip("-")


def diff_lines(before: str, after: str) -> Sequence[tuple[str, str]]:
    """The lines of both texts, each with `gone`, `new` or `same`."""
    kinds = {"- ": "gone", "+ ": "new", "  ": "same"}
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [(kinds[line[:2]], line) for line in lines if line[:2] in kinds]
