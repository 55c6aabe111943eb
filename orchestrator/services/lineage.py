"""Lineage: what a view reads and what reads it, at any distance, and what its columns are computed from."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from orchestrator.catalog import lineage, saved_queries
from orchestrator.catalog.database import Database, Transaction
from orchestrator.engines.base import QueryAnalyzer
from orchestrator.model.column_lineage import QueryLineage, down_to_tables, unknown
from orchestrator.model.errors import Invalid, NotFound
from orchestrator.model.generation import Direction
from orchestrator.model.lineage import GraphNode, Node, inputs_first, nodes_at_distance, reachable_from
from orchestrator.model.names import name_key
from orchestrator.services.column_lineage import ColumnTracer, TracedView, to_trace

# A larger answer would keep the API process from serving other requests for too long.
_MOST_NODES = 5_000
_MOST_TRACED = 500
_MOST_REFERENCES = 100_000
_TOO_LARGE = "It was left out, since the answer would be too large; ask for this view alone."


class ProjectLineage(NamedTuple):
    """A graph: its nodes by name, and its edges as (input, reader). `columns` are lineages by the id of a view."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[tuple[UUID, UUID], ...]
    columns: Mapping[UUID, QueryLineage] | None = None


class LineageService:
    """The graph of each project's views and source tables."""

    def __init__(self, database: Database, engine: QueryAnalyzer) -> None:
        self._database = database
        self._tracer = ColumnTracer(engine)

    async def ancestors(self, project_id: int, saved_query_id: UUID, level: int | None) -> set[Node]:
        """The nodes at the end of a path of exactly `level` steps up a view's inputs; None: those of any path."""
        async with self._database.begin() as tx:
            if not await saved_queries.is_live(tx, project_id, saved_query_id):
                raise NotFound
            return _at_level(saved_query_id, level, await lineage.inputs_above(tx, saved_query_id))

    async def descendants(self, project_id: int, saved_query_id: UUID, level: int | None) -> set[Node]:
        """Like `ancestors`, in the other direction: the views that read the view, and so on."""
        async with self._database.begin() as tx:
            if not await saved_queries.is_live(tx, project_id, saved_query_id):
                raise NotFound
            return _at_level(saved_query_id, level, await lineage.readers_below(tx, saved_query_id))

    async def names(self, nodes: Collection[Node]) -> dict[str, str]:
        """The names of nodes, by the id of a view and by the name of a source table."""
        async with self._database.begin() as tx:
            return await lineage.names(tx, nodes)

    async def graph(
        self,
        project_id: int,
        *,
        start: UUID | str | None = None,
        direction: Direction = Direction.BOTH,
        columns: bool = False,
        to_tables: bool = False,
    ) -> ProjectLineage:
        """The graph of a project, or of what a view or table reads and what reads it.

        With `columns`, also the lineage of the columns of its views: over one step, or `to_tables`. Raises NotFound for
        an unknown `start`, Invalid if the graph is too large for an answer.
        """
        async with self._database.begin() as tx:
            edges = await lineage.edges(tx, project_id)
            ids = await lineage.ids(tx, project_id)
            chosen = set(ids.values()) if start is None else _related(_find(start, ids), direction, edges)
            if len(chosen) > _MOST_NODES:
                raise Invalid(
                    f"The graph has {len(chosen):,} views and tables; {_MOST_NODES:,} are the most. "
                    "Ask for one view, or for one direction.",
                    attr="view",
                )
            nodes = await lineage.nodes(tx, chosen)
            own = [(read, reader) for read, reader in edges if read in chosen and reader in chosen]
            views = await _traced(tx, nodes, edges, to_tables=to_tables) if columns else []
        traced = await self._trace(nodes, views, to_tables=to_tables) if columns else None
        return ProjectLineage(tuple(nodes), tuple(own), traced)

    async def _trace(
        self, nodes: Sequence[GraphNode], views: Sequence[TracedView], *, to_tables: bool
    ) -> dict[UUID, QueryLineage]:
        found = await self._tracer.trace(views)
        if to_tables:
            keys = {view.statement.id: name_key(view.statement.name) for view in views}
            by_name = {keys[view]: one for view, one in found.items()}
            expanded = await asyncio.to_thread(down_to_tables, by_name, list(keys.values()))
            found = {view: expanded[key] for view, key in keys.items()}
        return _cut({node.id: found[node.id] for node in nodes if node.is_view})


async def _traced(
    tx: Transaction, nodes: Sequence[GraphNode], edges: Sequence[tuple[UUID, UUID]], *, to_tables: bool
) -> list[TracedView]:
    """The views of the graph, and `to_tables` also all above them, each after those that it reads."""
    inputs: dict[UUID, list[UUID]] = {}
    readers: dict[UUID, list[UUID]] = {}
    for read, reader in edges:
        inputs.setdefault(reader, []).append(read)
        readers.setdefault(read, []).append(reader)
    chosen = {node.id for node in nodes if node.is_view}
    if to_tables:
        chosen |= _reachable(chosen, inputs)
    known = await lineage.nodes(tx, chosen.union(*(inputs.get(view, ()) for view in chosen)))
    names = {node.id: node.name for node in known}
    views = {node.id for node in known if node.is_view} & chosen
    if len(views) > _MOST_TRACED:
        raise Invalid(
            f"The columns of {len(views):,} views are too many to analyse at once; {_MOST_TRACED:,} are the most. "
            "Ask for one view.",
            attr="columns",
        )
    ordered = [view for view in inputs_first(views, readers) if view in views]
    return await to_trace(tx, ordered, {view: [names[read] for read in inputs.get(view, ())] for view in views})


def _cut(found: Mapping[UUID, QueryLineage]) -> dict[UUID, QueryLineage]:
    """The lineages, of which those are left out that would make the answer too large."""
    size = 0
    kept = {}
    for view, one in found.items():
        fits = not size or size + one.size <= _MOST_REFERENCES
        kept[view] = one if fits else unknown([name for name, _ in one.columns], _TOO_LARGE)
        size += one.size if fits else 0
    return kept


def _find(start: UUID | str, ids: Mapping[str, UUID]) -> UUID:
    found = ids.get(name_key(start)) if isinstance(start, str) else start if start in ids.values() else None
    if found is None:
        raise NotFound(f'There is no view or table "{start}" in this project.')
    return found


def _related(start: UUID, direction: Direction, edges: Sequence[tuple[UUID, UUID]]) -> set[UUID]:
    inputs: dict[UUID, list[UUID]] = {}
    readers: dict[UUID, list[UUID]] = {}
    for read, reader in edges:
        inputs.setdefault(reader, []).append(read)
        readers.setdefault(read, []).append(reader)
    chosen = {start}
    if direction is not Direction.DOWNSTREAM:
        chosen |= _reachable({start}, inputs)
    if direction is not Direction.UPSTREAM:
        chosen |= _reachable({start}, readers)
    return chosen


def _reachable(start: Collection[UUID], neighbours: Mapping[UUID, Sequence[UUID]]) -> set[UUID]:
    reached = set(start)
    waiting = list(start)
    while waiting:
        new = set(neighbours.get(waiting.pop(), ())) - reached
        reached |= new
        waiting.extend(new)
    return reached


def _at_level(start: UUID, level: int | None, graph: lineage.Graph) -> set[Node]:
    return reachable_from(start, graph) if level is None else nodes_at_distance(start, level, graph)
