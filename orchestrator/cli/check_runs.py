"""`matview test`: all checks at once, on what readers see now, with a report that CI systems read."""

import json
import re
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple
from xml.etree import ElementTree as ET

import typer

from orchestrator.cli import tables
from orchestrator.cli.api_client import Api, Json, Refused, Unavailable, data, echo_columns, with_api
from orchestrator.cli.check_facts import label
from orchestrator.cli.checks import find_subject, words_of
from orchestrator.cli.output import Failure, StatusLine, echo, echo_json
from orchestrator.cli.project import files, unit_test_files
from orchestrator.cli.project.unit_test_files import TESTS
from orchestrator.cli.unit_test_runs import UnitTestRun, of_views, run, show
from orchestrator.cli.views import PATH
from orchestrator.model.check import Severity
from orchestrator.model.names import name_key

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def add_to(program: typer.Typer) -> None:
    """Add the command."""
    program.command("test")(run_all)


class _Tested(NamedTuple):
    view: str
    check: Json
    result: Json
    seconds: float

    @property
    def is_failure(self) -> bool:
        return bool(self.result["status"] != "passed" and self.result["severity"] == Severity.ERROR)


@with_api
def run_all(
    api: Api,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Only those of these views and tables; else all.")
    ] = None,
    *,
    junit: Annotated[Path | None, typer.Option(help="Also write the results to this file, as JUnit XML.")] = None,
    folder: Annotated[
        Path, typer.Option("--dir", help="The project whose unit tests to run; the current folder if not given.")
    ] = Path(),
    unit: Annotated[bool, typer.Option("--unit", help="Only run the unit tests of the project's files.")] = False,
) -> None:
    """Run the unit tests of a project's files, and make all checks on what readers see now.

    The exit status is 1 if a unit test or a check of the severity `error` fails.
    """
    # The current folder need be no project; another one is one, or is said to be none.
    project = files.read(folder) if folder != Path() or files.is_project(folder) else None
    tests = of_views(unit_test_files.read(folder), names) if project else []
    runs = run(api, project.body(), tests) if project and tests else []
    if runs and not api.as_json:
        show(runs)
    line = StatusLine(enabled=not api.as_json)
    tested: list[_Tested] = []
    for subject, check in [] if unit else _checks(api, names, {name_key(one.body["view"]) for one in tests}):
        if line.is_due:
            line.show(f"{subject['name']}: {label(check)}")
        began = time.monotonic()
        result = data(api.post(f"{subject['path']}checks/{check['id']}/run/"))
        tested.append(_Tested(subject["name"], check, result, time.monotonic() - began))
    line.clear()
    if junit is not None:
        _write_junit(junit, tested, runs)
    failed = sum(one.is_failure for one in tested)
    if api.as_json:
        checks = [{"view": one.view, "check": one.check, "result": one.result} for one in tested]
        unit_tests = [one.result | {"place": one.place} for one in runs]
        echo_json(json.dumps({"unit_tests": unit_tests, "checks": checks}))
    elif unit and not runs:
        echo(f"there are no unit tests: {folder / TESTS} holds none")
    elif not tested and not unit:
        echo("there are no checks; `matview check add` adds one")
    elif tested:
        _show(tested, failed)
    if failed or any(one.is_failure for one in runs):
        raise typer.Exit(1)


def _checks(api: Api, names: Sequence[str] | None, tested: Collection[str]) -> Iterator[tuple[Json, Json]]:
    """The checks to make. A view that only files have, and whose unit tests are run, has none yet."""
    if names:
        chosen = []
        for name in names:
            try:
                chosen.append(find_subject(api, name))
            except Failure as error:
                if name_key(name) not in tested or isinstance(error, Refused | Unavailable):
                    raise
    else:
        chosen = [one | {"path": f"{path}{one['id']}/"} for path in (PATH, tables.PATH) for one in api.items(path)]
    for subject in chosen:
        for check in api.items(f"{subject['path']}checks/"):
            if check["enabled"]:
                yield subject, check


def _show(tested: Sequence[_Tested], failed: int) -> None:
    rows = [
        (
            one.view,
            one.check["name"],
            label(one.check),
            one.result["severity"],
            one.result["status"],
            words_of(one.result).removeprefix(": "),
        )
        for one in tested
    ]
    echo_columns(("VIEW", "NAME", "CHECK", "SEVERITY", "STATUS", "FOUND"), rows)
    warned = sum(one.result["status"] != "passed" for one in tested) - failed
    more = f", {warned} with a warning" if warned else ""
    echo(f"{len(tested)} checks: {len(tested) - failed - warned} passed, {failed} failed{more}")


def _write_junit(path: Path, tested: Sequence[_Tested], runs: Sequence[UnitTestRun]) -> None:
    """JUnit XML as CI systems read it. A warning is a test that was skipped, with its message."""
    failed = sum(one.is_failure for one in tested) + sum(one.is_failure for one in runs)
    number = str(len(tested) + len(runs))
    suite = ET.Element("testsuite", name="matview", tests=number, failures=str(failed), errors="0")
    for ran in runs:
        names = {"classname": _xml(ran.result["view"]), "name": _xml(ran.result["name"])}
        case = ET.SubElement(suite, "testcase", names, time=f"{ran.result['seconds']:.3f}")
        if ran.is_failure:
            text = "\n".join([f"{ran.place}: {', '.join(ran.result['columns'])}", *map(" ".join, ran.rows)])
            ET.SubElement(case, "failure", message=_xml(ran.words)).text = _xml(text)
    for one in tested:
        name = _xml(one.check["name"] or label(one.check))
        case = ET.SubElement(suite, "testcase", classname=one.view, name=name, time=f"{one.seconds:.3f}")
        if one.result["status"] != "passed":
            kind = "failure" if one.is_failure else "skipped"
            ET.SubElement(case, kind, message=_xml(f"{one.result['status']}{words_of(one.result)}")).text = _xml(
                one.result["sql"] or ""
            )
    try:
        path.write_bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from None


def _xml(text: str) -> str:
    """The text without the characters that XML cannot have."""
    return _NOT_XML.sub("\ufffd", text)
