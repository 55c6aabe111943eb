"""Lineage: what a view reads and what reads it, at any distance."""

from uuid import UUID

from orchestrator.catalog import lineage, saved_queries
from orchestrator.catalog.database import Database
from orchestrator.model.errors import NotFound
from orchestrator.model.lineage import Node, nodes_at_distance, reachable_from


class LineageService:
    """The graph of each project's views and source tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ancestors(self, project_id: int, saved_query_id: UUID, level: int | None) -> set[Node]:
        """The nodes at the end of a path of exactly `level` steps up a view's inputs; None: those of any path."""
        async with self._database.begin() as tx:
            if not await saved_queries.is_live(tx, project_id, saved_query_id):
                raise NotFound
            return _nodes(saved_query_id, level, await lineage.inputs_above(tx, saved_query_id))

    async def descendants(self, project_id: int, saved_query_id: UUID, level: int | None) -> set[Node]:
        """Like `ancestors`, in the other direction: the views that read the view, and so on."""
        async with self._database.begin() as tx:
            if not await saved_queries.is_live(tx, project_id, saved_query_id):
                raise NotFound
            return _nodes(saved_query_id, level, await lineage.readers_below(tx, saved_query_id))


def _nodes(start: UUID, level: int | None, graph: lineage.Graph) -> set[Node]:
    return reachable_from(start, graph) if level is None else nodes_at_distance(start, level, graph)
