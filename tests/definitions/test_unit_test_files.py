"""Unit tests in the files of a project: how they are written, run and shown, and that a plan runs them."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from orchestrator.cli.output import Failure
from orchestrator.cli.project import unit_test_files
from tests.support.command_line import Commands, out
from tests.support.tenants import Json, Tenant

TEST = """\
- name: a day is summed
  view: by_day
  given:
    raw_orders:
      - {id: 1, day: 2026-01-01, amount: 2.5}
      - {id: 2, day: 2026-01-01, amount: 1}
      - {id: 3, day: , amount: null}
  expect:
    - {day: 2026-01-01, orders: 2, revenue: 3.5}
    - {day: ~, orders: 1}
- name: no orders, no days
  view: by_day
  given: {raw_orders: orders.csv}
  expect: []
"""
SQL = "SELECT day, count(*) AS orders, sum(amount) AS revenue FROM raw_orders GROUP BY day\n"


def project(folder: Path) -> Path:
    """A project of one table and one view, with two unit tests."""
    for name in ("views", "tests/more", "data"):
        (folder / name).mkdir(parents=True)
    (folder / "data" / "orders.csv").write_text("id,day,amount\n1,2026-01-01,5.5\n")
    (folder / "sources.yml").write_text("tables:\n  raw_orders:\n    format: CSVWithNames\n    path: data/orders.csv\n")
    (folder / "views" / "by_day.sql").write_text(f"/*---\nfrequency: 1hour\n---*/\n{SQL}")
    (folder / "tests" / "more" / "orders.csv").write_text("id,day,amount\n")
    (folder / "tests" / "more" / "days.yml").write_text(TEST)
    return folder


def read(folder: Path, text: str, **files: str) -> list[Json]:
    (folder / "tests").mkdir(exist_ok=True)
    (folder / "tests" / "t.yml").write_text(text)
    for name, content in files.items():
        (folder / "tests" / f"{name}.csv").write_text(content)
    return [one.body for one in unit_test_files.read(folder)]


def test_every_way_of_writing_rows_is_read(tmp_path: Path) -> None:
    text = """\
- name: one
  view: v
  given:
    a: [{x: 1, y: '', z: "null", n: null, e: , t: ~, l: [1, ~], s: {k: no}}]
    b:
    c: rows.csv
  expect: rows.csv
"""
    (found,) = read(tmp_path, text, rows='x,"a b"\n1,"two\nlines"\n,\n\n')
    rows = [{"x": "1", "a b": "two\nlines"}, {"x": None, "a b": None}]
    assert found == {
        "name": "one",
        "view": "v",
        "given": {
            "a": [
                {"x": "1", "y": "", "z": "null", "n": None, "e": None, "t": None, "l": ["1", None], "s": {"k": "no"}}
            ],
            "b": [],
            "c": rows,
        },
        "expect": rows,
    }
    assert read(tmp_path, "") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b", "tests/t.yml:1: it holds a list, as in `- name: …`"),
        ("- a\n", "tests/t.yml:1:3: a test has name, view, given and expect"),
        ("- name: x\n  view: v\n", "tests/t.yml:1:3: expect is missing; an empty list stands for no rows"),
        ("- name: x\n  expect: []\n", "tests/t.yml:1:3: view is missing"),
        ("- name: x\n  view: v\n  expcet: []\n", "tests/t.yml:1:3: there is no 'expcet' here; did you mean 'expect'?"),
        ("- {name: x, view: v, expect: [1]}\n", "tests/t.yml:1:3: expect is a list of rows"),
        ("- {name: x, view: v, expect: rows.txt}\n", "the name of a CSV file that ends with .csv"),
        ("- {name: x, view: v, expect: no.csv}\n", "no.csv cannot be read"),
        ("- {name: x, view: v, expect: bad.csv}\n", "bad.csv:2: it has 1 values, and the first line 2"),
        ("- {name: x, view: v, given: [], expect: [}\n", "tests/t.yml:1:"),
        ("- &a {name: x, view: v, expect: []}\n", "tests/t.yml:1:3: anchors are not used here"),
        ("- {name: x, view: v, expect: []}\n" * 2, "tests/t.yml:2:3: another test of v has the name x"),
    ],
)
def test_a_test_that_is_written_wrong_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Failure) as error:
        read(tmp_path, text, bad="a,b\n1\n")
    assert said in str(error.value)


async def test_unit_tests_are_run_before_anything_is_applied(matview: Commands, folder: Path, tenant: Tenant) -> None:
    project(folder / "shop")
    view = folder / "shop" / "views" / "by_day.sql"
    shown = out(await matview("plan", "shop"))
    assert shown.endswith("2 unit tests: 2 passed, 0 failed\n")
    view.write_text(view.read_text().replace("count(*)", "count(amount) + 1"))
    failed = await matview("apply", "shop", "--yes", status=1)
    lines = out(failed).splitlines()
    at = next(n for n, line in enumerate(lines) if "a day is summed" in line)
    assert lines[at] == "! by_day: a day is summed (tests/more/days.yml:1:3): 1 row missing, 1 row not expected"
    assert [line.split() for line in lines[at + 1 : at + 4]] == [
        ["day", "orders", "revenue"],
        ["-", "2026-01-01", "2", "3.5"],
        ["+", "2026-01-01", "3", "3.5"],
    ]
    assert b"nothing can be applied: 1 unit test failed. --skip-tests passes them over" in failed.stderr
    assert (await tenant.call("GET", "/definitions/"))["views"] == []
    await matview("apply", "shop", "--yes", "--no-refresh", "--skip-tests")
    assert len((await tenant.call("GET", "/definitions/"))["views"]) == 1
    planned = await matview("plan", "shop", "--json", status=1)
    assert b'"place": "tests/more/days.yml:1:3"' in planned.stdout


async def test_unit_tests_stand_in_the_report_for_ci(matview: Commands, folder: Path, tenant: Tenant) -> None:
    project(folder / "shop")
    report = folder / "report.xml"
    words = ("test", "--dir", "shop", "--junit", str(report))
    assert "2 unit tests: 2 passed, 0 failed" in out(await matview(*words, "--unit"))
    assert (await tenant.call("GET", "/definitions/"))["views"] == [], "they need nothing of the project"
    assert "2 passed" in out(await matview(*words, "by_day")), "a view that only files have"
    await matview("apply", "shop", "--yes", "--no-refresh")
    await matview("check", "add", "by_day", "row_count", "--set", "min=1", "--warn")
    text = folder / "shop" / "tests" / "more" / "days.yml"
    text.write_text(text.read_text().replace("orders: 2", "orders: 4"))
    failed = await matview(*words, status=1)
    assert "2 unit tests: 1 passed, 1 failed" in out(failed)
    suite = ET.parse(report).getroot()  # noqa: S314 - the command has written it
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    (failure,) = suite.iter("failure")
    assert failure.get("message") == "1 row missing, 1 row not expected"
    assert failure.text is not None
    assert "tests/more/days.yml:1:3" in failure.text
    as_json = await matview("test", "--dir", "shop", "--json", status=1)
    assert b'"unit_tests": [{"name": "a day is summed"' in as_json.stdout
    nothing = out(await matview("test", "--unit"))
    assert "there are no unit tests: tests holds none" in nothing
    assert b"is no project" in (await matview("test", "--dir", "nowhere", status=1)).stderr
