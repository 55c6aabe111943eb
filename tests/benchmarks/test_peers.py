"""The parts of the measurement of peers that need no installed peer."""

import asyncio
import itertools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
import yaml

from benchmarks.peers import dagster, dbt, prefect, sqlmesh
from benchmarks.peers.environments import pinned, requirements
from benchmarks.peers.generated_programs import DAGSTER, PREFECT, WRITER
from benchmarks.peers.matview import Plain, Product
from benchmarks.peers.measure import CONTENDERS, FLOOR, PEERS, Column, Race
from benchmarks.peers.report import markdown
from benchmarks.peers.subprocesses import PeerError, environment, run
from benchmarks.peers.workloads import QUICK, WORKLOADS, Sizes, View, Workload, big, dag, small
from tests.support.tenants import until

BINARIES = Path(sys.executable).parent


@pytest.mark.parametrize("name", PEERS)
def test_every_requirement_is_pinned_and_no_index_is_named(name: str) -> None:
    lines = [line for line in requirements(name).read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 10
    for line in lines:
        assert re.fullmatch(r"[a-z0-9._-]+==[\w.]+( ; .+)?", line), line
    asked = requirements(name).with_suffix(".in").read_text().splitlines()
    for line in asked:
        assert pinned(name, line.split("==")[0])


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_has_the_duckdb_of_the_product(name: str) -> None:
    assert pinned(name, "duckdb") == duckdb.__version__


def test_the_dag_has_layers_whose_views_read_two_of_the_layer_above() -> None:
    layers = dag(Sizes()).layers
    assert [len(layer) for layer in layers] == [20] * 10
    for above, layer in itertools.pairwise(layers):
        for view in layer:
            assert len(set(view.reads)) == 2
            assert {*view.reads} <= {one.name for one in above}
    assert dag(Sizes()) == dag(Sizes())


def test_the_big_view_says_what_it_means_to_every_parser() -> None:
    """Without the parentheses, SQLMesh changes the meaning of the expression."""
    assert "((i * 7919) % 100003) / 7.0" in big(QUICK).views[0].sql


@pytest.mark.parametrize("kind", WORKLOADS)
def test_the_sql_of_every_project_makes_what_plain_duckdb_makes(kind: str, tmp_path: Path) -> None:
    workload = WORKLOADS[kind](QUICK)
    floor = Plain(workload, tmp_path / "plain", BINARIES)
    floor.prepare()
    asyncio.run(floor.refresh())
    for number, project in enumerate((in_dbt, in_sqlmesh)):
        contender = Tables(workload, tmp_path / str(number), project)
        contender.prepare()
        assert contender.digest() == floor.digest()


class Tables(sqlmesh.SQLMesh):
    """A contender that runs the SQL of a project's models itself, in the order of the views."""

    def __init__(self, workload: Workload, folder: Path, statement: Callable[[View], str]) -> None:
        super().__init__(workload, folder, BINARIES)
        self._statement = statement

    def prepare(self) -> None:
        super().prepare()
        with duckdb.connect(self.database) as connection:
            connection.execute("CREATE SCHEMA views")
            for view in self.workload.views:
                connection.execute(f"CREATE TABLE views.{view.name} AS {self._statement(view)}")


def in_dbt(view: View) -> str:
    return re.sub(r"\{\{ ref\('(\w+)'\) \}\}", r"views.\1", dbt.model(view))


def in_sqlmesh(view: View) -> str:
    head, _, sql = sqlmesh.model(view).partition(";")
    assert head == f"MODEL (name views.{view.name}, kind FULL)"
    return sql


def test_the_files_of_a_project_can_be_parsed(tmp_path: Path) -> None:
    for kind in (dbt.Dbt, sqlmesh.SQLMesh, dagster.Dagster, prefect.Prefect):
        kind(dag(QUICK), tmp_path / kind.__name__, BINARIES).prepare()
    settings = [*tmp_path.rglob("*.yml"), *tmp_path.rglob("*.yaml")]
    assert len(settings) == 4
    assert all(isinstance(yaml.safe_load(path.read_text()), dict) for path in settings)
    assert len(list(tmp_path.rglob("*.sql"))) == 2 * len(dag(QUICK).views)


@pytest.mark.parametrize("program", [DAGSTER, PREFECT], ids=["dagster", "prefect"])
def test_a_generated_program_is_python_around_the_one_writer(program: str) -> None:
    compile(program, "program", "exec")
    assert program.startswith(WRITER)


def test_the_writer_of_generated_programs_makes_what_plain_duckdb_makes(tmp_path: Path) -> None:
    floor = Plain(dag(QUICK), tmp_path / "plain", BINARIES)
    peer = dagster.Dagster(dag(QUICK), tmp_path / "peer", BINARIES)
    for contender in (floor, peer):
        contender.prepare()
    asyncio.run(floor.refresh())
    (peer.folder / "by_hand.py").write_text(f"{WRITER}\n\nfor view in PLAN['views']:\n    write(view)\n")
    asyncio.run(run([sys.executable, "by_hand.py"], peer.folder, environment(peer.folder, BINARIES)))
    assert peer.digest() == floor.digest()


def test_files_that_were_taken_away_are_missed(tmp_path: Path) -> None:
    contender = Plain(small(QUICK), tmp_path / "plain", BINARIES)
    contender.prepare()
    asyncio.run(contender.refresh())
    assert contender.digest()
    contender.spoil()
    with pytest.raises(duckdb.IOException, match="No files found"):
        contender.digest()


def test_tables_that_were_emptied_are_missed(tmp_path: Path) -> None:
    contender = Tables(small(QUICK), tmp_path / "tables", in_sqlmesh)
    contender.prepare()
    contender.table_schema = "views"
    good = contender.digest()
    contender.spoil()
    assert {rows for rows, _ in good.values()} == {10}
    assert {rows for rows, _ in contender.digest().values()} == {0}


async def test_the_product_makes_what_plain_duckdb_makes(session_folder: Path) -> None:
    floor = Plain(dag(QUICK), session_folder / "peers-plain", BINARIES)
    floor.prepare()
    await floor.refresh()
    product = Product(dag(QUICK), session_folder / "peers", BINARIES)
    product.prepare()
    async with product.serving():
        await product.build()
        product.spoil()
        assert await product.refresh() > 0
    assert product.digest() == floor.digest()


@pytest.mark.parametrize("kind", ["small", "start"])
async def test_a_peer_that_fails_does_not_stop_the_others_and_is_reported(kind: str, tmp_path: Path) -> None:
    race = Race(WORKLOADS[kind](QUICK), tmp_path, {"dbt": tmp_path / "nowhere", FLOOR: BINARIES}, rounds=2)
    columns = await (race.cold_starts() if kind == "start" else race.refreshes("a view"))
    for column in columns:
        assert len(column.seconds[FLOOR]) == 2
        assert "nowhere/dbt" in column.failures["dbt"]
    table = markdown(columns, [FLOOR, "dbt", "prefect"], {"prefect": "no such package"}, race.loads)
    assert "failed" in row_of("dbt", table)
    assert "not installed" in row_of("prefect", table)
    assert "nowhere/dbt" in table
    assert "no such package" in table
    assert not any(path.exists() for path in tmp_path.glob("*/*")), "everything is taken away again"


class Forgetful(Plain):
    """A contender that leaves one row out of each result."""

    async def refresh(self) -> float:
        for view in self.workload.views:
            (self.output / view.name).mkdir()
            duckdb.sql(f"COPY ({view.sql} OFFSET 1) TO '{self.output / view.name}/all.parquet'")
        return 1.0


async def test_wrong_results_are_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONTENDERS, "dbt", Forgetful)
    race = Race(small(QUICK), tmp_path, {FLOOR: BINARIES, "dbt": BINARIES}, rounds=1)
    (column,) = await race.refreshes("a view")
    assert "3 of 3 results" in column.failures["dbt"]
    assert FLOOR not in column.failures


def test_the_table_puts_each_round_beside_the_floor_of_the_same_round() -> None:
    seconds = {FLOOR: [1.0, 2.0, 4.0], "product": [2.0, 2.5, 9.0]}
    columns = [Column("many", 10, "a view", dict(seconds)), Column("one", 1, "times", dict(seconds))]
    table = markdown(columns, [FLOOR, "product"], {}, [0.5, 2.5])
    assert row_of("product", table).endswith("| 2.50 (2.00 to 9.00) | 100 | 2.50 (2.00 to 9.00) | 2.00 |")
    assert "0.5 to 2.5" in table
    assert "Failed" not in table


def row_of(name: str, table: str) -> str:
    return next(line for line in table.splitlines() if line.startswith(f"| {CONTENDERS[name].title} |"))


async def test_a_program_takes_what_it_started_with_it(tmp_path: Path) -> None:
    script = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid); sys.exit(3)"
    with pytest.raises(PeerError, match=r"ended with 3: \d+$") as failed:
        await run([sys.executable, "-c", script], tmp_path, environment(tmp_path, BINARIES))
    status = Path(f"/proc/{str(failed.value).rpartition(' ')[2]}/stat")
    await until(lambda: has_ended(status), "the end of what the program had started")


async def has_ended(status: Path) -> bool:
    try:
        return status.read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_program_keeps_its_own_below_the_folder_and_reports_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    variables = environment(tmp_path, BINARIES, DBT_SEND_ANONYMOUS_USAGE_STATS="false")
    assert "PREFECT_API_URL" not in variables
    assert variables["HOME"].startswith(str(tmp_path))
    assert variables["DO_NOT_TRACK"] == "1"
    assert variables["DBT_SEND_ANONYMOUS_USAGE_STATS"] == "false"
    assert variables["PATH"].split(os.pathsep)[0] == str(BINARIES)
