"""The plan of a change of a project's definitions, computed without making the change."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from orchestrator.model.base import Value
from orchestrator.model.snapshot import Column


class Action(StrEnum):
    """How a view or a source table changes."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class Kind(StrEnum):
    """The two kinds of things that share a project's names."""

    VIEW = "view"
    TABLE = "table"


class RetypedColumn(Value):
    """A column whose type changes: DuckDB's names of both types."""

    name: str
    before: str
    after: str


class ColumnChanges(Value):
    """How columns change. A column that is renamed is one removed and one added."""

    added: tuple[Column, ...] = ()
    removed: tuple[Column, ...] = ()
    retyped: tuple[RetypedColumn, ...] = ()

    @classmethod
    def between(cls, before: Sequence[Column], after: Sequence[Column]) -> "ColumnChanges":
        """The differences between two lists of columns."""
        old, new = {one.name: one for one in before}, {one.name: one for one in after}
        return cls(
            added=tuple(one for name, one in new.items() if name not in old),
            removed=tuple(one for name, one in old.items() if name not in new),
            retyped=tuple(
                RetypedColumn(name=name, before=old[name].duckdb_type, after=one.duckdb_type)
                for name, one in new.items()
                if name in old and old[name].duckdb_type != one.duckdb_type
            ),
        )


class PlannedChange(Value):
    """A view or source table that changes. `fields` are those whose values differ; all of a new one.

    `text_only`: the query changes in spaces, comments or spelling only, so that its results stay as they are. `before`
    and `after` are the statements of a view, where they differ.
    """

    kind: Kind
    name: str
    action: Action
    fields: tuple[str, ...] = ()
    columns: ColumnChanges = ColumnChanges()
    text_only: bool = False
    before: str | None = None
    after: str | None = None


class BrokenReader(Value):
    """A view that the change does not mention, and that would stop binding. `reads` names what it reads that changes.

    `message` is that of DuckDB.
    """

    name: str
    reads: tuple[str, ...]
    message: str


class Problem(Value):
    """A reason for which the change cannot be made."""

    kind: Kind
    name: str
    message: str


class PlannedRun(Value):
    """A view that would be refreshed after the change.

    `level` is 0 for one that reads no other of them. `last_seconds` is how long its last completed run took.
    """

    name: str
    level: int
    reason: Literal["new", "changed", "not run since its last edit", "reads a view that runs", "reads a changed table"]
    last_seconds: float | None = None


class ChangePlan(Value):
    """The plan of a change. `base` identifies the definitions that it was computed from.

    With `problems` the change is refused, and with `broken`, unless it says that it may break readers.
    """

    base: str
    changes: tuple[PlannedChange, ...] = ()
    unchanged: int = 0
    problems: tuple[Problem, ...] = ()
    broken: tuple[BrokenReader, ...] = ()
    runs: tuple[PlannedRun, ...] = ()
