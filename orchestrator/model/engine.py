"""The engine that runs a view's query, and the dialect of SQL that its text is in."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from orchestrator.model.errors import InvalidQuery


class Engine(StrEnum):
    """The engine of a view: DuckDB on the worker, or a cluster that speaks Spark Connect."""

    DUCKDB = "duckdb"
    SPARK = "spark"


class Dialect(StrEnum):
    """The dialect of a view's text. Spark runs both: DuckDB's is translated when the view is saved."""

    DUCKDB = "duckdb"
    SPARK = "spark"


class QueryText(NamedTuple):
    """All of a query object that decides a view's result. The rest are notes of the client."""

    sql: str
    engine: Engine = Engine.DUCKDB
    dialect: Dialect = Dialect.DUCKDB


def query_text(query: Mapping[str, Any]) -> QueryText:
    """The text of a query object, its engine and its dialect: DuckDB and its dialect, unless it names others."""
    return QueryText(
        str(query.get("query", "")),
        Engine.SPARK if query.get("engine") == Engine.SPARK else Engine.DUCKDB,
        Dialect.SPARK if query.get("dialect") == Dialect.SPARK else Dialect.DUCKDB,
    )


def with_text(notes: Mapping[str, Any], query: Mapping[str, Any]) -> dict[str, Any]:
    """The text, the engine and the dialect of `query`, with the notes of another query object."""
    own = ("query", "engine", "dialect")
    return {key: value for key, value in notes.items() if key not in own} | {
        key: query[key] for key in own if key in query
    }


def check_engine(query: Mapping[str, Any]) -> None:
    """Raise InvalidQuery for an engine or a dialect that there is not, or two that do not go together."""
    for key, known in (("engine", Engine), ("dialect", Dialect)):
        value = query.get(key)
        if value is not None and value not in [one.value for one in known]:
            names = ", ".join(known)
            raise InvalidQuery(f"The {key} of a query is one of {names}.", attr="query")
    text = query_text(query)
    if text.dialect is Dialect.SPARK and text.engine is not Engine.SPARK:
        raise InvalidQuery("Only the engine spark reads the dialect spark.", attr="query")
