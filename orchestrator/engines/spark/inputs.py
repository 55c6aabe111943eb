"""The inputs of a plan as the cluster reads them: pinned files, and the translated texts of views without a result."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from orchestrator.engines.base import ClusterAnalyzer
from orchestrator.engines.duckdb.analyzer import DuckDBAnalyzer
from orchestrator.engines.spark.names import session_names
from orchestrator.engines.spark.relations import FilesRelation, TextRelation
from orchestrator.model.engine import Dialect, Engine, QueryText
from orchestrator.model.errors import InvalidQuery, QueryRefused
from orchestrator.model.names import name_key
from orchestrator.model.run import RunPlan, SnapshotRelation, SourceRelation, ViewRelation
from orchestrator.model.snapshot import Column, seen
from orchestrator.model.source_table import is_plain_parquet


class Prepared(NamedTuple):
    """All that a session needs to run a plan. `columns` None: the cluster's own."""

    relations: tuple[FilesRelation | TextRelation, ...]
    sql: str
    columns: tuple[Column, ...] | None
    deterministic: bool


class SparkInputs:
    """Prepares plans. DuckDB determines the columns of all texts in its dialect, as it does for its own runs."""

    def __init__(self, analyzer: DuckDBAnalyzer, cluster: ClusterAnalyzer) -> None:
        self._analyzer = analyzer
        self._cluster = cluster

    async def prepare(self, plan: RunPlan, file_url: Callable[[str, str], str]) -> Prepared:
        """The inputs and the statement of a plan. Raises QueryRefused, or InvalidQuery.

        `file_url(location, file name)` is the URL by which the cluster opens the file of a snapshot.
        """
        names = session_names(relation.name for relation in plan.relations)
        known: dict[str, tuple[Column, ...]] = {}
        relations: list[FilesRelation | TextRelation] = []
        deterministic = True
        for relation in plan.relations:
            short = names[name_key(relation.name)]
            if relation.kind != "view":
                known[relation.name] = seen(relation.columns)
                relations.append(FilesRelation(short, _urls(relation, file_url), known[relation.name]))
                continue
            sql, known[relation.name], stays = await self._view(relation, known, plan.project_id)
            deterministic = deterministic and stays
            relations.append(TextRelation(short, sql, known[relation.name]))
        if plan.translated is None:
            raise QueryRefused("The statement for the cluster is missing. Save the view again.")
        columns = None
        if plan.dialect is Dialect.DUCKDB:
            columns = await self._analyzer.describe(plan.sql, known, project_id=plan.project_id)
        else:
            _, stays = await self._analyzer.rewrite_spark(plan.sql, names, project_id=plan.project_id)
            deterministic = deterministic and stays
        return Prepared(tuple(relations), plan.translated, columns, deterministic)

    async def _view(
        self, view: ViewRelation, known: Mapping[str, tuple[Column, ...]], project_id: int
    ) -> tuple[str, tuple[Column, ...], bool]:
        """The statement of a view that is evaluated inside the query, its columns, and whether it is deterministic."""
        try:
            if view.dialect is Dialect.SPARK:
                text = QueryText(view.sql, Engine.SPARK, Dialect.SPARK)
                found = await self._cluster.analyze(text, known, None, project_id=project_id)
                _, stays = await self._analyzer.rewrite_spark(view.sql, known, project_id=project_id)
                return found.sql, found.columns, stays
            columns = await self._analyzer.describe(view.sql, known, project_id=project_id)
            return await self._analyzer.translate(view.sql, known, project_id=project_id), columns, True
        except InvalidQuery as error:
            raise QueryRefused(f'In the view "{view.name}": {error.message}') from None


def _urls(relation: SourceRelation | SnapshotRelation, file_url: Callable[[str, str], str]) -> tuple[str, ...]:
    if relation.kind == "snapshot":
        return tuple(file_url(relation.location, file.name) for file in relation.files)
    if not is_plain_parquet(relation.url_pattern, relation.format, relation.options, relation.stated):
        raise QueryRefused(unreadable(relation.name))
    return tuple(Path(str(file[1])).as_uri() for file in relation.files or ())


def unreadable(name: str) -> str:
    """Why a view on the cluster cannot read a source table of that name."""
    return (
        f"The source table {name} is text, in a bucket or in a database, or has read options or stated types. Such "
        "tables are read by Matview itself, for DuckDB only. Put a view with the engine duckdb over it, materialize "
        "that, and read that."
    )
