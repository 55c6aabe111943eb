"""Both engines over the same files: DuckDB, and a Sail server."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.engines.spark.analyzer import SparkAnalyzer
from orchestrator.engines.spark.engine import SparkEngine
from orchestrator.engines.spark.sessions import Sessions
from orchestrator.engines.spark.shared_folder import SharedFolder
from orchestrator.model.engine import Dialect, Engine, QueryText
from orchestrator.model.run import SnapshotRelation
from orchestrator.model.snapshot import seen
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import LIMITS, Result, Run, WholeEngine, file_url, make_plan, snapshot
from tests.support.sail_server import sail_server

OnSpark = Callable[..., Awaitable[Result]]


@pytest.fixture(scope="session")
def sail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with sail_server(tmp_path_factory.mktemp("sail") / "log") as remote:
        yield remote


@pytest.fixture(scope="session")
async def sessions(sail: str) -> AsyncIterator[Sessions]:
    opened = Sessions(sail, most=4)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def cluster(sessions: Sessions, engine: WholeEngine) -> SparkAnalyzer:
    return SparkAnalyzer(sessions, engine.analyzer, None)


@pytest.fixture(scope="session")
def spark(sessions: Sessions, engine: WholeEngine, cluster: SparkAnalyzer) -> SparkEngine:
    return SparkEngine(
        sessions, engine.analyzer, cluster, engine, SharedFolder(), limits=LIMITS, most=2, slots=8, projects=None
    )


@pytest.fixture
def on_spark(spark: SparkEngine, cluster: SparkAnalyzer, engine: WholeEngine, tmp_path: Path) -> OnSpark:
    """Run a query as a view on the cluster runs it: saved, and then written."""

    async def run_query(
        sql: str, relations: Sequence[SnapshotRelation] = (), dialect: Dialect = Dialect.DUCKDB
    ) -> Result:
        text = QueryText(sql, Engine.SPARK, dialect)
        tables = {one.name: seen(one.columns) for one in relations}
        is_ours = dialect is Dialect.DUCKDB
        columns = await engine.analyzer.describe(sql, tables, project_id=1) if is_ours else None
        found = await cluster.analyze(text, tables, columns, project_id=1)
        folder = tmp_path / uuid4().hex
        folder.mkdir()
        own = {"engine": Engine.SPARK, "dialect": dialect, "translated": found.sql}
        plan = make_plan(sql, relations).model_copy(update=own)
        return Result(await spark.write(plan, file_url, WriteTarget.local(folder), lambda _: None), folder)

    return run_query


@pytest.fixture
async def values(run: Run) -> SnapshotRelation:
    """A result of DuckDB's with values at the edges of their types."""
    made = await run(
        """
        SELECT * FROM (VALUES
            (1, 10::BIGINT, 1.25::DECIMAL(9,2), 0.5::DOUBLE, 'abc', DATE '2024-02-29', TIMESTAMP '2024-02-29 23:59:59.5',
             TIMESTAMPTZ '2024-03-31 01:30:00+02', true),
            (2, -7, -1.25, -2.5, 'Äbc', DATE '1969-12-31', TIMESTAMP '1969-12-31 00:00:00', TIMESTAMPTZ '1970-01-01 00:00:00Z', false),
            (3, 9000000000000000000, 9999999.99, 1e300, 'it''s a \\ "b" %', DATE '2000-01-01', TIMESTAMP '2000-01-01 12:00:00',
             TIMESTAMPTZ '2000-12-31 23:00:00-05', NULL),
            (4, 9000000000000000000, 0.05, 2.5, '', DATE '2024-12-30', TIMESTAMP '2024-12-30 06:07:08', NULL, true),
            (5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
        ) AS v(i, n, d, f, s, day, ts, tz, b)
        """  # noqa: E501
    )
    return snapshot("t", made.folder, made.written)
