"""Unit tests of views: rows that are given for what a view reads, and the rows that its query must return of them."""

from collections.abc import Mapping
from typing import Any

from orchestrator.model.base import Value
from orchestrator.model.check import CheckStatus

# Rows of a difference that are shown, of each kind.
MOST_SHOWN = 20

# A row by the names of columns. A column that it does not name is NULL.
GivenRow = Mapping[str, Any]


class UnitTest(Value):
    """A unit test. `given` has the rows of each table, and of views that are not to be computed, by name.

    The result must have exactly the rows of `expect`, in any order. Only the columns that these name are compared.
    """

    name: str
    view: str
    given: Mapping[str, tuple[GivenRow, ...]]
    expect: tuple[GivenRow, ...]


class UnitTestResult(Value):
    """The result of a unit test: its status, and of one that could not be run the `reason`.

    `columns` are those that were compared. `missing` are rows that were expected and not returned, `unexpected` rows
    that were returned and not expected: their number, and the values of some.
    """

    name: str
    view: str
    status: CheckStatus
    reason: str | None = None
    columns: tuple[str, ...] = ()
    missing_rows: int = 0
    missing: tuple[tuple[Any, ...], ...] = ()
    unexpected_rows: int = 0
    unexpected: tuple[tuple[Any, ...], ...] = ()
    seconds: float = 0.0
