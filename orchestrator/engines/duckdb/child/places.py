"""Finds the place in a client's text of an error of DuckDB's.

DuckDB gives the byte of the statement that it was given, in which the text is wrapped. For what lies in a view, it is
the byte of the statement that created the view, and DuckDB does not say which. Of each text the syntax tree has the
bytes at which its parts begin: only one of them is the byte of the error in nearly all cases, and otherwise no place is
given.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

import duckdb

from orchestrator.engines.duckdb.child.errors import raised
from orchestrator.engines.duckdb.sql.references import offsets, syntax_tree
from orchestrator.engines.duckdb.sql.statement import place_of
from orchestrator.model.errors import InvalidQuery, OrchestratorError
from orchestrator.model.position import Position, moved

_STATED, _FOUND = "_matview_stated", "_matview_position"
# The statement of a view of files has one of these at the byte of an error in it.
_OF_FILES = (b"read_", b"CAST(", b"TRY_CAST(", b"cast_to_type(")


class _Stated(NamedTuple):
    """A client's text inside the statement that failed, and the byte at which it begins there."""

    text: str
    start: int


@contextmanager
def stating(statement: str, text: str) -> Iterator[None]:
    """Note on an error of DuckDB's that it is of this statement, which has the client's text on lines of its own."""
    try:
        yield
    except duckdb.Error as error:
        if not hasattr(error, _STATED):
            at = statement.find(f"\n{text}\n") + 1
            at = at or max(0, statement.find(text))
            setattr(error, _STATED, _Stated(text, len(statement[:at].encode(errors="replace"))))
        raise


def note_place(error: BaseException, position: Position | None) -> None:
    """Note the place of an error, unless one is noted."""
    if position is not None and position_of(error) is None:
        setattr(error, _FOUND, position)


def move_place(error: BaseException, text: str, written: str) -> None:
    """Change the noted place of an error in `text` to that in the text as its client wrote it."""
    if isinstance(error, OrchestratorError):
        error.position = moved(error.position, text, written) if error.position else None
    elif (position := position_of(error)) is not None:
        setattr(error, _FOUND, moved(position, text, written))


def position_of(error: BaseException) -> Position | None:
    """The place of an error that was noted on it."""
    found = getattr(error, _FOUND, None)
    return found if isinstance(found, Position) else None


def place_in_text(error: duckdb.Error, view: str | None = None) -> Position | None:
    """The place in the text that the statement of an error contains, where that text alone can be its cause."""
    stated, offset = getattr(error, _STATED, None), raised(error).offset
    if not isinstance(stated, _Stated) or offset is None:
        return None
    own = offset - stated.start
    if not 0 <= own <= len(stated.text.encode(errors="replace")):
        return None
    return place_of(stated.text, own).of_view(view)


def find_place(
    connection: duckdb.DuckDBPyConnection, error: duckdb.Error, created: Mapping[str, str], views: Mapping[str, str]
) -> Position | None:
    """The place of an error that a query raised while it ran.

    `created` has the statement that created each relation that the query can read, by name, and `views` the text that
    is in it, for those that are evaluated views.
    """
    offset, own = raised(error).offset, place_in_text(error)
    if offset is None:
        return None
    found: list[Position] = []
    stated = getattr(error, _STATED, None)
    if own is not None and stated is not None and offset - stated.start in _offsets(connection, stated.text):
        found.append(own)
    for name, statement in created.items():
        raw = statement.encode(errors="replace")
        if name not in views:
            if raw.startswith(_OF_FILES, offset):
                return None
            continue
        start = statement.rfind(f"\n{views[name]}\n") + 1
        inner = offset - len(statement[:start].encode(errors="replace"))
        if start and inner in _offsets(connection, views[name]):
            found.append(place_of(views[name], inner).of_view(name))
    return found[0] if len(found) == 1 else None


def _offsets(connection: duckdb.DuckDBPyConnection, text: str) -> set[int]:
    with suppress(InvalidQuery, RecursionError):
        return offsets(syntax_tree(connection, text))
    return set()
