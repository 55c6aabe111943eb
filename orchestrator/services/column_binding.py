"""The columns of many views, determined from their texts down to the source tables."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from typing import NamedTuple

from orchestrator.engines.base import NO_CLUSTER, ClusterAnalyzer, QueryAnalyzer
from orchestrator.model.batches import batches
from orchestrator.model.engine import Dialect, Engine, QueryText
from orchestrator.model.errors import EngineCrashed, InvalidQuery
from orchestrator.model.snapshot import Column
from orchestrator.services.unknown_names import UnknownName

_AT_ONCE = 50
# A view with eight columns takes some two kilobytes.
_MOST_KNOWN = 20_000

Bound = tuple[Column, ...] | InvalidQuery


class Statement(NamedTuple):
    """A view: its name, its text, the keys of what it reads, and the columns that it had if it does not bind."""

    name: str
    sql: str
    reads: tuple[str, ...]
    before: tuple[Column, ...] = ()
    dialect: Dialect = Dialect.DUCKDB


class NamedColumns(NamedTuple):
    """The columns of a source table, or of a view that is not to be bound."""

    name: str
    columns: tuple[Column, ...]


class ColumnBinder:
    """Binds views over the columns of what they read.

    The columns of a view depend on nothing but its text and the columns of what it reads. So each result is remembered
    under a digest of these, and a plan of a thousand views of which one has changed binds few of them.
    """

    def __init__(self, engine: QueryAnalyzer, cluster: ClusterAnalyzer | None = None) -> None:
        self._engine = engine
        self._cluster = cluster
        self._known: OrderedDict[bytes, Bound] = OrderedDict()

    async def bind(
        self, project_id: int, views: Mapping[str, Statement], tables: Mapping[str, NamedColumns]
    ) -> dict[str, Bound]:
        """The columns of each view, by key, or why it does not bind.

        A view that reads a key which is neither in `views` nor in `tables` does not bind. The views must not read one
        another in a cycle. A view over one that does not bind sees the columns that this one had.
        """
        found: dict[str, Bound] = {}
        seen = dict(tables)
        sorter = TopologicalSorter({key: [one for one in view.reads if one in views] for key, view in views.items()})
        sorter.prepare()
        while sorter.is_active():
            level = sorter.get_ready()
            for some in batches(sorted(level), _AT_ONCE):
                found |= await self._bind_level(project_id, {key: views[key] for key in some}, seen)
            for key in level:
                columns = found[key]
                known = views[key].before if isinstance(columns, InvalidQuery) else columns
                seen[key] = NamedColumns(views[key].name, known)
            sorter.done(*level)
        return found

    async def _bind_level(
        self, project_id: int, views: Mapping[str, Statement], seen: Mapping[str, NamedColumns]
    ) -> dict[str, Bound]:
        """Bind views that do not read one another."""
        found: dict[str, Bound] = {}
        new: dict[str, bytes] = {}
        for key, view in views.items():
            missing = next((one for one in view.reads if one not in seen), None)
            if missing is not None:
                found[key] = UnknownName(missing)
                continue
            unknown = next((seen[one].name for one in view.reads if not seen[one].columns), None)
            if unknown is not None:
                found[key] = InvalidQuery(f"Invalid query: the columns of {unknown} are not known.", attr="query")
                continue
            digest = _digest(view, seen)
            if digest in self._known:
                self._known.move_to_end(digest)
                found[key] = self._known[digest]
            else:
                new[key] = digest
        bound = await self._describe(project_id, [views[key] for key in new], seen) if new else []
        for (key, digest), columns in zip(new.items(), bound, strict=True):
            found[key] = columns
            self._known[digest] = columns
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return found

    async def _describe(
        self, project_id: int, views: Sequence[Statement], seen: Mapping[str, NamedColumns]
    ) -> list[Bound]:
        if any(view.dialect is Dialect.SPARK for view in views):
            if len(views) > 1:
                return [one for view in views for one in await self._describe(project_id, [view], seen)]
            return [await self._describe_on_cluster(project_id, views[0], seen)]
        tables = {seen[key].name: seen[key].columns for view in views for key in view.reads}
        asked = [(view.name, view.sql, view.before) for view in views]
        try:
            return await self._engine.describe_each(asked, tables, project_id=project_id)
        except (InvalidQuery, EngineCrashed) as error:
            if len(views) > 1:  # one of them takes too long, or too much memory
                return [one for view in views for one in await self._describe(project_id, [view], seen)]
            if isinstance(error, InvalidQuery):
                return [error]
            raise

    async def _describe_on_cluster(self, project_id: int, view: Statement, seen: Mapping[str, NamedColumns]) -> Bound:
        if self._cluster is None:  # it was saved while there was one
            return view.before or InvalidQuery(f"Invalid query: {NO_CLUSTER}", attr="query")
        tables = {seen[key].name: seen[key].columns for key in view.reads}
        text = QueryText(view.sql, Engine.SPARK, Dialect.SPARK)
        try:
            return (await self._cluster.analyze(text, tables, None, project_id=project_id)).columns
        except InvalidQuery as error:
            return error


def _digest(view: Statement, seen: Mapping[str, NamedColumns]) -> bytes:
    digest = hashlib.sha256(f"{view.dialect}\0{view.sql}".encode())
    for key in view.reads:
        named = seen[key]
        digest.update(f"\0{named.name}".encode())
        for column in named.columns:
            digest.update(f"\0{column.name}\0{column.duckdb_type}".encode())
        digest.update(b"\0\0")
    return digest.digest()
