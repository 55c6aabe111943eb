"""Statements that a cluster runs: which views may have one, and which inputs it can read."""

from collections.abc import Iterable
from typing import TypeVar

from orchestrator.engines.base import NO_CLUSTER, ClusterAnalyzer
from orchestrator.model.engine import Engine, QueryText
from orchestrator.model.errors import InvalidQuery
from orchestrator.model.run import Relation, SourceRelation
from orchestrator.model.source_table import is_plain_parquet

T = TypeVar("T")


def cluster_of(cluster: ClusterAnalyzer | None, text: QueryText, project_id: int) -> ClusterAnalyzer | None:
    """The analyzer of the cluster that runs the text; None for a text that DuckDB runs.

    Raises InvalidQuery if the operator has none, or none for this project.
    """
    if text.engine is Engine.DUCKDB:
        return None
    if cluster is None:
        raise InvalidQuery(f"Invalid query: {NO_CLUSTER}", attr="query")
    cluster.require(project_id)
    return cluster


def refuse_unreadable(relations: Iterable[Relation]) -> None:
    """Raise InvalidQuery for a source table that a cluster cannot read as Matview does."""
    for one in relations:
        if isinstance(one, SourceRelation) and not is_plain_parquet(
            one.url_pattern, one.format, one.options, one.stated
        ):
            raise unreadable(one.name)


def unreadable(name: str) -> InvalidQuery:
    """The error of a view on a cluster that reads a source table of that name, directly or through other views."""
    return InvalidQuery(
        f"Invalid query: the source table {name} is text, in a bucket or in a database, or has read options or "
        "stated types. Such tables are read by Matview itself, for DuckDB only. Put a view with the engine duckdb over "
        "it, materialize that, and read it here.",
        attr="query",
    )
