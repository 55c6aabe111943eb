"""The graph of a project's views: which of them a generation selects, and which wait for which."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from graphlib import TopologicalSorter
from typing import NamedTuple
from uuid import UUID

from orchestrator.model.freshness import Freshness
from orchestrator.model.generation import Direction, Selection
from orchestrator.model.names import name_key

Neighbours = Callable[[UUID], Iterable[UUID]]


class ViewNode(NamedTuple):
    """A live view, and the ids of the views that its query reads.

    `has_result`: it has a version, from which its readers read. Without one they evaluate its query. `data_as_of` is
    the moment of that version, `max_staleness` how much older than now the data of what it reads may be.
    """

    name: str
    is_materialized: bool
    has_result: bool
    views: tuple[UUID, ...] = ()
    freshness: Freshness = Freshness.CLOCK
    max_staleness: timedelta = timedelta(0)
    data_as_of: datetime | None = None

    def is_older_than(self, moment: datetime) -> bool:
        """Whether it is materialized, and its data is older than that."""
        return self.is_materialized and (self.data_as_of is None or self.data_as_of < moment)


class ViewGraph:
    """All live views of a project, by id. Views do not read one another in a cycle."""

    def __init__(self, nodes: Mapping[UUID, ViewNode]) -> None:
        self._nodes = nodes
        self._by_name = {name_key(node.name): view for view, node in nodes.items()}
        self._readers: dict[UUID, list[UUID]] = {}
        for reader, node in nodes.items():
            for view in node.views:
                self._readers.setdefault(view, []).append(reader)

    def find(self, view: UUID | str) -> UUID | None:
        """The id of a view that is named by its id or its name."""
        if isinstance(view, UUID):
            return view if view in self._nodes else None
        return self._by_name.get(name_key(view))

    def name(self, view: UUID) -> str:
        """The name of a view."""
        return self._nodes[view].name

    def members(self, selection: Selection) -> list[UUID]:
        """The materialized views that the selection means and those that follow them, each after those that it reads.

        Views of the selection that do not exist any more are left out.
        """
        chosen = set(self._nodes) if selection.all else self._with_relatives(selection)
        members = self._with_followers(view for view in chosen if self._nodes[view].is_materialized)
        if len(members) == 1:
            return list(members)
        return [view for view in self._inputs_first(members) if view in members]

    def too_old(self, views: Iterable[UUID], now: datetime) -> set[UUID]:
        """The materialized views that are to be refreshed before those of `views` that ask for it."""
        found: set[UUID] = set()
        for view in views:
            node = self._nodes.get(view)
            if node is not None and node.freshness is Freshness.UPSTREAM:
                oldest = now - node.max_staleness
                above = self._reachable([view], lambda one: self._nodes[one].views) - {view}
                found |= {one for one in above if self._nodes[one].is_older_than(oldest)}
        return found

    def parents(self, members: Collection[UUID]) -> dict[UUID, set[UUID]]:
        """The members that each member reads, directly or through views that are evaluated inside its query."""
        chosen = set(members)
        return {member: self._read_by(member, chosen) for member in members}

    def _with_followers(self, views: Iterable[UUID]) -> set[UUID]:
        """The views, and those that follow one of them, directly or through views that are not materialized."""
        reached = set(views)
        found = set(reached)
        waiting = list(reached)
        while waiting:
            for reader in self._readers.get(waiting.pop(), ()):
                node = self._nodes[reader]
                if reader not in reached and (not node.is_materialized or node.freshness is Freshness.FOLLOW):
                    reached.add(reader)
                    waiting.append(reader)
                    if node.is_materialized:
                        found.add(reader)
        return found

    def _with_relatives(self, selection: Selection) -> set[UUID]:
        chosen = {view for view in selection.views if view in self._nodes}
        above, below = set(chosen), set(chosen)
        if selection.direction in {Direction.UPSTREAM, Direction.BOTH}:
            above = self._reachable(chosen, lambda view: self._nodes[view].views)
        if selection.direction in {Direction.DOWNSTREAM, Direction.BOTH}:
            below = self._reachable(chosen, lambda view: self._readers.get(view, ()))
        return above | below

    def _reachable(self, start: Iterable[UUID], neighbours: Neighbours) -> set[UUID]:
        reached = set(start)
        waiting = list(reached)
        while waiting:
            new = {view for view in neighbours(waiting.pop()) if view in self._nodes} - reached
            reached |= new
            waiting.extend(new)
        return reached

    def _inputs_first(self, members: Iterable[UUID]) -> Iterable[UUID]:
        above = self._reachable(members, lambda view: self._nodes[view].views)
        return TopologicalSorter({view: self._nodes[view].views for view in sorted(above)}).static_order()

    def _read_by(self, member: UUID, members: Collection[UUID]) -> set[UUID]:
        found: set[UUID] = set()
        seen = {member}
        waiting = [member]
        while waiting:
            for view in self._nodes[waiting.pop()].views:
                if view in members:
                    found.add(view)
                elif view not in seen and view in self._nodes and not self._nodes[view].has_result:
                    seen.add(view)
                    waiting.append(view)
        return found
