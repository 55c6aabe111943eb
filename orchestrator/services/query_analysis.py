"""Analyzes a view's statement against the project: the views and tables that it reads, its columns, its size."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from orchestrator.catalog import names, run_inputs
from orchestrator.catalog.database import Database, Transaction
from orchestrator.catalog.names import NameTarget
from orchestrator.engines.base import ClusterAnalyzer, QueryAnalyzer
from orchestrator.model.base import Value
from orchestrator.model.column_limits import MOST_COLUMNS, MOST_INPUT_COLUMNS, MOST_INPUTS
from orchestrator.model.engine import Dialect, QueryText, query_text
from orchestrator.model.errors import InputMissing, InvalidQuery
from orchestrator.model.names import name_key
from orchestrator.model.query_object import check_query
from orchestrator.model.read_limits import MOST_READINGS
from orchestrator.model.run import Relation
from orchestrator.model.snapshot import Column
from orchestrator.services.cluster_statements import cluster_of, refuse_unreadable
from orchestrator.services.unknown_names import UnknownName, explained, known_names, nowhere

# A run's plan contains the text of every view that is evaluated inside it. This leaves space for the rest of the plan,
# which the planner refuses beyond 1,500,000 bytes.
_MOST_TEXT = 1_400_000
_SHORT_TEXT = 5_000


class AnalyzedQuery(Value):
    """A statement that was bound to the project's views and tables as they were a moment ago.

    `translated` is the one that a cluster runs in its place.
    """

    query: dict[str, Any]
    columns: tuple[Column, ...]
    inputs: tuple[NameTarget, ...]
    translated: str | None = None

    @property
    def text(self) -> QueryText:
        """All of the query that decides the view's result."""
        return query_text(self.query)


class QueryAnalysis:
    """Binds statements to what their project has now."""

    def __init__(self, database: Database, engine: QueryAnalyzer, cluster: ClusterAnalyzer | None = None) -> None:
        self._database = database
        self._engine = engine
        self._cluster = cluster

    async def analyze(self, project_id: int, query: dict[str, Any]) -> AnalyzedQuery:
        """The inputs and columns of a checked query. Raises InvalidQuery."""
        try:
            return await self._analyze(project_id, query)
        except UnknownName as error:
            find = partial(self._engine.find_name, query["query"], project_id=project_id)
            known = await known_names(self._database, project_id)
            found = await explained(error, known, find if query_text(query).dialect is Dialect.DUCKDB else nowhere)
            raise found.changed(f"Invalid query: {found.message}") from None

    async def _analyze(self, project_id: int, query: dict[str, Any]) -> AnalyzedQuery:
        text = query_text(query)
        cluster = cluster_of(self._cluster, text, project_id)
        references = await self._references(project_id, text)
        async with self._database.begin() as tx:
            inputs = await _resolve_inputs(tx, project_id, references)
            views = [named.saved_query_id for named in inputs if named.saved_query_id is not None]
            inlined = await run_inputs.inlined(tx, views) if views else {}
            below = await _all_inputs(tx, project_id, references) if cluster else ()
        tables = {named.name: named.columns for named in inputs}
        columns = None
        if text.dialect is Dialect.DUCKDB:
            if inlined:
                await checked_weight(self._engine, project_id, text.sql, inlined)
            columns = await self._engine.describe(text.sql, tables, project_id=project_id)
        if cluster is None:
            return AnalyzedQuery(query=query, columns=columns or (), inputs=inputs)
        refuse_unreadable(below)
        found = await cluster.analyze(text, tables, columns, project_id=project_id)
        return AnalyzedQuery(query=query, columns=found.columns, inputs=inputs, translated=found.sql)

    async def _references(self, project_id: int, text: QueryText) -> tuple[str, ...]:
        """The names that a text reads."""
        if text.dialect is Dialect.DUCKDB or self._cluster is None:
            return await self._engine.references(text.sql, project_id=project_id)
        (studied,) = await self._cluster.study_each([text.sql], project_id=project_id)
        if isinstance(studied, InvalidQuery):
            raise studied
        return studied.references


async def checked_weight(engine: QueryAnalyzer, project_id: int, sql: str, inlined: Mapping[str, str]) -> None:
    """Raise InvalidQuery if the query, with the texts of other views in it, is too large for a run."""
    size = sum(len(text.encode()) for text in (sql, *inlined.values()))
    if size > _MOST_TEXT:
        raise InvalidQuery(
            f"Invalid query: with every view that has no result of its own evaluated inside it, it is {size:,} "
            f"bytes long; {_MOST_TEXT:,} are the most. Materialize some of the views that it reads.",
            attr="query",
        )
    weight = await engine.weigh(sql, inlined, project_id=project_id)
    if weight > MOST_READINGS:
        raise InvalidQuery(
            f"Invalid query: with every view that has no result of its own evaluated inside it, it reads tables "
            f"and views {weight:,} times; {MOST_READINGS:,} are the most. Materialize some of the views that it "
            "reads.",
            attr="query",
        )


async def _all_inputs(tx: Transaction, project_id: int, names: Sequence[str]) -> tuple[Relation, ...]:
    """The inputs of a statement, direct and through views without a result. Raises InvalidQuery."""
    try:
        return await run_inputs.named(tx, project_id, names) if names else ()
    except InputMissing as error:
        raise InvalidQuery(f"Invalid query: {error.message}", attr="query") from None


async def is_stale(tx: Transaction, project_id: int, analyzed: AnalyzedQuery) -> bool:
    """Whether an input was changed since the statement was bound. The caller's lock on the project keeps it so."""
    return await _resolve_inputs(tx, project_id, [named.name for named in analyzed.inputs]) != analyzed.inputs


async def checked(query: object) -> dict[str, Any]:
    """See check_query. A long text is checked in a thread, so that the event loop can serve other requests."""
    is_short = isinstance(query, dict) and len(str(query.get("query"))) < _SHORT_TEXT
    return check_query(query) if is_short else await asyncio.to_thread(check_query, query)


async def _resolve_inputs(tx: Transaction, project_id: int, references: Sequence[str]) -> tuple[NameTarget, ...]:
    """The views and tables that the names in a statement refer to, each once.

    Raises InvalidQuery for an unknown name, or for more inputs than a view may read.
    """
    await _check_breadth(tx, project_id, references)
    known: Mapping[str, NameTarget] = await names.resolve(tx, project_id, references)
    found: dict[str, NameTarget] = {}
    for reference in references:
        key = name_key(reference)
        if key not in known:
            raise UnknownName(reference)
        found[key] = known[key]
    return tuple(found.values())


async def _check_breadth(tx: Transaction, project_id: int, references: Sequence[str]) -> None:
    if len(references) > MOST_INPUTS:
        raise InvalidQuery(f"Invalid query: a view may read {MOST_INPUTS:,} views and tables.", attr="query")
    if len(references) * MOST_COLUMNS <= MOST_INPUT_COLUMNS:  # even if each has the most columns
        return
    columns = await names.count_columns(tx, project_id, references)
    if columns > MOST_INPUT_COLUMNS:
        raise InvalidQuery(
            f"Invalid query: what the view reads has {columns:,} columns; {MOST_INPUT_COLUMNS:,} are the most.",
            attr="query",
        )
