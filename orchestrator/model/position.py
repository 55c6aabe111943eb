"""Places in the text of a statement: where an error is, as a line and a column that an editor shows."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.model.printable import one_line

# The part of a line that is shown around a place.
_WINDOW = 120
_BEFORE = 60
_MORE = "…"
_WORD = re.compile(r'[^\W\d][\w$]*|"[^"\n]*"?|\'[^\'\n]*\'?|\d[\w.]*|[^\s\w]|\s', re.ASCII)
_LONGEST_WORD = 128


class Position(NamedTuple):
    """A place in a statement, both numbers from 1, counted in characters.

    `length` is that of the word there. `view` names the view whose text it is, None for the statement itself. `excerpt`
    is the line, or a part of a long one, in which the place is `excerpt_column`. It is empty for a view: a client that
    may query a view need not be one that may read its text.
    """

    line: int
    column: int
    length: int
    view: str | None = None
    excerpt: str = ""
    excerpt_column: int = 1

    def of_view(self, name: str | None) -> "Position":
        """The same place in the text of that view, or in the statement itself if there is no name."""
        return self if name is None else self._replace(view=name, excerpt="", excerpt_column=1)

    def as_json(self) -> dict[str, Any]:
        """Its fields, as `position_from` reads them."""
        return self._asdict()

    @property
    def marked(self) -> str:
        """The excerpt on one line, and a caret below the place."""
        shown = self.excerpt.replace("\t", " ")
        before, rest = one_line(shown[: self.excerpt_column - 1]), one_line(shown[self.excerpt_column - 1 :])
        return f"{before}{rest}\n{' ' * sum(map(_width, before))}^"


# Child processes, which load no pydantic, use this module: so the shape is checked by hand.
_FIELDS = ("line", "column", "length", "view", "excerpt", "excerpt_column")
_NUMBERS = ("line", "column", "length", "excerpt_column")
_LONGEST_VIEW = 1_000


def position_from(found: Mapping[str, Any]) -> Position:
    """The place whose fields a JSON object has. Raises ValueError if it is none, or has texts that none has."""
    try:
        position = Position(**{name: found[name] for name in _FIELDS})
    except (KeyError, TypeError):
        raise ValueError("it has not the fields of a place") from None
    numbers = [getattr(position, name) for name in _NUMBERS]
    if not all(type(number) is int and number > 0 for number in numbers):
        raise ValueError("its numbers are none of a place")
    if not isinstance(position.excerpt, str) or len(position.excerpt) > 2 * _WINDOW:
        raise ValueError("its excerpt is none")
    if position.view is not None and not (isinstance(position.view, str) and len(position.view) <= _LONGEST_VIEW):
        raise ValueError("its view is none")
    return position


def position_at(text: str, index: int) -> Position:
    """The place of the character `index` of a text; behind its last character for a larger one."""
    index = max(0, min(index, len(text)))
    start = text.rfind("\n", 0, index) + 1
    end = text.find("\n", index)
    line = text[start : len(text) if end < 0 else end].removesuffix("\r")
    column = index - start
    word = _WORD.match(text, index, index + _LONGEST_WORD)
    excerpt, shift = _excerpt(line, column)
    return Position(
        line=text.count("\n", 0, index) + 1,
        column=column + 1,
        length=len(word[0]) if word else 1,
        excerpt=excerpt,
        excerpt_column=column - shift + 1,
    )


def position_at_byte(text: str, offset: int) -> Position:
    """The place of byte `offset` of a text in UTF-8."""
    raw = text.encode(errors="replace")
    return position_at(text, len(raw[: max(0, offset)].decode(errors="ignore")))


def moved(position: Position, text: str, other: str) -> Position | None:
    """The place in `other` of a place in `text`, of which it is a variant; None if it lies in what differs.

    Both have the same beginning and the same end.
    """
    if text == other or position.view is not None:
        return position
    index = _index_of(text, position)
    same = _common(text, other)
    if index <= same:
        return position_at(other, index)
    behind = len(text) - index
    if behind <= _common(text[::-1], other[::-1]):
        return position_at(other, len(other) - behind)
    return None


def _index_of(text: str, position: Position) -> int:
    start = 0
    for _ in range(position.line - 1):
        start = text.find("\n", start) + 1
    return start + position.column - 1


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def _excerpt(line: str, column: int) -> tuple[str, int]:
    """The part of a line around a column, and how many of its characters are left out before."""
    if len(line) <= _WINDOW:
        return line, 0
    start = max(0, min(column - _BEFORE, len(line) - _WINDOW))
    part = line[start : start + _WINDOW]
    head, tail = (_MORE if start else ""), (_MORE if start + _WINDOW < len(line) else "")
    return f"{head}{part}{tail}", start - len(head)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
