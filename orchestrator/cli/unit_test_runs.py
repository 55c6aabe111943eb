"""Runs the unit tests of a project's files, and shows which rows differ."""

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from orchestrator.cli.api_client import Api, Json, data, echo_columns
from orchestrator.cli.output import Failure, StatusLine, echo, hanging
from orchestrator.cli.project.unit_test_files import UnitTestFile
from orchestrator.model.names import name_key
from orchestrator.model.plurals import number_of

_PATH = "definitions/test/"
_AT_ONCE = 50


class UnitTestRun(NamedTuple):
    """A unit test that was run: where it stands, and its result as the API has it."""

    place: str
    result: Json

    @property
    def is_failure(self) -> bool:
        """Whether it failed, or could not be run."""
        return bool(self.result["status"] != "passed")

    @property
    def words(self) -> str:
        """Why it failed, in a line; empty if it passed."""
        if self.result["reason"]:
            return str(self.result["reason"])
        counts = ((self.result["missing_rows"], "missing"), (self.result["unexpected_rows"], "not expected"))
        return ", ".join(f"{number_of(number, 'row')} {word}" for number, word in counts if number)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The rows that differ: those that are missing after a -, those that were not expected after a +."""
        sides = (("    -", self.result["missing"]), ("    +", self.result["unexpected"]))
        return [(sign, *map(_cell, row)) for sign, some in sides for row in some]


def run(api: Api, change: Json, tests: Sequence[UnitTestFile]) -> list[UnitTestRun]:
    """Run tests over the definitions of a project as they would be after a change, that of a plan."""
    line = StatusLine(enabled=not api.as_json)
    found: list[UnitTestRun] = []
    for start in range(0, len(tests), _AT_ONCE):
        some = tests[start : start + _AT_ONCE]
        if line.is_due:
            line.show(f"unit tests: {start} of {len(tests)}")
        answer = data(api.post(_PATH, change | {"tests": [one.body for one in some]}))
        found += [UnitTestRun(one.place, result) for one, result in zip(some, answer["results"], strict=True)]
    line.clear()
    return found


def of_views(tests: Iterable[UnitTestFile], names: Sequence[str] | None) -> list[UnitTestFile]:
    """Those of the tests that are of views of these names; all if there are none."""
    keys = {name_key(name) for name in names or ()}
    return [one for one in tests if not keys or name_key(one.body["view"]) in keys]


def show(runs: Sequence[UnitTestRun]) -> None:
    """Print what failed, and how many passed."""
    for one in runs:
        if one.is_failure:
            title = f"{one.result['view']}: {one.result['name']} ({one.place}): {one.words}"
            echo(hanging("! ", title))
            if one.rows:
                echo_columns(("     ", *one.result["columns"]), one.rows)
    failed = sum(one.is_failure for one in runs)
    echo(f"{number_of(len(runs), 'unit test')}: {len(runs) - failed} passed, {failed} failed")


def require_passed(runs: Iterable[UnitTestRun]) -> None:
    """Raise Failure if a test failed."""
    failed = sum(one.is_failure for one in runs)
    if failed:
        raise Failure(f"nothing can be applied: {number_of(failed, 'unit test')} failed. --skip-tests passes them over")


def _cell(value: object) -> str:
    return "NULL" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
