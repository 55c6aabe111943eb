"""DuckDB's spelling of a type, taken apart.

DuckDB itself cannot read all that it writes: the type of `row(1, 2)` is `STRUCT(INTEGER, INTEGER)`, which no cast may
name. What a snapshot holds and what a reader of it sees are derived from the parts, at any depth.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_SUFFIX = re.compile(r"\[(\d*)\]$")
_COLLATED = re.compile(r"^VARCHAR COLLATE [\w.]+$", re.IGNORECASE)
# A field has a name unless the whole of it is a type. Of the types of several words none begins like a field.
_FIELD = re.compile(r'^("(?:[^"]|"")*"|(?!TIME WITH |TIMESTAMP WITH |VARCHAR COLLATE )[^\s"(\[]+) +(.+)$', re.DOTALL)
_PIECES = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|.""", re.DOTALL)


class Kind(NamedTuple):
    """A type. `name` is `LIST`, `ARRAY`, `MAP`, `STRUCT`, `UNION`, or what DuckDB calls any other.

    `text` is the whole of it. `children` are the element of a list or an array, the key and the value of a map, or the
    fields of a struct, whose `fields` are their names; an empty name is none. `size` is an array's.
    """

    name: str
    text: str
    children: tuple["Kind", ...] = ()
    fields: tuple[str, ...] = ()
    size: int = 0


def quoted(identifier: str) -> str:
    """`identifier` as SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def kind_of(text: str) -> Kind:
    """The type that DuckDB spells like that."""
    text = text.strip()
    suffix = _SUFFIX.search(text)
    if suffix:
        element = kind_of(text[: suffix.start()])
        if suffix[1]:
            return Kind("ARRAY", text, (element,), size=int(suffix[1]))
        return Kind("LIST", text, (element,))
    name, _, rest = text.partition("(")
    name = "VARCHAR COLLATE" if _COLLATED.match(text) else name.strip().upper()
    if name not in {"MAP", "STRUCT", "UNION"}:
        return Kind(name, text)
    pieces = list(_split(rest.removesuffix(")")))
    if name == "MAP":
        return Kind(name, text, tuple(map(kind_of, pieces)))
    fields = [_field(part) for part in pieces]
    return Kind(name, text, tuple(kind for _, kind in fields), tuple(field for field, _ in fields))


def parts(kind: Kind) -> Iterator[Kind]:
    """The type and all that it is made of."""
    yield kind
    for child in kind.children:
        yield from parts(child)


def is_nameable(kind: Kind) -> bool:
    """Whether a cast may name the type: whether there is no struct without names of fields in it."""
    if kind.name == "VARCHAR COLLATE" or (kind.name == "STRUCT" and not all(kind.fields)):
        return False
    return all(map(is_nameable, kind.children))


def example_size(kind: Kind) -> int:
    """How many values an expression of the type has that does not name it."""
    if is_nameable(kind):
        return 1
    return max(sum(map(example_size, kind.children)) * (kind.size or 1), 1)


def _field(text: str) -> tuple[str, Kind]:
    found = _FIELD.match(text)
    if found is None:
        return "", kind_of(text)
    name = found[1]
    return (name[1:-1].replace('""', '"') if name.startswith('"') else name), kind_of(found[2])


def _split(text: str) -> Iterator[str]:
    """What stands between the commas that are in no quotes and no parentheses."""
    depth, part = 0, ""
    for piece in _PIECES.findall(text):
        depth += (piece == "(") - (piece == ")")
        if piece == "," and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += piece
    yield part.strip()
