"""The views of a project as one list, to be searched, counted and paged."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from orchestrator.model.condition import Condition


class BoardRow(NamedTuple):
    """A view."""

    id: UUID
    name: str
    condition: Condition

    @property
    def key(self) -> tuple[str, str]:
        """The place of the view in the order of names."""
        return (self.name.lower(), str(self.id))


class BoardPage(NamedTuple):
    """A page of views: their ids in order, how many match, and the places to go on from, None where there is no more.

    `counts` are those of the whole project, by condition; `failing` counts its views with failing checks.
    """

    rows: list[BoardRow]
    matches: int
    before: UUID | None
    after: UUID | None
    counts: Mapping[Condition, int]
    failing: int


class ViewBoard(NamedTuple):
    """The views of a project at one moment, by name, and the number of failing checks of those that have some."""

    rows: list[BoardRow]
    failing_checks: Mapping[UUID, int]

    def page(
        self,
        *,
        search: str = "",
        condition: Condition | None = None,
        failing: bool = False,
        after: UUID | None = None,
        before: UUID | None = None,
        limit: int,
    ) -> BoardPage:
        """The matching views that follow the view `after`, or precede `before`; the first ones without both."""
        word = search.strip().lower()
        found = [
            row
            for row in self.rows
            if (not word or word in row.name.lower())
            and (condition is None or row.condition is condition)
            and (not failing or row.id in self.failing_checks)
        ]
        start = self._start(found, after, before, limit)
        shown = found[start : start + limit]
        return BoardPage(
            rows=shown,
            matches=len(found),
            before=shown[0].id if shown and start > 0 else None,
            after=shown[-1].id if start + limit < len(found) else None,
            counts=Counter(row.condition for row in self.rows),
            failing=sum(row.id in self.failing_checks for row in self.rows),
        )

    def _start(self, found: list[BoardRow], after: UUID | None, before: UUID | None, limit: int) -> int:
        """Where the page begins. A view that matches no longer keeps its place in the order of names."""
        edge = after or before
        row = None if edge is None else next((one for one in self.rows if one.id == edge), None)
        if row is None:
            return 0
        preceding = sum(one.key < row.key for one in found)
        if after is None:
            return max(0, preceding - limit)
        return preceding + (preceding < len(found) and found[preceding].id == row.id)
