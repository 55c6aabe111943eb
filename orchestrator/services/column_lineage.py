"""Column lineage: analyses the queries of views, one after the other, and keeps what was found."""

import asyncio
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from uuid import UUID

from orchestrator.catalog import view_columns
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.view_columns import ViewStatement
from orchestrator.engines.base import QueryAnalyzer
from orchestrator.model.base import Value
from orchestrator.model.column_lineage import QueryLineage, unknown
from orchestrator.model.engine import Dialect
from orchestrator.model.errors import EngineCrashed, InvalidQuery
from orchestrator.model.snapshot import Column

# An answer waits for at most this long. All that was found until then is kept, so that asking again goes on from there.
_SECONDS = 15.0
_LATE = "There was no time left to analyse its query; ask again."
_IN_ANOTHER_DIALECT = "It is written in Spark's dialect, of which only the views and tables that it reads are known."
_AT_ONCE = 50
# A lineage that is kept has at most so many references, and so many are kept.
_LARGEST_KEPT, _MOST_KEPT = 2_000, 1_000


class TracedView(Value):
    """A view whose lineage is asked for: its statement, and its inputs by name with the columns that a reader sees."""

    statement: ViewStatement
    inputs: dict[str, tuple[Column, ...]]


async def to_trace(tx: Transaction, views: Sequence[UUID], inputs: Mapping[UUID, Sequence[str]]) -> list[TracedView]:
    """The views of these ids in their order. `inputs` are the names that each of them reads."""
    found: list[TracedView] = []
    for start in range(0, len(views), _AT_ONCE):
        batch = views[start : start + _AT_ONCE]
        statements = await view_columns.statements(tx, batch)
        columns = await view_columns.columns_of_inputs(tx, batch)
        for view in batch:
            own = {name: columns[name] for name in inputs.get(view, ()) if name in columns}
            found.append(TracedView(statement=statements[view], inputs=own))
    return found


class ColumnTracer:
    """Finds the lineage of queries. A query is analysed again only if it, or a column of its inputs, has changed."""

    def __init__(self, engine: QueryAnalyzer) -> None:
        self._engine = engine
        self._kept: OrderedDict[bytes, QueryLineage] = OrderedDict()

    async def trace(self, views: Sequence[TracedView]) -> dict[UUID, QueryLineage]:
        """The lineage of each view, by its id. One that cannot be analysed says why.

        Raises TooManyRequests or AnalyzerBusy if the engine has no process free.
        """
        until = time.monotonic() + _SECONDS
        return {view.statement.id: await self._find(view, until) for view in views}

    async def _find(self, view: TracedView, until: float) -> QueryLineage:
        key = await asyncio.to_thread(_digest, view)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        own = [column.name for column in view.statement.columns]
        if view.statement.dialect is Dialect.SPARK:
            return unknown(own, _IN_ANOTHER_DIALECT)
        if time.monotonic() > until:
            return unknown(own, _LATE)
        try:
            found = await self._engine.lineage(view.statement.sql, view.inputs, project_id=view.statement.project_id)
        except InvalidQuery as error:
            found = unknown(own, f"Its query cannot be analysed: {error.message}")
        except EngineCrashed as error:
            return unknown(own, f"Its query could not be analysed. {error.message}")
        if found.size <= _LARGEST_KEPT:
            self._kept[key] = found
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return found


def _digest(view: TracedView) -> bytes:
    inputs = [[name, [(one.name, one.duckdb_type) for one in columns]] for name, columns in view.inputs.items()]
    own = [column.name for column in view.statement.columns]
    return hashlib.sha256(json.dumps([view.statement.sql, inputs, own]).encode()).digest()
