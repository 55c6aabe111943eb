"""The plan of a change of a project's definitions, computed without making the change."""

from enum import StrEnum
from typing import Literal

from orchestrator.model.base import Value
from orchestrator.model.column_changes import ColumnChanges
from orchestrator.model.position import Position


class Action(StrEnum):
    """How a view or a source table changes."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class Kind(StrEnum):
    """The two kinds of things that share a project's names."""

    VIEW = "view"
    TABLE = "table"


class PlannedCheckChange(Value):
    """A check that changes. `label` is its name, or what it asserts. `fields` are those of a changed one."""

    action: Action
    label: str
    fields: tuple[str, ...] = ()


class PlannedChange(Value):
    """A view or source table that changes. `fields` are those whose values differ; all of a new one.

    `text_only`: the query changes in spaces, comments or spelling only, so that its results stay as they are. `before`
    and `after` are the statements of a view, where they differ. `checks` are those of it that change.
    """

    kind: Kind
    name: str
    action: Action
    fields: tuple[str, ...] = ()
    columns: ColumnChanges = ColumnChanges()
    text_only: bool = False
    before: str | None = None
    after: str | None = None
    checks: tuple[PlannedCheckChange, ...] = ()


class BrokenReader(Value):
    """A view that the change does not mention, and that would stop binding. `reads` names what it reads that changes.

    `message` is that of DuckDB.
    """

    name: str
    reads: tuple[str, ...]
    message: str


class Problem(Value):
    """A reason for which the change cannot be made.

    `check` is the number from 0 of the check that it is about; None: it is about the view or table itself.
    `position` is the place in the statement of the view, or in that of its check, if known.
    """

    kind: Kind
    name: str
    message: str
    position: Position | None = None
    check: int | None = None


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
