"""Attacks by an author. Each is tried in six ways: the rules, the description, the run, a reader's query, and the
last two without the rules.

An attack is harmless if three things hold. No result, message or name contains a file that is not the author's, a
secret of the environment or another project's data. No file changes or appears outside the folders of its project's
results and of its process. The next query is answered.
"""

import os
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pytest

from orchestrator.engines.base import QueryResult
from orchestrator.engines.duckdb import child_process
from orchestrator.engines.duckdb.reader import DuckDBReader
from orchestrator.model.errors import (
    EngineCrashed,
    InvalidQuery,
    OrchestratorError,
    OutOfMemory,
    OutputTooLarge,
    QueryFailed,
    QueryRefused,
    QueryTimedOut,
    StoreUnavailable,
)
from orchestrator.model.reading import ReadPlan, ResultFormat
from orchestrator.model.run import RunPlan
from orchestrator.model.snapshot import Column, SnapshotFile
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import (
    CANARY_OF_THE_ENVIRONMENT,
    LIMITS,
    WholeEngine,
    file_url,
    make_engine,
    make_plan,
    snapshot,
    view,
)
from tests.engines.duckdb import unruly
from tests.engines.duckdb.attack_corpus import BOMBS, NAMES, REFUSED

SECRET = "CANARY-OF-A-FILE-" + uuid4().hex
FOREIGN = "CANARY-OF-A-PROJECT-" + uuid4().hex
CANARIES = (SECRET, FOREIGN, CANARY_OF_THE_ENVIRONMENT)


class World:
    """A secret file, the snapshots of two projects, links in the folder of the first, and an engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = folder / "secret.csv"
        self.secret.write_text(f"a\n{SECRET}\n")
        self.own = folder / "project" / "own" / "data_0.parquet"
        self.foreign = folder / "project2" / "foreign" / "data_0.parquet"
        for path, value in ((self.own, "mine"), (self.foreign, FOREIGN)):
            path.parent.mkdir(parents=True)
            with duckdb.connect() as connection:
                connection.execute(f"COPY (SELECT '{value}' AS a) TO '{path}' (FORMAT parquet)")
        (self.own.parent / "link.csv").symlink_to(self.secret)
        (self.own.parent / "link").symlink_to(folder)
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.targets = folder / "targets"
        self.targets.mkdir()
        self.engine, self.unruly_engine = self.make_engine(), self.make_engine()
        self.limits = LIMITS.model_copy(update={"memory_mb": 300, "temp_disk_mb": 300})
        self.reader, self.unruly_reader = self.make_reader(), self.make_reader()

    def make_engine(self) -> WholeEngine:
        return make_engine(
            self.scratch,
            roots=[self.folder / "project"],
            analysis_seconds=3,
            memory_mb=300,
            temp_disk_mb=300,
            output_mb=50,
        )

    def make_reader(self) -> DuckDBReader:
        roots = [self.folder / "project"]
        # Not below `folder`: the folder of a process that is kept for the next query stays.
        temp_dir = self.folder.with_name(f"{self.folder.name}-reads")
        return DuckDBReader(source_roots=roots, private=[], temp_dir=temp_dir, queries=3, of_project=2)

    def plan(self, sql: str, seconds: float = 20) -> RunPlan:
        file = SnapshotFile(name=self.own.name, rows=1, bytes=self.own.stat().st_size)
        columns = (Column(name="a", duckdb_type="VARCHAR"),)
        written = QueryResult(files=(file,), rows=1, bytes=file.bytes, columns=columns, engine_version="")
        return make_plan(sql, [snapshot("own", self.own.parent, written)], seconds)

    def spelled(self, sql: str, target: Path) -> str:
        paths = {
            "secret": self.secret, "foreign": self.foreign, "own": self.own, "own_folder": self.own.parent,
            "folder": self.folder, "scratch": self.scratch, "target": target,
        }  # fmt: skip
        for name, path in paths.items():
            sql = sql.replace(f"{{{name}}}", str(path))
        return sql

    def seen(self) -> dict[str, object]:
        """All files and folders that an attack could have changed, except those that its run may write to."""
        places = [self.folder, Path.cwd(), Path.home() / ".duckdb"]
        found: dict[str, object] = {}
        for path in (p for place in places for p in ([*place.rglob("*")] if place == self.folder else listed(place))):
            if path.is_relative_to(self.targets) or (path.parent == self.scratch and path.name.startswith("run-")):
                continue
            inside = path.is_relative_to(self.folder) and path.is_file()
            found[str(path)] = path.read_bytes() if inside else path.is_dir()
        return found


def listed(folder: Path) -> list[Path]:
    return [*folder.iterdir()] if folder.is_dir() else []


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = World(tmp_path_factory.mktemp("world"))
    await world.engine.start()
    yield world
    for one in (world.reader, world.unruly_reader, world.engine, world.unruly_engine):
        await one.close()


@pytest.fixture
def target(world: World) -> Path:
    folder = world.targets / f"target-{uuid4().hex}"
    folder.mkdir()
    return folder


class Doors:
    """Tries a statement in each way, and records all answers and error messages."""

    def __init__(self, world: World, target: Path, sql: str, seconds: float = 20) -> None:
        self.world, self.engine, self.target = world, world.engine, target
        self.sql = world.spelled(sql, target)
        self.plan = world.plan(self.sql, seconds)
        self.reported: list[str] = []

    async def references(self) -> OrchestratorError | None:
        return await self._listen(self.engine.analyzer.references(self.sql))

    async def describe(self) -> OrchestratorError | None:
        tables = {"own": [Column(name="a", duckdb_type="VARCHAR")]}
        return await self._listen(self.engine.analyzer.describe(self.sql, tables))

    async def write(self) -> OrchestratorError | None:
        """Run the statement as a view, in the process that the project's runs share."""
        return await self._listen(self._write(self.engine))

    async def write_past_the_rules(self) -> OrchestratorError | None:
        """The same in a process that does not check the statement first."""
        for path in self.target.iterdir():
            path.unlink()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(child_process, "serve", unruly.serve)
            return await self._listen(self._write(self.world.unruly_engine))

    async def _write(self, engine: WholeEngine) -> QueryResult:
        target = WriteTarget.local(self.target, shared=(self.world.own.parent.parent, self.world.targets))
        return await engine.write(self.plan, file_url, target, lambda _: None)

    async def read(self) -> OrchestratorError | None:
        """Ask for the rows as a client of the API does, in the process that the project's queries share."""
        return await self._listen(self._read(self.world.reader))

    async def read_past_the_rules(self) -> OrchestratorError | None:
        """The same in a process that does not check it first."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(child_process, "serve", unruly.serve)
            return await self._listen(self._read(self.world.unruly_reader))

    async def _read(self, reader: DuckDBReader) -> bytes:
        plan = ReadPlan(
            sql=self.sql,
            relations=self.plan.relations,
            format=ResultFormat.NDJSON,
            limits=self.world.limits,
            timeout_seconds=min(2, self.plan.timeout_seconds),
        )
        folder = str(self.world.own.parent.parent)
        async with reader.session(1, folder, self.world.limits) as session, session.read(plan, file_url) as stream:
            found = b""
            async for chunk in stream.chunks():
                found = (found + chunk)[:1_000_000]
            return found

    async def _listen(self, door: Awaitable[Any]) -> OrchestratorError | None:
        """The error that was raised, if any. An exception other than OrchestratorError fails the test."""
        try:
            answer = await door
        except OrchestratorError as error:
            self.reported.append(error.message)
            return error
        self.reported.append(repr(answer))
        if isinstance(answer, QueryResult):
            assert {file.name for file in answer.files} == {path.name for path in self.target.iterdir()}
            with duckdb.connect() as connection:
                rows = connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM '{self.target}/*.parquet' LIMIT 1000")
                self.reported.append(repr(rows.fetchall()))
        return None

    def assert_harmless(self) -> None:
        for canary in CANARIES:
            assert not any(canary in text for text in self.reported)


@pytest.mark.parametrize("sql", REFUSED.values(), ids=REFUSED.keys())
async def test_what_a_view_may_not_do_is_refused_at_every_door(world: World, target: Path, sql: str) -> None:
    before = world.seen()
    doors = Doors(world, target, sql)
    refused = await doors.references()
    assert isinstance(refused, InvalidQuery)
    assert refused.message.startswith("Invalid query: ")
    await doors.describe()
    assert isinstance(await doors.write(), QueryRefused)
    assert list(target.iterdir()) == []
    past = await doors.write_past_the_rules()
    assert past is None or isinstance(past, (QueryRefused, QueryFailed))
    # SHOW TABLES is a query over the information schema, which is no table of this plan.
    assert isinstance(await doors.read(), (InvalidQuery, QueryRefused, QueryFailed))
    past = await doors.read_past_the_rules()
    assert past is None or isinstance(past, (InvalidQuery, QueryRefused, QueryFailed))
    doors.assert_harmless()
    assert world.seen() == before
    assert await world.engine.analyzer.references("SELECT * FROM t") == ("t",)


@pytest.mark.parametrize("sql", NAMES.values(), ids=NAMES.keys())
async def test_a_name_reaches_nothing_but_the_tables_of_the_plan(world: World, target: Path, sql: str) -> None:
    before = world.seen()
    doors = Doors(world, target, sql)
    for door in (doors.references, doors.describe, doors.write, doors.read):
        error = await door()
        assert error is None or isinstance(error, (InvalidQuery, QueryRefused, QueryFailed))
    past = await doors.write_past_the_rules()
    assert past is None or isinstance(past, (QueryRefused, QueryFailed, StoreUnavailable))
    past = await doors.read_past_the_rules()
    assert past is None or isinstance(past, (QueryRefused, QueryFailed, StoreUnavailable))
    doors.assert_harmless()
    assert world.seen() == before
    assert await world.engine.analyzer.references("SELECT * FROM t") == ("t",)


@pytest.mark.parametrize("sql", BOMBS.values(), ids=BOMBS.keys())
async def test_a_query_that_wants_everything_costs_itself_alone(world: World, target: Path, sql: str) -> None:
    before = world.seen()
    doors = Doors(world, target, sql, seconds=2)
    for look in (doors.references, doors.describe):
        error = await look()
        assert error is None or isinstance(error, (InvalidQuery, EngineCrashed))
    error = await doors.write()
    limits = (QueryRefused, QueryFailed, QueryTimedOut, OutOfMemory, OutputTooLarge, EngineCrashed)
    assert error is None or isinstance(error, limits)
    error = await doors.read()
    assert error is None or isinstance(error, (*limits, InvalidQuery))
    doors.assert_harmless()
    assert world.seen() == before
    after = Doors(world, target.with_name(f"{target.name}-after"), "SELECT a FROM own")
    after.target.mkdir()
    assert await after.references() is None
    assert await after.describe() is None
    for door in (after.write, after.read):
        assert await door() is None
        assert "mine" in after.reported[-1]


async def test_a_view_that_is_evaluated_inside_a_run_is_held_to_the_rules_too(world: World, target: Path) -> None:
    inner = world.spelled("SELECT * FROM read_text('{secret}')", target)
    with pytest.raises(QueryRefused, match=r'In the view "inner": Invalid query: .*read_text\(\) is not allowed'):
        await world.engine.write(
            make_plan("SELECT 1 AS a", [view("inner", inner)]), file_url, WriteTarget.local(target), lambda _: None
        )
    plan = make_plan("SELECT * FROM b", [view("b", "SELECT * FROM sqlite_master")])
    with pytest.raises(QueryFailed, match='In the view "b": Catalog Error: Table with name sqlite_master'):
        await world.engine.write(plan, file_url, WriteTarget.local(target), lambda _: None)


async def test_the_door_past_the_rules_is_past_them(world: World, target: Path) -> None:
    doors = Doors(world, target, "SELECT getvariable('a') AS a")
    assert isinstance(await doors.write(), QueryRefused)
    assert await doors.write_past_the_rules() is None
    assert isinstance(await doors.read(), QueryRefused)
    assert await doors.read_past_the_rules() is None


async def test_the_canaries_would_be_noticed(world: World, target: Path) -> None:
    for n, canary in enumerate(CANARIES):
        doors = Doors(world, target.with_name(f"{target.name}-{n}"), f"SELECT '{canary}' AS a")
        doors.target.mkdir()
        assert await doors.write() is None
        with pytest.raises(AssertionError):
            doors.assert_harmless()
    before = world.seen()
    (world.folder / "stolen.csv").touch()
    assert world.seen() != before
    (world.folder / "stolen.csv").unlink()
    assert os.environ["CANARY_OF_THE_ENVIRONMENT"] == CANARY_OF_THE_ENVIRONMENT
