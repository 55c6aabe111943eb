"""Parses DuckDB's spelling of a type into its parts.

DuckDB itself cannot read every type that it writes: the type of `row(1, 2)` is `STRUCT(INTEGER, INTEGER)`, which no
cast may name. The types that a snapshot stores and that its readers see are derived from the parts, at any depth.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_SUFFIX = re.compile(r"\[(\d*)\]$")
_COLLATED = re.compile(r"^VARCHAR COLLATE [\w.]+$", re.IGNORECASE)
# A field of a struct is a name and a type, or only a type. The types excluded here have several words, so that their
# first word would be taken for a name.
_FIELD = re.compile(r'^("(?:[^"]|"")*"|(?!TIME WITH |TIMESTAMP WITH |VARCHAR COLLATE )[^\s"(\[]+) +(.+)$', re.DOTALL)
_PIECES = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|.""", re.DOTALL)


class Kind(NamedTuple):
    """A type. `name` is `LIST`, `ARRAY`, `MAP`, `STRUCT`, `UNION`, or DuckDB's name of any other type.

    `text` is its full spelling. `children` are the types of the element of a list or an array, of the key and the value
    of a map, or of the fields of a struct or union. `fields` are the names of these fields, empty for a field without a
    name. `size` is the size of an array.
    """

    name: str
    text: str
    children: tuple["Kind", ...] = ()
    fields: tuple[str, ...] = ()
    size: int = 0


def literal(text: str) -> str:
    """`text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def kind_of(text: str) -> Kind:
    """The type that DuckDB spells as `text`."""
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
    """The type and, recursively, all types in it."""
    yield kind
    for child in kind.children:
        yield from parts(child)


def is_nameable(kind: Kind) -> bool:
    """Whether a cast may name the type: it contains no collation, and no struct whose fields have no names."""
    if kind.name == "VARCHAR COLLATE" or (kind.name == "STRUCT" and not all(kind.fields)):
        return False
    return all(map(is_nameable, kind.children))


def example_size(kind: Kind) -> int:
    """The number of values in the example expression that stands for a type which no cast can name."""
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
    """The texts between the commas that are outside quotes and parentheses."""
    depth, part = 0, ""
    for piece in _PIECES.findall(text):
        depth += (piece == "(") - (piece == ")")
        if piece == "," and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += piece
    yield part.strip()
