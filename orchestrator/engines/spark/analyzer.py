"""Analyses statements for a Spark cluster: translates them, and has the cluster bind them over empty tables."""

from collections.abc import Collection, Mapping, Sequence

from pyspark.sql.connect.session import SparkSession

from orchestrator.engines.base import ClusterStatement, StudiedQuery
from orchestrator.engines.duckdb.analyzer import DuckDBAnalyzer
from orchestrator.engines.spark.names import session_names
from orchestrator.engines.spark.relations import as_columns, columns_of, create_empty
from orchestrator.engines.spark.sessions import Sessions
from orchestrator.model.engine import Dialect, QueryText
from orchestrator.model.errors import ClusterUnavailable, InvalidQuery, QueryFailed, QueryRefused
from orchestrator.model.names import name_key
from orchestrator.model.snapshot import Column

_SECONDS = 30.0
_LONGEST_REASON = 1_000


class SparkAnalyzer:
    """Analyses statements of those projects that may use the cluster: all, if `projects` is None. A ClusterAnalyzer."""

    def __init__(self, sessions: Sessions, parser: DuckDBAnalyzer, projects: Collection[int] | None) -> None:
        self._sessions = sessions
        self._parser = parser
        self._projects = projects

    def require(self, project_id: int) -> None:
        """See ClusterAnalyzer."""
        if self._projects is not None and project_id not in self._projects:
            raise InvalidQuery("Invalid query: this project may not use the engine spark.", attr="query")

    async def study_each(self, statements: Sequence[str], *, project_id: int) -> list[StudiedQuery | InvalidQuery]:
        """See ClusterAnalyzer."""
        return await self._parser.study_spark(statements, project_id=project_id)

    async def analyze(
        self,
        text: QueryText,
        tables: Mapping[str, Sequence[Column]],
        columns: Sequence[Column] | None,
        *,
        project_id: int,
    ) -> ClusterStatement:
        """See ClusterAnalyzer."""
        names = session_names(tables)
        if text.dialect is Dialect.SPARK:
            sql, _ = await self._parser.rewrite_spark(text.sql, tables, project_id=project_id)
        else:
            sql = await self._parser.translate(text.sql, tables, project_id=project_id)

        def bind(session: SparkSession) -> tuple[Column, ...]:
            for name, kinds in tables.items():
                create_empty(session, names[name_key(name)], kinds)
            frame = session.sql(sql)
            if columns is None:
                return columns_of(frame)
            # It is looked at so that the cluster binds the casts too.
            _ = as_columns(frame, columns).schema
            return tuple(columns)

        try:
            return ClusterStatement(sql=sql, columns=await self._sessions.run(bind, seconds=_SECONDS))
        except (QueryFailed, QueryRefused) as error:
            raise InvalidQuery(f"Invalid query: {error.message[:_LONGEST_REASON]}", attr="query") from None
        except TimeoutError:
            raise ClusterUnavailable(f"The Spark cluster did not answer within {_SECONDS:g} seconds.") from None
