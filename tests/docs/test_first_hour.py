"""The page of the first hour: a test holds each of its rows. Three of its facts are about the documentation itself."""

import re
import tomllib

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "first-hour.md").read_text()
_ROW = re.compile(r"^\| (?P<typed>.+?) \| (?P<answer>.+?) \| `(?P<test>tests/[\w/]+\.py::test_\w+)` \|$")
_HEAD = ("| Typed | Answer | Held by |", "|---|---|---|")
ROWS = [line for line in PAGE.splitlines() if line.startswith("|") and line not in _HEAD]


def test_no_row_is_there_twice_and_none_is_lost_unnoticed() -> None:
    assert len(ROWS) == len(set(ROWS)) == 76


@pytest.mark.parametrize("row", ROWS)
def test_a_row_says_what_is_typed_what_comes_and_which_test_holds_it(row: str) -> None:
    assert _ROW.match(row), row


def test_the_readme_says_what_there_is_not() -> None:
    readme = (ROOT / "README.md").read_text()
    assert re.search(r"^Matview does not have: \w+", readme, flags=re.MULTILINE)
    limits = readme.partition("## Limits, today\n")[2].partition("\n## ")[0]
    assert len(re.findall("^- ", limits, flags=re.MULTILINE)) > 1


def test_the_packages_of_the_wheel_are_named_where_operators_meet_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    guide = (ROOT / "docs" / "operating.md").read_text().partition("**The logs**")[2].partition("\n\n")[0]
    assert {*packages} <= {*re.findall(r"`(\w+)`", guide)}
