"""Processes that are kept for the next run of their project: who gets one, and what a query leaves behind in it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import uuid4

import duckdb
import pytest

from orchestrator.engines.base import QueryResult
from orchestrator.engines.duckdb import child_process, kept_processes
from orchestrator.engines.duckdb.kept_processes import KeptProcess
from orchestrator.model.errors import QueryFailed, QueryRefused
from orchestrator.model.limits import Limits
from orchestrator.model.run import Relation
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import ReadOptions, SourceFormat
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import LIMITS, WholeEngine, file_url, make_engine, make_plan, snapshot, source, view


class Project:
    """A project of an engine, whose results have folders of their own, as the store gives them to a run."""

    def __init__(self, engine: WholeEngine, folder: Path, project_id: int = 1) -> None:
        self.engine, self.project_id = engine, project_id
        self.sealed, self.staged = folder / f"snapshots{project_id}", folder / f"staging{project_id}"
        self.sealed.mkdir()
        self.staged.mkdir()

    async def write(self, sql: str, relations: Sequence[Relation] = (), limits: Limits | None = None) -> QueryResult:
        folder = self.staged / uuid4().hex
        folder.mkdir()
        plan = make_plan(sql, relations, limits=limits).model_copy(update={"project_id": self.project_id})
        target = WriteTarget.local(folder, shared=(self.sealed, self.staged))
        written = await self.engine.write(plan, file_url, target, lambda _: None)
        self.last = folder
        return written

    async def rows(self, sql: str, relations: Sequence[Relation] = ()) -> list[tuple[object, ...]]:
        await self.write(sql, relations)
        with duckdb.connect() as connection:
            return connection.execute(f"FROM read_parquet('{self.last}/*.parquet')").fetchall()

    async def sealed_result(self, name: str, sql: str) -> Relation:
        """The result of `sql` as an input of other queries."""
        written = await self.write(sql)
        return snapshot(name, self.last.rename(self.sealed / uuid4().hex), written)

    @property
    def idle(self) -> list[KeptProcess]:
        return [one for one in self.engine._processes._idle if one.reach.project_id == self.project_id]

    @property
    def pids(self) -> set[int | None]:
        return {process.child.pid for process in self.idle}


@pytest.fixture
async def mine(tmp_path: Path, data: Path) -> AsyncIterator[WholeEngine]:
    engine = make_engine(tmp_path / "scratch", roots=[data], threads=1)
    yield engine
    await engine.close()
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.fixture
def project(mine: WholeEngine, tmp_path: Path) -> Project:
    return Project(mine, tmp_path)


async def test_a_process_serves_run_after_run_of_one_project_alone(
    project: Project, mine: WholeEngine, tmp_path: Path
) -> None:
    other = Project(mine, tmp_path, 2)
    await project.write("SELECT 1 AS n")
    (first,) = project.pids
    await other.write("SELECT 2 AS n")
    assert await project.rows("SELECT 3 AS n") == [(3,)]
    assert project.pids == {first}
    assert other.pids.isdisjoint({first})


async def test_runs_at_once_have_processes_of_their_own(project: Project) -> None:
    await asyncio.gather(*(project.write("SELECT sum(i) AS n FROM range(3000000) t(i)") for _ in range(3)))
    assert len(project.pids) == 3


async def test_a_query_reads_its_own_inputs_under_names_that_the_query_before_had(project: Project) -> None:
    one = await project.sealed_result("ns.t", "SELECT 1 AS n")
    two = await project.sealed_result("ns.t", "SELECT 2 AS n, 'x' AS s")
    for relation, expected in ((one, [(1,)]), (two, [(2, "x")]), (one, [(1,)])):
        assert await project.rows("SELECT * FROM ns.t", [relation]) == expected
        assert await project.rows('SELECT * FROM "ns.t"', [relation]) == expected
    assert await project.rows("SELECT * FROM ns.T", [view("NS.t", "SELECT 3 AS n")]) == [(3,)]
    assert len(project.pids) == 1


@pytest.mark.parametrize("sql", ["SELECT * FROM t", 'SELECT * FROM ns."t"', "SELECT * FROM memory.main.t"])
async def test_a_query_sees_nothing_of_the_query_before(project: Project, sql: str) -> None:
    await project.write("SELECT n FROM t", [view("t", "SELECT 1 AS n"), view("ns.t", "SELECT 2 AS n")])
    (process,) = project.idle
    with pytest.raises((QueryFailed, QueryRefused)):
        await project.write(sql)
    assert process not in project.idle  # what a failed query left behind is not known


async def test_rows_left_out_are_those_of_the_query_itself(project: Project, data: Path) -> None:
    (data / "a.csv").write_text("n\n1\nx\n3\n")
    (data / "b.csv").write_text("n\n1\n2\n")
    options = ReadOptions(on_bad_row="quarantine")
    columns = [Column(name="n", duckdb_type="BIGINT")]
    tables = [
        source(name, SourceFormat.CSV_WITH_NAMES, f"{data}/{name}.csv", columns).model_copy(update={"options": options})
        for name in ("a", "b")
    ]
    for _ in range(2):
        assert [one.rows for one in (await project.write("SELECT n FROM a", [tables[0]])).rejected] == [1]
        assert (await project.write("SELECT n FROM b", [tables[1]])).rejected == ()
        both = await project.write("SELECT a.n FROM a JOIN b USING (n)", tables)
        assert [(one.table, one.rows) for one in both.rejected] == [("a", 1)]


async def test_a_process_is_used_again_only_for_files_that_it_may_open(project: Project, data: Path) -> None:
    columns = [Column(name="n", duckdb_type="BIGINT")]
    a, b = (source(name, SourceFormat.CSV_WITH_NAMES, f"{data}/{name}*.csv", columns) for name in ("a", "b"))
    for name in ("a", "b"):
        (data / f"{name}.csv").write_text("n\n1\n")
    assert await project.rows("SELECT n FROM a", [a]) == [(1,)]
    (first,) = project.pids
    with (data / "a.csv").open("a", encoding="utf-8") as file:  # the same file, which has grown
        file.write("2\n")
    assert await project.rows("SELECT n FROM a ORDER BY n", [a]) == [(1,), (2,)]
    assert project.pids == {first}

    assert await project.rows("SELECT n FROM b", [b]) == [(1,)]
    assert len(project.pids) == 2
    (data / "a.csv").unlink()
    (data / "a.csv").write_text("n\n7\n")  # another file of the same name
    (data / "a2.csv").write_text("n\n8\n")
    assert await project.rows("SELECT n FROM a ORDER BY n", [a]) == [(7,), (8,)]
    assert len(project.pids) == 3


@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_a_file_that_was_changed_in_place_is_read_again(project: Project, data: Path, kind: str) -> None:
    path = data / f"a.{kind}"

    def write(value: int) -> None:
        with duckdb.connect() as connection:
            connection.execute(f"COPY (SELECT {value}::BIGINT AS n) TO '{data}/new' (FORMAT {kind})")
        content = (data / "new").read_bytes()
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(content)
            file.truncate()
        os.utime(path, (1_700_000_000, 1_700_000_000))

    written = SourceFormat.CSV_WITH_NAMES if kind == "csv" else SourceFormat.PARQUET
    table = source("a", written, str(path), [Column(name="n", duckdb_type="BIGINT")])
    for value in (1, 2, 3):
        write(value)
        assert await project.rows("SELECT n FROM a", [table]) == [(value,)]
    assert len(project.pids) == 1


async def test_other_limits_need_another_process(project: Project) -> None:
    await project.write("SELECT 1 AS n")
    await project.write("SELECT 1 AS n", limits=LIMITS.model_copy(update={"memory_mb": 300}))
    assert {process.reach.limits.memory_mb for process in project.idle} == {300, LIMITS.memory_mb}


async def test_a_process_that_is_ended_as_it_answers_is_not_kept(project: Project) -> None:
    await project.write("SELECT 1 AS n")
    (process,) = project.idle
    kept = project.engine._processes
    taken = await kept.take(process.reach)
    assert taken is process
    await process.end()
    process.is_usable = True
    await kept.give_back(process)
    assert project.idle == []
    assert await project.rows("SELECT 2 AS n") == [(2,)]


async def test_a_process_that_died_while_it_was_idle_is_replaced(project: Project) -> None:
    await project.write("SELECT 1 AS n")
    (process,) = project.idle
    assert process.child.pid
    os.kill(process.child.pid, signal.SIGKILL)
    for _ in range(1000):
        if process.child.has_ended():
            break
        await asyncio.sleep(0.01)
    assert await project.rows("SELECT 2 AS n") == [(2,)]
    assert process.child.pid not in project.pids


async def test_rows_left_out_of_one_query_are_no_table_of_the_next(project: Project, data: Path) -> None:
    (data / "a.csv").write_text("n\n1\nx\n")
    columns = [Column(name="n", duckdb_type="BIGINT")]
    table = source("a", SourceFormat.CSV_WITH_NAMES, f"{data}/a.csv", columns)
    skipping = table.model_copy(update={"options": ReadOptions(on_bad_row="skip")})
    assert [one.rows for one in (await project.write("SELECT n FROM a", [skipping])).rejected] == [1]
    own = view("rows_left_out", "SELECT 7 AS n")
    assert await project.rows("SELECT n FROM rows_left_out", [own]) == [(7,)]
    assert len(project.pids) == 1


async def test_a_kept_process_that_dies_of_a_query_is_no_verdict_on_the_query(project: Project) -> None:
    await project.write("SELECT 1 AS n")
    (process,) = project.idle
    running = asyncio.create_task(project.rows("SELECT sum(i) % 2 AS n FROM range(300000000) t(i)"))
    while process not in project.engine._processes.busy:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert process.child.pid
    os.kill(process.child.pid, signal.SIGKILL)
    assert len(await running) == 1
    assert process.child.pid not in project.pids


async def test_idle_processes_hold_little_memory_together(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_processes, "_MOST_IDLE_BYTES", 150 << 20)
    await asyncio.gather(*(project.write("SELECT sum(i) AS n FROM range(3000000) t(i)") for _ in range(6)))
    assert 0 < len(project.idle) < 6
    assert sum(process.held_bytes for process in project.idle) <= 150 << 20


async def test_a_process_is_not_kept_for_ever(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    await project.write("SELECT 1 AS n")
    monkeypatch.setattr(kept_processes, "_LIFETIME_SECONDS", 0.0)
    await project.write("SELECT 1 AS n")
    assert project.idle == []


async def test_a_process_that_grew_large_is_not_kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "_MOST_KEPT", 1 << 20)
    await project.write(
        "SELECT max(s) AS s FROM (SELECT repeat('x', 1000) || i AS s FROM range(300000) t(i) ORDER BY 1)"
    )
    assert project.idle == []


async def test_a_seed_is_of_its_query_alone(project: Project) -> None:
    found = set()
    for _ in range(3):
        await project.write("SELECT setseed(0.5) AS s")
        found |= set(await project.rows("SELECT random() AS r"))
    assert len(found) == 3
    assert len(project.pids) == 1
