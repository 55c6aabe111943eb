"""Placeholders and the ends of statements in a text, found in one pass by DuckDB's rules for strings, comments, names.

No character is examined more than a few times, in any text. The scan runs in the API process, before the statement is
parsed, and a slow one would delay all other requests.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

_SPACES = r"\s\u200b-\u200d\u2060\ufeff"  # also the Unicode characters that DuckDB takes for blanks
# A name may hold dollar signs, and every character beyond ASCII except blanks.
_NAME_START = rf"(?:[A-Za-z_]|(?![{_SPACES}])[\u0080-\U0010ffff])"
_NAME = rf"{_NAME_START}(?>(?:[A-Za-z0-9_$]|(?![{_SPACES}])[\u0080-\U0010ffff])*)"
# No alternative backtracks, so that no text is matched twice: `++` and `*+` after a set of characters, an atomic group
# `(?>…)` around a choice. Python before 3.11.5 matches one choice too many for `(…|…)*+`.
_TOKEN = re.compile(
    rf"""
      (?P<blank> [{_SPACES}]++ | --[^\n\r]*+ )
    | (?P<comment> /\* )
    | (?P<escaped> [eE]'(?>(?:[^'\\]++|\\.|'')*)'? )
    | (?P<quoted> '(?>(?:[^']++|'')*)'? | "(?>(?:[^"]++|"")*)"? )
    | (?P<dollar> \$(?:{_NAME_START}(?>(?:\w|(?![{_SPACES}])[\u0080-\U0010ffff])*))?\$ )
    | (?P<word> {_NAME} | [0-9]++ )
    | (?P<cast> :: )
    | (?P<other> . )
    """,
    flags=re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
# A string may continue after a line break. One that began with an E keeps its escapes there.
_CONTINUED = re.compile(
    r"(?>(?:[ \t\f\v]++|--[^\n\r]*+)*)[\n\r](?>(?:[ \t\f\v\n\r]++|--[^\n\r]*+[\n\r])*)'(?>(?:[^'\\]++|\\.|'')*)'?",
    flags=re.DOTALL,
)
_VARIABLE = re.compile(rf"[{_SPACES}]*+variables\.(\w{{1,128}})")
_NAMED = re.compile(rf"\{{[{_SPACES}]*+(\w{{1,64}})[{_SPACES}]*+\}}")
_OPENING, _CLOSING = "{([", "})]"
# DuckDB parses nothing that is nested as deep as this, so the search ends here and DuckDB refuses the statement.
_DEEPEST = 10_000


@dataclass(slots=True)
class _Opened:
    """A bracket that is not closed yet. `is_literal` is set once a colon was found directly inside it."""

    start: int
    is_brace: bool
    follows_map: bool
    is_literal: bool = False
    is_empty: bool = True


def find_placeholder(sql: str) -> int | None:
    """The position of the first `{` that begins none of DuckDB's literals, or None if there is no such brace.

    A struct or map literal always has a colon directly between its braces, except `MAP {}`; a placeholder never does.
    """
    if "{" not in sql:
        return None
    opened: list[_Opened] = []
    first: int | None = None
    word, position = "", 0
    while position < len(sql):
        kind, end = _token(sql, position)
        if kind == "blank":
            position = end
            continue
        text = sql[position] if kind == "other" else ""
        if text and text in _CLOSING and opened:
            first = _earlier(first, opened.pop())
        elif opened:
            opened[-1].is_empty = False
            opened[-1].is_literal |= text == ":"
        if text and text in _OPENING:
            if len(opened) == _DEEPEST:
                return first
            opened.append(_Opened(position, is_brace=text == "{", follows_map=word == "map"))
        word = sql[position : min(end, position + 4)].lower() if kind == "word" else ""
        position = end
    for unclosed in opened:
        first = _earlier(first, unclosed)
    return first


def variable_at(sql: str, brace: int) -> str | None:
    """The name of the variable, if the brace at that position begins `{variables.name}`; otherwise None."""
    found = _VARIABLE.match(sql, brace + 1)
    return None if found is None else found.group(1)


def as_parameters(sql: str, names: Collection[str]) -> str:
    """`sql` with every placeholder `{name}` of these names written as DuckDB's parameter `$name`."""
    if "{" not in sql or not names:
        return sql
    pieces, position, done = [], 0, 0
    while position < len(sql):
        kind, end = _token(sql, position)
        found = _NAMED.match(sql, position) if kind == "other" else None
        if found is not None and found.group(1) in names:
            # With blanks around it, since a letter beside the braces would become a part of the name.
            pieces += [sql[done:position], f" ${found.group(1)} "]
            done = end = found.end()
        position = end
    return "".join([*pieces, sql[done:]])


def split_statements(sql: str) -> tuple[list[str], str]:
    """The statements of `sql` that end with a semicolon, without those that are empty, and the text behind the last."""
    statements, start, position, is_empty = list[str](), 0, 0, True
    while position < len(sql):
        kind, end = _token(sql, position)
        if kind == "other" and sql[position] == ";":
            if not is_empty:
                statements.append(sql[start:position].strip())
            start, is_empty = end, True
        elif kind != "blank":
            is_empty = False
        position = end
    return statements, sql[start:]


def is_blank(sql: str) -> bool:
    """Whether the text holds nothing but blanks and comments."""
    position = 0
    while position < len(sql):
        kind, position = _token(sql, position)
        if kind != "blank":
            return False
    return True


def without_quoted(sql: str) -> str:
    """`sql` with a blank in place of each string, quoted name, blank and comment."""
    pieces, position = [], 0
    while position < len(sql):
        kind, end = _token(sql, position)
        pieces.append(" " if kind in {"blank", "quoted"} else sql[position:end])
        position = end
    return "".join(pieces)


def with_plain_blanks(sql: str) -> str:
    """`sql` with a space for each blank beyond ASCII outside of strings, as DuckDB reads it."""
    if sql.isascii():
        return sql
    pieces, position = [], 0
    while position < len(sql):
        kind, end = _token(sql, position)
        text = sql[position:end]
        is_space = kind == "blank" and not text.startswith(("--", "/*"))
        pieces.append("".join(one if one.isascii() else " " for one in text) if is_space else text)
        position = end
    return "".join(pieces)


def _earlier(first: int | None, closed: _Opened) -> int | None:
    is_legal = not closed.is_brace or closed.is_literal or (closed.is_empty and closed.follows_map)
    return first if is_legal or (first is not None and first < closed.start) else closed.start


def _token(sql: str, position: int) -> tuple[str, int]:
    """The kind of the token at `position`, and where it ends. One that is never closed ends with the text."""
    found = _TOKEN.match(sql, position)
    assert found is not None and found.lastgroup is not None  # noqa: S101, PT018 - the last alternative takes anything
    end = found.end()
    if found.lastgroup == "comment":
        return "blank", _end_of_comment(sql, end)
    if found.lastgroup == "dollar":
        closing = sql.find(found.group(), end)
        return "quoted", len(sql) if closing < 0 else closing + len(found.group())
    if found.lastgroup == "escaped":
        return "quoted", _end_of_continued(sql, end)
    return found.lastgroup, end


def _end_of_comment(sql: str, position: int) -> int:
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, position):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)


def _end_of_continued(sql: str, position: int) -> int:
    while (found := _CONTINUED.match(sql, position)) is not None:
        position = found.end()
    return position
