"""How many columns a view or a source table may have, and how long their names and types may be."""

from collections.abc import Collection

MOST_COLUMNS = 4096
# Names and types together, in UTF-8. Lists show all of them, and every statement that reads a table gets them.
MOST_BYTES = 262_144
# How many views and tables one view may read, and how many columns those may have in all.
MOST_INPUTS = 1000
MOST_INPUT_COLUMNS = 100_000


def too_wide(columns: Collection[tuple[str, str]]) -> str | None:
    """The error message for columns, pairs of a name and a type, that exceed a limit; None if none does."""
    if len(columns) > MOST_COLUMNS:
        return f"there are {len(columns):,} columns; {MOST_COLUMNS:,} are the most."
    size = sum(len(name.encode(errors="replace")) + len(kind) for name, kind in columns)
    if size > MOST_BYTES:
        return f"the names and types of the columns take {size:,} bytes; {MOST_BYTES:,} are the most."
    return None
