"""The contract of a source table: the format, columns, stated types and options with which its files are read."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.engines.duckdb.types.rules import Dialect
from orchestrator.model.column_limits import too_wide
from orchestrator.model.names import fold

Columns = Sequence[tuple[str, str]]

MAX_NAME_LENGTH = 1_000
BY_NAME = "With the option union_by_name (--union-by-name) a column that a file lacks is NULL there."


class UnreadableFile(ValueError):
    """A file cannot be read by its contract. The message names it, if it is known, by its real path."""


def check_names(path: str, columns: Columns) -> None:
    """Raise UnreadableFile if a file has more columns than a table may have, or a name that cannot be stored."""
    for name, kind in columns:
        if "\0" in name or "\0" in kind:
            raise UnreadableFile(f"{path} has a column whose name holds a zero byte.")
        if len(name) > MAX_NAME_LENGTH:
            raise UnreadableFile(
                f'{path} has a column whose name is longer than {MAX_NAME_LENGTH:,} characters: "{name[:40]}…".'
            )
    excess = too_wide(columns)
    if excess:
        raise UnreadableFile(f"{path} cannot be read as a table: {excess}")


class Contract(NamedTuple):
    """The columns of a source table, and how its files are read.

    `columns` are names and DuckDB types, `stated` the folded names of those whose type a client stated, and `options`
    the fields of ReadOptions.
    """

    format: str
    columns: Columns
    stated: frozenset[str]
    options: Mapping[str, Any]

    @classmethod
    def of(cls, request: Mapping[str, Any], columns: Columns) -> "Contract":
        """The contract in a request of the parent process, with these columns."""
        stated = frozenset(fold(name) for name, *_ in request["stated"])
        return cls(request["format"], columns, stated, request["options"])

    @property
    def dialect(self) -> Dialect:
        """How the files write numbers and dates."""
        return Dialect(self.options["decimal_separator"], self.options["date_format"])

    @property
    def fails(self) -> bool:
        """Whether a row that does not fit fails the run. Otherwise the row is left out."""
        return bool(self.options["on_bad_row"] == "fail")

    def is_stated(self, name: str) -> bool:
        """Whether a client stated the type of the column."""
        return fold(name) in self.stated
