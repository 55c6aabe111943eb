"""The contract of every engine with its two clients; each engine is one parameter. The SQL is portable."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import pyarrow.parquet as pq
import pytest

from orchestrator.engines.base import QueryAnalyzer, QueryResult, QueryRunner
from orchestrator.model.errors import InvalidQuery, InvalidSource, QueryFailed, QueryTimedOut, StoreUnavailable
from orchestrator.model.run import Progress, Relation, RunPlan
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import SourceFormat
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import file_url, make_engine, make_plan, snapshot, source, view

ENDLESS = "SELECT count(*) AS n FROM range(1000000000000) t(i) WHERE i % 7 = 3 AND i % 11 = 5"


class AnyEngine(QueryRunner, Protocol):
    """An engine for the worker, and its analyzer for the API."""

    @property
    def analyzer(self) -> QueryAnalyzer: ...

    async def close(self) -> None: ...


MAKERS: dict[str, Callable[[Path, Path], AnyEngine]] = {
    "duckdb": lambda scratch, root: make_engine(scratch, roots=[root]),
}


@pytest.fixture(params=sorted(MAKERS))
async def any_engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyEngine]:
    (tmp_path / "sources").mkdir()
    made = MAKERS[request.param](tmp_path / "scratch", tmp_path / "sources")
    yield made
    await made.close()


@pytest.fixture
def target(tmp_path: Path) -> WriteTarget:
    (tmp_path / "target").mkdir()
    return WriteTarget.local(tmp_path / "target")


async def write(
    engine: QueryRunner, plan: RunPlan, target: WriteTarget, seen: Callable[[Progress], None] = lambda _: None
) -> QueryResult:
    return await engine.write(plan, file_url, target, seen)


async def test_a_statement_names_what_it_reads_each_once_and_in_order(any_engine: AnyEngine) -> None:
    sql = "SELECT a.n FROM sales.orders a JOIN people p ON a.n = p.n WHERE a.n IN (SELECT n FROM sales.orders)"
    assert await any_engine.analyzer.references(sql, project_id=1) == ("sales.orders", "people")


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT 1; SELECT 2", "CREATE TABLE t (a INT)", ""])
async def test_what_is_not_exactly_one_select_is_refused(any_engine: AnyEngine, sql: str) -> None:
    with pytest.raises(InvalidQuery):
        await any_engine.analyzer.references(sql, project_id=1)


async def test_a_query_is_weighed_with_the_texts_of_the_views_in_it(any_engine: AnyEngine) -> None:
    views = {"twice": "SELECT * FROM t UNION ALL SELECT * FROM t"}
    assert await any_engine.analyzer.weigh("SELECT * FROM twice", views, project_id=1) > 2


async def test_the_columns_are_those_that_a_run_gives(any_engine: AnyEngine, target: WriteTarget) -> None:
    sql = "SELECT 1 AS a, 'x' AS b, CAST(1.5 AS DECIMAL(4,1)) AS c"
    described = await any_engine.analyzer.describe(sql, {}, project_id=1)
    written = await write(any_engine, make_plan(sql), target)
    assert [(c.name, c.duckdb_type) for c in described] == [(c.name, c.duckdb_type) for c in written.columns]


async def test_a_view_that_does_not_bind_spoils_no_other(any_engine: AnyEngine) -> None:
    tables = {"t": [Column(name="n", duckdb_type="INTEGER")]}
    views: list[tuple[str, str, list[Column]]] = [
        ("good", "SELECT n FROM t", []),
        ("bad", "SELECT missing FROM t", []),
        ("over", "SELECT n FROM good", []),
    ]
    good, bad, over = await any_engine.analyzer.describe_each(views, tables, project_id=1)
    assert not isinstance(good, InvalidQuery)
    assert not isinstance(over, InvalidQuery)
    assert isinstance(bad, InvalidQuery)
    assert 'Referenced column "missing" not found' in bad.message
    assert [column.name for column in over] == ["n"]


async def test_a_source_that_is_not_there_is_refused(any_engine: AnyEngine, tmp_path: Path) -> None:
    with pytest.raises(InvalidSource):
        await any_engine.analyzer.inspect_source(
            str(tmp_path / "sources" / "*.csv"), SourceFormat.CSV_WITH_NAMES, project_id=1
        )


async def test_a_result_is_parquet_in_the_target_and_its_sizes_are_true(
    any_engine: AnyEngine, target: WriteTarget
) -> None:
    written = await write(any_engine, make_plan("SELECT i AS n FROM range(10) t(i)"), target)
    paths = [target.folder / file.name for file in written.files]
    assert sorted(n for path in paths for n in pq.read_table(path)["n"].to_pylist()) == list(range(10))
    assert (written.rows, written.bytes) == (10, sum(path.stat().st_size for path in paths))
    assert [file.bytes for file in written.files] == [path.stat().st_size for path in paths]


async def test_a_run_reads_snapshots_views_and_source_tables(
    any_engine: AnyEngine, target: WriteTarget, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    first.mkdir()
    before = await write(any_engine, make_plan("SELECT 1 AS n"), WriteTarget.local(first))
    path = tmp_path / "sources" / "t.csv"
    path.write_text("n\n4\n", encoding="utf-8")
    columns = (await any_engine.analyzer.inspect_source(str(path), SourceFormat.CSV_WITH_NAMES, project_id=1)).columns
    relations: list[Relation] = [
        snapshot("s", first, before),
        view("v", "SELECT n + 1 AS n FROM s"),
        source("t", SourceFormat.CSV_WITH_NAMES, str(path), columns),
    ]
    sql = "SELECT n FROM s UNION ALL SELECT n FROM v UNION ALL SELECT n FROM t"
    written = await write(any_engine, make_plan(sql, relations), target)
    found = [n for file in written.files for n in pq.read_table(target.folder / file.name)["n"].to_pylist()]
    assert sorted(found) == [1, 2, 4]
    assert list(written.sources) == ["t"]


async def test_a_query_that_fails_leaves_no_file(any_engine: AnyEngine, target: WriteTarget) -> None:
    with pytest.raises(QueryFailed):
        await write(any_engine, make_plan("SELECT CAST('x' AS INTEGER) AS n"), target)
    assert list(target.folder.iterdir()) == []


async def test_a_query_that_takes_too_long_is_ended(any_engine: AnyEngine, target: WriteTarget) -> None:
    with pytest.raises(QueryTimedOut):
        await write(any_engine, make_plan(ENDLESS, timeout_seconds=0.5), target)
    assert list(target.folder.iterdir()) == []


async def test_a_query_reports_progress_and_a_cancel_ends_it(any_engine: AnyEngine, target: WriteTarget) -> None:
    seen = asyncio.Event()
    running = asyncio.create_task(write(any_engine, make_plan(ENDLESS), target, lambda _: seen.set()))
    await asyncio.wait_for(seen.wait(), 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert list(target.folder.iterdir()) == []


async def test_a_target_that_the_engine_cannot_write_to_is_an_error_of_the_store(any_engine: AnyEngine) -> None:
    with pytest.raises(StoreUnavailable):
        await write(any_engine, make_plan("SELECT 1 AS n"), WriteTarget(url="nowhere://bucket/run"))
