"""One real engine for the tests of the folder, and helpers that run a query with it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import duckdb
import pytest

from orchestrator.engines.base import QueryResult
from orchestrator.engines.duckdb.analyzer import DuckDBAnalyzer
from orchestrator.engines.duckdb.engine import DuckDBEngine
from orchestrator.engines.duckdb.source_file_lister import SourceFileLister
from orchestrator.model.limits import Limits
from orchestrator.model.run import Relation, RunPlan, SnapshotRelation, SourceRelation, Trigger, ViewRelation
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import SourceFormat
from orchestrator.model.write_target import WriteTarget

ID = UUID("018f0000-0000-7000-8000-000000000001")

# Set before the first child process starts, so that each could inherit it.
CANARY_OF_THE_ENVIRONMENT = os.environ.setdefault("CANARY_OF_THE_ENVIRONMENT", f"CANARY-{uuid4().hex}")
LIMITS = Limits(memory_mb=500, threads=2, temp_disk_mb=4000, output_mb=2000)


class WholeEngine(DuckDBEngine):
    """An engine, and beside it the analyzer and the source lister that a process has with it."""

    def __init__(
        self, source_lister: SourceFileLister, *, limits: Limits, analysis_seconds: float, **more: Any
    ) -> None:
        super().__init__(source_lister, limits=limits, **more)
        self.source_lister = source_lister
        self.analyzer = DuckDBAnalyzer(source_lister, limits=limits, seconds=analysis_seconds)

    async def start(self) -> None:
        await super().start()
        await self.analyzer.start()

    async def close(self) -> None:
        await super().close()
        await self.analyzer.close()
        await self.source_lister.close()


def make_engine(
    temp_dir: Path,
    *,
    roots: Sequence[Path] = (),
    private: Sequence[Path] = (),
    worker_memory_mb: int = 4000,
    analysis_seconds: float = 10,
    **limits: int,
) -> WholeEngine:
    """An engine with these limits for each query, and otherwise those of LIMITS. It must be closed."""
    return WholeEngine(
        SourceFileLister(roots, [*private, temp_dir.absolute()]),
        limits=LIMITS.model_copy(update=limits),
        worker_memory_mb=worker_memory_mb,
        temp_dir=temp_dir,
        analysis_seconds=analysis_seconds,
    )


def file_url(location: str, name: str) -> str:
    return f"{location}/{name}"


def make_plan(
    sql: str, relations: Sequence[Relation] = (), timeout_seconds: float = 60, limits: Limits | None = None
) -> RunPlan:
    return RunPlan(
        run_id=ID,
        generation_id=ID,
        trigger=Trigger.API,
        project_id=1,
        saved_query_id=ID,
        revision_id=ID,
        name="v",
        sql=sql,
        relations=tuple(relations),
        timeout_seconds=timeout_seconds,
        limits=limits,
    )


def view(name: str, sql: str) -> ViewRelation:
    return ViewRelation(name=name, id=ID, sql=sql)


def source(name: str, kind: SourceFormat, pattern: str, columns: Sequence[Column] = ()) -> SourceRelation:
    return SourceRelation(name=name, id=ID, format=kind, url_pattern=pattern, columns=tuple(columns))


def snapshot(name: str, location: Path, written: QueryResult) -> SnapshotRelation:
    return SnapshotRelation(
        name=name, id=ID, snapshot_id=ID, location=str(location), files=written.files, columns=written.columns
    )


class Result:
    """The result of a query, and the folder that it wrote to."""

    def __init__(self, written: QueryResult, folder: Path) -> None:
        self.written = written
        self.folder = folder

    @property
    def types(self) -> list[str]:
        return [column.duckdb_type for column in self.written.columns]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.written.columns]

    def rows(self, what: str = "*") -> list[tuple[Any, ...]]:
        with duckdb.connect() as connection:
            return connection.execute(f"SELECT {what} FROM read_parquet('{self.folder}/*.parquet')").fetchall()


Run = Callable[..., Awaitable[Result]]


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture
def data(roots: Path) -> Path:
    """An empty folder below the folder that source tables may read."""
    folder = roots / uuid4().hex
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
async def engine(roots: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WholeEngine]:
    scratch = tmp_path_factory.mktemp("scratch")
    engine = make_engine(scratch, roots=[roots])
    await engine.start()
    yield engine
    await engine.close()
    assert list(scratch.iterdir()) == []


@pytest.fixture
def run(engine: WholeEngine, tmp_path: Path) -> Run:
    async def run_query(sql: str, relations: Sequence[Relation] = (), timeout_seconds: float = 60) -> Result:
        folder = tmp_path / uuid4().hex
        folder.mkdir()
        plan = make_plan(sql, relations, timeout_seconds)
        return Result(await engine.write(plan, file_url, WriteTarget.local(folder), lambda _: None), folder)

    return run_query
