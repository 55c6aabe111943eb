"""The journey in the product, typed in full; of the other tools, the parts that need none of them installed."""

import re
import sys
from pathlib import Path

import duckdb
import pytest
import yaml

from benchmarks.journey.measure import measure
from benchmarks.journey.project import RENAMED, SOURCES, VIEWS, data, in_plain_duckdb
from benchmarks.journey.report import figures_table, typed_table
from benchmarks.journey.steps import INSTALL, TITLES, Step, Taken, Traveller, check, expected, take
from benchmarks.journey.travellers import TRAVELLERS, Dbt, InOneFile, Matview, SQLMesh
from benchmarks.peers.subprocesses import PeerError, environment

DOCUMENT = (Path(__file__).parents[2] / "docs" / "peers-benchmark.md").read_text()
ALL = [kind() for kind in TRAVELLERS.values()]


@pytest.mark.timeout(240)  # it starts a stack of its own
async def test_the_product_makes_the_whole_journey(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = await measure(tmp_path, rounds=1, tools=["matview"], installs=0)
    assert [figure.name for figure in figures] == [
        f"Matview: {title}{what}" for name, title in TITLES.items() if name != INSTALL for what in ("", ", processor")
    ]
    assert all(len(figure.values) == 1 and figure.values[0] > 0 for figure in figures)
    printed = capsys.readouterr().out
    assert "`matview view rollback total <id>`" in printed
    assert not any(tmp_path.iterdir()), "everything is taken away again"


def test_each_change_of_the_journey_shows_in_the_rows() -> None:
    assert expected("build")["best"] == [("GRACE",)]
    assert expected("refresh")["best"] == [("ADA",)]
    assert expected("refused") == expected("back") == expected("refresh")
    assert expected("edit").keys() == expected("back").keys()
    assert expected("rollback")["total"] == expected("build")["total"] != expected("back")["total"]


def test_the_edit_alone_breaks_the_two_views_that_read_the_column() -> None:
    for reader in ("buyers", "countries"):
        before = dict(list(VIEWS.items())[: list(VIEWS).index("buyers")])
        assert in_plain_duckdb(SOURCES, {**before, **RENAMED})
        with pytest.raises(duckdb.BinderException, match="amount"):
            in_plain_duckdb(SOURCES, {**before, **RENAMED, reader: VIEWS[reader]})


@pytest.mark.parametrize("traveller", ALL, ids=lambda one: one.key)
def test_every_tool_has_every_step_or_a_reason_why_not(traveller: Traveller) -> None:
    steps = traveller.steps()
    assert [INSTALL, *steps] == list(TITLES)
    for step in steps.values():
        assert isinstance(step, Step) or len(step.reason) > 20


@pytest.mark.parametrize("traveller", [Dbt(), SQLMesh()], ids=lambda one: one.key)
def test_the_models_of_a_tool_make_what_plain_duckdb_makes_and_a_wrong_row_is_seen(
    traveller: InOneFile, tmp_path: Path
) -> None:
    step = traveller.typed_steps()["build"]
    texts = written(step, tmp_path)
    assert all(yaml.safe_load(text) for path, text in texts.items() if path.endswith((".yml", ".yaml")))
    schema = traveller.table_schema
    with duckdb.connect(tmp_path / "warehouse.duckdb") as connection:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        connection.execute("SET file_search_path = ?", [str(tmp_path)])
        for name in VIEWS:
            sql = by_hand(texts[f"models/{name}.sql"], schema)
            connection.execute(
                f"CREATE {'VIEW' if is_view(texts[f'models/{name}.sql']) else 'TABLE'} {schema}.{name} AS {sql}"
            )
    check(traveller, "build", tmp_path)
    with pytest.raises(PeerError, match="after 'new data, all refreshed', "):
        check(traveller, "refresh", tmp_path)
    written(Step(files=data({"returns": "order_id\n1\n"})), tmp_path)
    with pytest.raises(PeerError, match="stg_returns has"):
        check(traveller, "build", tmp_path)


def written(step: Step, folder: Path) -> dict[str, str]:
    for path, text in step.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return dict(step.files)


def is_view(model: str) -> bool:
    return "materialized='view'" in model or "kind VIEW" in model


def by_hand(model: str, schema: str) -> str:
    """The statement of a model, with what dbt would replace."""
    sql = re.sub(r"^(\{\{ config.*|MODEL .*;)$", "", model, flags=re.MULTILINE)
    sql = re.sub(r"\{\{ ref\('(\w+)'\) \}\}", rf"{schema}.\1", sql)
    return re.sub(r"\{\{ source\('files', '(\w+)'\) \}\}", r"'data/\1.csv'", sql)


async def test_a_command_that_ends_otherwise_or_prints_something_else_stops_the_journey(tmp_path: Path) -> None:
    variables = environment(tmp_path, Path(sys.executable).parent)
    picking = ("echo 7", "test <id> = 7 && cat a/b && for i in $(seq 100000); do :; done")
    taken = await take(Step(picking, {"a/b": "text"}, shows="text", picks=str.strip), tmp_path, variables)
    assert taken.seconds > 0
    assert taken.processor > 0
    await take(Step(("echo no; exit 3",), shows="no", fails=True), tmp_path, variables)
    for step, words in (
        (Step(("echo no; exit 3",)), "ended with 3: no"),
        (Step(("true",), fails=True), "ended with 0"),
        (Step(("false", "false"), fails=True), "ended with 1"),
        (Step(("echo yes",), shows="no"), "did not print 'no': yes"),
    ):
        with pytest.raises(PeerError, match=words):
            await take(step, tmp_path, variables)


def test_pip_gets_pinned_versions_of_every_tool(tmp_path: Path) -> None:
    for traveller in ALL:
        (folder := tmp_path / traveller.key).mkdir()
        command = traveller.install(folder)
        assert command.startswith("pip install ")
        pins = [line for line in (folder / "pins.txt").read_text().splitlines() if not line.startswith("#")]
        assert len(pins) > 30
        assert all("==" in line and "--hash" not in line for line in pins)


def test_the_document_has_the_commands_that_are_typed() -> None:
    assert typed_table(ALL) in DOCUMENT


def test_the_table_has_medians_and_sums_what_every_tool_has() -> None:
    taken = [Taken(1, 0.5), Taken(2, 0.25), Taken(6, 8)]
    ours, theirs = (dict.fromkeys([INSTALL, *names], taken) for names in (TITLES, Dbt().typed_steps()))
    table = figures_table([Matview(), Dbt()], {"matview": ours, "dbt": theirs})
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()}
    assert rows[TITLES["build"]].endswith("| 1 (11 files) | 2.0 | 0.5 | 1 (13 files) | 2.0 | 0.5 |")
    assert rows[TITLES["rollback"]].endswith("| 2 | 2.0 | 0.5 | no command |  |  |")
    assert rows["all steps that each of them has, without pip"].endswith(
        "| 8 (18 files) | 16.0 | 4.0 | 7 (20 files) | 14.0 | 3.5 |"
    )
    assert rows[TITLES[INSTALL]].endswith("| 1 | 2.0 | 0.5 | 1 | 2.0 | 0.5 |")
