"""`matview view rows`, `matview query` and `matview view create --preview`."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.output import Failure
from tests.cli.conftest import Matview
from tests.cli.support import OF_VIEW, VIEWS, CannedApi, Json, page, view
from tests.cli.test_escapes import HOSTILE, UNSAFE
from tests.support.terminal import Terminal

DATA = f"{OF_VIEW}data/"
QUERY = "query/"
VERSION = "3d1a0f9e-0000-4000-8000-000000000001"
MATVIEW = [sys.executable, "-m", "orchestrator"]


def rows(*results: list[Any], names: str = "id name", types: str = "BIGINT VARCHAR", more: bool = False) -> Json:
    """Rows as `data/` answers."""
    columns = [{"name": name, "type": kind} for name, kind in zip(names.split(), types.split(), strict=True)]
    following = "http://elsewhere/" if more else None
    version = {"snapshot_id": VERSION, "data_as_of": "2026-01-01T10:00:00.123Z"}
    return {"columns": columns, **version, "next": following, "results": list(results)}


def result(*results: list[Any], more: bool = False, **types: str) -> Json:
    """A result as `query/` answers."""
    return {"results": list(results), "columns": list(types), "types": list(types.items()), "hasMore": more}


@pytest.fixture
def api(api: CannedApi) -> CannedApi:
    api.will_say("GET", VIEWS, page(view()))
    return api


def test_rows_are_a_table_with_numbers_at_the_right(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", DATA, rows([5, "x"], [1234, None]))
    assert matview("view", "rows", "sales").stdout.splitlines() == [
        "  id  name",
        "----  ----",
        "   5  x",
        "1234  null",
        f"(2 rows; version {VERSION}, as of 2026-01-01T10:00:00Z)",
    ]
    assert api.requests[-1][1].endswith("/data/?limit=20&format=json")


@pytest.mark.parametrize(
    ("current", "count"), [(VERSION, "1 of 1,234 rows"), ("another", "1 of 77 rows"), (None, "the first 1 row")]
)
def test_the_number_of_rows_is_that_of_the_version_that_is_shown(
    matview: Matview, api: CannedApi, current: str | None, count: str
) -> None:
    api.will_say("GET", DATA, rows([5, "x"], more=True))
    api.will_say("GET", OF_VIEW, view(current_snapshot_id=current, row_count=1234))
    kept = [{"id": "another", "row_count": 1}, *([{"id": VERSION, "row_count": 77}] if current else [])]
    api.will_say("GET", f"{OF_VIEW}snapshots/", page(*kept))
    assert f"({count}; version {VERSION}" in matview("view", "rows", "sales").stdout


def test_the_part_of_the_rows_is_chosen_by_the_api(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", DATA, b"id\n1\n")
    options = ("--limit", "5", "--columns", 'id,"a,b"', "--snapshot", VERSION, "--format", "csv")
    assert matview("view", "rows", "sales", *options).stdout == "id\n1\n"
    assert api.requests[-1][1].endswith(f"?format=csv&limit=5&columns=id%2C%22a%2Cb%22&snapshot_id={VERSION}")


def test_a_file_is_written_in_the_format_of_its_ending(matview: Matview, api: CannedApi, empty_folder: Path) -> None:
    api.will_say("GET", DATA, b"PAR1\x00\xff\r\nPAR1")
    (empty_folder / "old.parquet").write_text("old")
    (empty_folder / "old.parquet").chmod(0o640)
    (empty_folder / "link.parquet").symlink_to("old.parquet")
    assert matview("view", "rows", "sales", "-o", "link.parquet").exit_code == 0
    assert api.requests[-1][1].endswith("?format=parquet")
    assert (empty_folder / "old.parquet").read_bytes() == b"PAR1\x00\xff\r\nPAR1"
    assert (empty_folder / "old.parquet").stat().st_mode & 0o777 == 0o640
    assert (empty_folder / "link.parquet").is_symlink()


@pytest.mark.parametrize("command", [("view", "rows", "sales"), ("query", "SELECT 1")])
@pytest.mark.parametrize("name", ["out.csv", "out.json"])
def test_an_answer_that_breaks_off_leaves_the_file_as_it_was(
    matview: Matview, api: CannedApi, empty_folder: Path, name: str, command: tuple[str, ...]
) -> None:
    for method, path in (("GET", DATA), ("POST", QUERY)):
        api.will_say(method, path, rows([1, "x"]))
        api.will_break_off(path)
    (empty_folder / "out.json").write_text("old")
    error = matview(*command, "-o", name).exception
    assert isinstance(error, Failure)
    assert "broke off" in str(error)
    assert [(file.name, file.read_text()) for file in empty_folder.iterdir()] == [("out.json", "old")]


def test_a_file_that_cannot_be_written_is_said_before_anything_is_asked(
    matview: Matview, api: CannedApi, empty_folder: Path
) -> None:
    (empty_folder / "folder.csv").mkdir()
    for name, status in (("folder.csv", 2), ("missing/out.csv", 1)):
        error = matview("query", "SELECT 1", "-o", name).exception
        assert isinstance(error, Failure)
        assert (error.status, name in str(error)) == (status, True)
    assert api.posted() == []


def test_a_device_is_written_to_and_not_replaced(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", DATA, b"id\n1\n")
    assert matview("view", "rows", "sales", "-o", "/dev/null", "--format", "csv").exit_code == 0
    assert Path("/dev/null").is_char_device()
    error = matview("view", "rows", "sales", "-o", "/dev/full", "--format", "csv").exception
    assert str(error) == "/dev/full cannot be written: No space left on device"


@pytest.mark.parametrize(
    "options",
    [
        ("--limit", "0"),
        ("--limit", "50001"),
        ("--format", "xml"),
        ("-o", "out.xml"),
        ("--json", "--format", "csv"),
    ],
)
def test_options_that_make_no_sense_are_misuse(matview: Matview, api: CannedApi, options: tuple[str, ...]) -> None:
    assert matview("view", "rows", "sales", *options).exit_code == 2
    assert api.requests == []


def test_json_is_the_answer_of_the_api_and_says_if_there_is_more(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", DATA, rows([1, "x"], more=True))
    for option in (("--json",), ("--format", "json")):
        done = matview("view", "rows", "sales", *option)
        assert json.loads(done.stdout) == rows([1, "x"], more=True)
        assert "there are more rows than these 1" in done.stderr
    assert matview("view", "rows", "sales", "--json", "--limit", "1").stderr == ""


def test_a_query_is_sent_with_its_values_and_an_id(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", QUERY, result([1], n="INTEGER"))
    values = ["n=1", "text=it's", "list=[1, 2]", 'quoted="7"', "empty=", "nan=NaN", "far=1e999", "a=b=c"]
    options = [part for value in values for part in ("--value", value)]
    assert matview("query", "SELECT 1 AS n", *options).stdout == "n\n-\n1\n(1 row)\n"
    (body,) = api.posted()
    assert body is not None
    assert body["query"] == {
        "kind": "SQLQuery",
        "query": "SELECT 1 AS n",
        "values": {
            "n": 1,
            "text": "it's",
            "list": [1, 2],
            "quoted": "7",
            "empty": "",
            "nan": "NaN",
            "far": "1e999",
            "a": "b=c",
        },
    }
    assert body["client_query_id"]


@pytest.mark.parametrize("options", [("n",), ("=1",), ("n=1", "--value", "n=2")])
def test_a_value_has_a_name_of_its_own(matview: Matview, api: CannedApi, options: tuple[str, ...]) -> None:
    assert matview("query", "SELECT 1", "--value", *options).exit_code == 2
    assert api.posted() == []


@pytest.mark.parametrize("arguments", [("-",), ("-f", "q.sql"), ("--file", "-")])
def test_a_query_may_come_from_elsewhere(
    matview: Matview, api: CannedApi, empty_folder: Path, arguments: tuple[str, ...]
) -> None:
    (empty_folder / "q.sql").write_text("SELECT 'ä'")
    api.will_say("POST", QUERY, result(["ä"], s="VARCHAR"))
    assert matview("query", *arguments, stdin="SELECT 'ä'").exit_code == 0
    assert [body["query"]["query"] for body in api.posted() if body] == ["SELECT 'ä'"]


@pytest.mark.parametrize(
    ("options", "more", "last_line"),
    [
        ((), False, "(3 rows)"),
        ((), True, "(3 rows; there are more: a LIMIT in the statement says how many)"),
        (("--limit", "2"), False, "(2 rows of 3)"),
        (("--limit", "1"), True, "(1 row of more than 3)"),
    ],
)
def test_a_table_says_how_many_rows_there_are(
    matview: Matview, api: CannedApi, options: tuple[str, ...], more: bool, last_line: str
) -> None:
    api.will_say("POST", QUERY, result([1], [2], [3], n="INTEGER", more=more))
    assert matview("query", "SELECT n FROM t", *options).stdout.splitlines()[-1] == last_line


def test_a_limit_is_for_tables(matview: Matview, api: CannedApi) -> None:
    assert matview("query", "SELECT 1", "--limit", "2", "--format", "csv").exit_code == 2
    assert api.posted() == []


def test_a_query_that_fails_says_why_and_nothing_else(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", QUERY, {"detail": "Binder Error: no\nLINE 1: x\n        ^"}, status=400)
    for options in ((), ("--format", "csv")):
        error = matview("query", "x", *options).exception
        assert isinstance(error, Failure)
        assert (error.status, str(error)) == (1, "Binder Error: no\nLINE 1: x\n        ^")


@pytest.mark.parametrize("command", [("query", "SELECT 1"), ("query", "SELECT 1", "-o", "out.csv"), ("shell",)])
def test_ctrl_c_cancels_the_query_by_its_id(api: CannedApi, empty_folder: Path, command: tuple[str, ...]) -> None:
    api.will_not_answer(QUERY)
    process = subprocess.Popen(
        [*MATVIEW, *command], cwd=empty_folder, env=os.environ | api.env, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(b"SELECT 1; SELECT 2;\n")
    process.stdin.close()
    deadline = time.monotonic() + 30
    while not api.requests and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    (_, _, body), (method, path, _) = api.requests
    assert body is not None
    assert (method, path) == ("DELETE", f"/api/projects/7/query/{body['client_query_id']}/")
    assert list(empty_folder.iterdir()) == []
    assert process.stderr is not None
    assert process.stderr.read().strip() == b"cancelled"
    process.stderr.close()


def test_values_of_every_kind_are_shown_in_one_line_with_all_their_digits(matview: Matview, api: CannedApi) -> None:
    raw = rb"""{"results": [
      [12345678901234567890123, 1.1, 1e300, true, null, "a\nb\t\u001b[2J", [1.50, null], {"k": "v"}]], "hasMore": false,
      "types": [["h", "HUGEINT"], ["d", "DECIMAL(5,2)"], ["f", "DOUBLE"], ["b", "BOOLEAN"],
      ["n", "INTEGER"], ["s", "VARCHAR"], ["l", "DOUBLE[]"], ["m", "STRUCT(k VARCHAR)"]]}"""
    api.will_say("POST", QUERY, raw)
    line = matview("query", "SELECT 1").stdout.splitlines()[2]
    shown = ["12345678901234567890123", "1.10", "1e300", "true", "null", r"a\nb\t\x1b[2J", "[1.50, null]", '{"k": "v"}']
    assert re.split("  +", line) == shown


def test_a_plan_is_shown_as_it_is_drawn(matview: Matview, api: CannedApi) -> None:
    api.will_say(
        "POST", QUERY, result(["physical_plan", "┌──┐\n└──┘\n"], explain_key="VARCHAR", explain_value="VARCHAR")
    )
    assert matview("query", "EXPLAIN SELECT 1").stdout == "┌──┐\n└──┘\n(1 row)\n"


def test_an_answer_that_is_not_of_the_api_is_an_error(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", QUERY, b"<html>", b"[]", b'{"results": 1}')
    for _ in range(3):
        assert isinstance(matview("query", "SELECT 1").exception, Failure)


def test_a_table_fits_into_the_terminal_and_cannot_control_it(api: CannedApi, empty_folder: Path) -> None:
    long = HOSTILE + "x" * 1000
    api.will_say(
        "GET", DATA, rows([5, None, long, "東" * 100], names="id none wide more", types="INTEGER " + "VARCHAR " * 3)
    )
    with Terminal([*MATVIEW, "view", "rows", "sales"], env=os.environ | api.env, folder=empty_folder) as terminal:
        assert terminal.ends() == 0
    assert "\x1b[2mnull\x1b[22m" in terminal.raw
    lines = terminal.raw.replace("\x1b[2m", "").replace("\x1b[22m", "").split("\r\n")
    assert not any(UNSAFE.search(line) for line in lines)
    assert lines[2].startswith(r" 5  null  first\nsales: 9 rows")
    assert lines[2].endswith("東…")
    assert {len(line) + line.count("東") for line in lines[1:3]} <= {79, 80}


def test_the_name_of_a_column_is_shown_as_a_value_is(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", QUERY, result([1, "x"]) | {"types": [(HOSTILE, "INTEGER"), ("s", "VARCHAR")]})
    lines = matview("query", "SELECT 1").stdout.splitlines()
    assert not any(UNSAFE.search(line) for line in lines)
    assert lines[0].startswith(r"first\nsales: 9 rows, 1 kB\r\x1b[2J")
    assert [len(line) for line in lines[:3]] == [len(lines[0])] * 3


def test_columns_that_do_not_fit_are_named(api: CannedApi, empty_folder: Path) -> None:
    names = [f"column_{n}" for n in range(9)]
    api.will_say("GET", DATA, rows(["x" * 20] * 9, names=" ".join(names), types="VARCHAR " * 9))
    env = os.environ | api.env
    with Terminal([*MATVIEW, "view", "rows", "sales"], env=env, folder=empty_folder, columns=40) as terminal:
        assert terminal.ends() == 0
    lines = terminal.raw.split("\r\n")
    assert lines[0] == "column_0   column_1   column_2  column_3"
    assert lines[3].startswith("(5 more columns: column_4, column_5")
    assert max(len(line) for line in lines[:4]) == 40


@pytest.mark.parametrize("result_format", ["csv", "ndjson", "json"])
def test_no_format_controls_the_terminal(api: CannedApi, result_format: str) -> None:
    text = HOSTILE if result_format == "csv" else json.dumps({"results": [HOSTILE]}, ensure_ascii=False)
    api.will_say("POST", QUERY, text.encode() + b"\n")
    command = [*MATVIEW, "query", "SELECT 1", "--format", result_format]
    with Terminal(command, env=os.environ | api.env) as terminal:
        assert terminal.ends() == 0
    assert not UNSAFE.search(terminal.raw.replace("\r\n", "\n"))
    assert "sales: 9 rows" in terminal.raw
    if result_format != "csv":
        assert json.loads(terminal.raw)["results"] == [HOSTILE]


def test_a_pipe_gets_the_bytes_as_they_are(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", QUERY, f"s\n{HOSTILE}\n".encode() + b"\xff")
    assert matview("query", "SELECT 1", "--format", "csv").stdout_bytes == f"s\n{HOSTILE}\n".encode() + b"\xff"


@pytest.mark.parametrize("result_format", ["parquet", "arrow"])
def test_bytes_are_not_written_to_a_terminal(api: CannedApi, result_format: str) -> None:
    with Terminal([*MATVIEW, "query", "SELECT 1", "--format", result_format], env=os.environ | api.env) as terminal:
        assert terminal.ends() == 2
    assert f"error: {result_format} is not text for a terminal" in terminal.raw
    assert api.posted() == []


def test_a_preview_is_shown_before_the_view_is_saved(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", QUERY, result(*([n] for n in range(30)), n="INTEGER"))
    api.will_say("POST", VIEWS, view(), status=201)
    reported = matview("view", "create", "sales", "SELECT 1", "--preview").stdout.splitlines()
    assert reported[2:12] == [str(n) for n in range(10)]
    assert reported[12] == "(10 rows of 30)"
    assert reported[-1].startswith("created sales")
    assert [path.split("/")[-2] for _, path, _ in api.requests] == ["query", "warehouse_saved_queries"]


def test_a_view_whose_preview_fails_is_not_saved(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", QUERY, {"detail": "Conversion Error: no"}, status=400)
    assert str(matview("view", "create", "sales", "SELECT 1", "--preview").exception) == "Conversion Error: no"
    assert matview("view", "create", "sales", "SELECT 1", "--preview", "--json").exit_code == 2
    assert len(api.posted()) == 1
