"""Paths as DuckDB has to be given them: it takes every path for a pattern, also one that was meant to the letter."""

import re

_MAGIC = re.compile(r"[*?\[]")


def exactly(path: str) -> str:
    """A pattern that matches the file `path` and no other. What DuckDB writes to, it does not take for a pattern."""
    return _MAGIC.sub(r"[\g<0>]", path)


def can_be_exact(path: str) -> bool:
    """Whether `exactly` can do what it says: in a pattern, and only there, DuckDB takes a backslash for a slash."""
    return "\\" not in path or not _MAGIC.search(path)
