"""The command line shows where in a statement an error is: file, line and column, the line, and a caret."""

from pathlib import Path

import pytest

from orchestrator.model.position import position_at
from tests.cli.conftest import Matview
from tests.cli.support import VIEWS, CannedApi, Json
from tests.support.commands import run_matview

SQL = "SELECT day,\n  sum(amout) AS total\nFROM orders\n"
DETAIL = 'Invalid query: Binder Error: Referenced column "amout" not found in FROM clause! Did you mean "amount"?'


def refused(sql: str, index: int, view: str | None = None, detail: str = DETAIL) -> Json:
    position = position_at(sql, index).of_view(view).as_json()
    return {
        "type": "validation_error",
        "code": "invalid_query",
        "detail": detail,
        "attr": "query",
        "position": position,
    }


def lines(api: CannedApi, *arguments: str) -> list[str]:
    result = run_matview(*arguments, cwd=Path.cwd(), env=api.env)
    assert result.returncode == 1, result.stderr
    return result.stderr.splitlines()


def test_the_file_the_line_and_a_caret_are_shown(api: CannedApi, empty_folder: Path) -> None:
    (empty_folder / "models").mkdir()
    (empty_folder / "models" / "daily.sql").write_text(SQL)
    api.will_say("POST", VIEWS, refused(SQL, SQL.index("amout")), status=400)
    assert lines(api, "view", "create", "daily", "--file", "models/daily.sql") == [
        f"error: {DETAIL} (HTTP 400)",
        "       models/daily.sql:2:7",
        "             sum(amout) AS total",
        "                 ^",
    ]


def test_of_a_query_on_the_command_line_it_is_the_line_alone(api: CannedApi) -> None:
    api.will_say("POST", "query/", refused("SELECT amout", 7), status=400)
    assert lines(api, "query", "SELECT amout")[1:] == [
        "       line 1, column 8",
        "           SELECT amout",
        "                  ^",
    ]


def test_an_error_inside_of_another_view_names_that_view_and_not_the_file(api: CannedApi, empty_folder: Path) -> None:
    (empty_folder / "a.sql").write_text("SELECT * FROM v")
    api.will_say("POST", "query/", refused("SELECT 1,\n x", 11, "v"), status=400)
    assert lines(api, "query", "-f", "a.sql") == [f"error: {DETAIL}", "       view v:2:2"]


def test_nothing_in_a_statement_acts_on_the_terminal(api: CannedApi, empty_folder: Path) -> None:
    hostile = "\x1b]0;owned\x07\u202eSELECT \x1b[2J amout"
    (empty_folder / "a\x1b[31m.sql").write_text(hostile)
    answer = refused(hostile, hostile.index("amout"), detail="no column \x1b[31m\u202e")
    api.will_say("POST", VIEWS, answer, status=400)
    shown = lines(api, "view", "create", "x", "--file", "a\x1b[31m.sql")
    assert "\x1b" not in "".join(shown)
    assert "\u202e" not in "".join(shown)
    assert shown[3].index("^") == shown[2].index("amout")


def test_a_megabyte_on_one_line_shows_a_part_of_it(api: CannedApi, empty_folder: Path) -> None:
    sql = f"SELECT '{'x' * 1_000_000}', amout FROM t"
    (empty_folder / "a.sql").write_text(sql)
    api.will_say("POST", VIEWS, refused(sql, sql.index("amout")), status=400)
    shown = lines(api, "view", "create", "x", "--file", "a.sql")
    assert max(map(len, shown)) < 200
    assert shown[1] == f"       a.sql:1:{sql.index('amout') + 1}"


@pytest.mark.parametrize(
    "position", [None, 7, "x", {"line": "one"}, {}, {"line": 1, "column": 1, "excerpt": "x" * 9999}]
)
def test_a_place_that_is_none_is_left_out(api: CannedApi, position: object) -> None:
    api.will_say("POST", VIEWS, {**refused("x", 0), "position": position}, status=400)
    assert lines(api, "view", "create", "x", "SELECT 1") == [f"error: {DETAIL} (HTTP 400)"]


def test_the_error_of_a_view_takes_one_line_of_a_list(matview: Matview, api: CannedApi) -> None:
    from tests.cli.support import page, view  # noqa: PLC0415 - used here only

    api.will_say("GET", VIEWS, page(view(latest_error=f"{DETAIL} (line 2, column 7)\nCandidate bindings: ...")))
    listed = matview("view", "list").stdout.splitlines()
    assert len(listed) == 2
    assert listed[1].endswith("(line 2, column 7)")
