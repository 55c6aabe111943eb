"""`matview test`: all checks at once, on what readers see now, with a report that CI systems read."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple
from xml.etree import ElementTree as ET

import typer

from orchestrator.cli import tables
from orchestrator.cli.api_client import Api, Json, data, echo_columns, with_api
from orchestrator.cli.checks import find_subject, label, words_of
from orchestrator.cli.output import Failure, StatusLine, echo, echo_json
from orchestrator.cli.views import PATH
from orchestrator.model.check import Severity


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
) -> None:
    """Make all checks on what readers see now. The exit status is 1 if a check of the severity `error` fails."""
    line = StatusLine(enabled=not api.as_json)
    tested: list[_Tested] = []
    for subject, check in _checks(api, names):
        if line.is_due:
            line.show(f"{subject['name']}: {label(check)}")
        began = time.monotonic()
        result = data(api.post(f"{subject['path']}checks/{check['id']}/run/"))
        tested.append(_Tested(subject["name"], check, result, time.monotonic() - began))
    line.clear()
    if junit is not None:
        _write_junit(junit, tested)
    failed = sum(one.is_failure for one in tested)
    if api.as_json:
        echo_json(json.dumps([{"view": one.view, "check": one.check, "result": one.result} for one in tested]))
    elif not tested:
        echo("there are no checks; `matview check add` adds one")
    else:
        _show(tested, failed)
    if failed:
        raise typer.Exit(1)


def _checks(api: Api, names: Sequence[str] | None) -> Iterator[tuple[Json, Json]]:
    if names:
        chosen = [find_subject(api, name) for name in names]
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


def _write_junit(path: Path, tested: Sequence[_Tested]) -> None:
    """JUnit XML as CI systems read it. A warning is a test that was skipped, with its message."""
    failed = sum(one.is_failure for one in tested)
    suite = ET.Element("testsuite", name="matview", tests=str(len(tested)), failures=str(failed), errors="0")
    for one in tested:
        name = one.check["name"] or label(one.check)
        case = ET.SubElement(suite, "testcase", classname=one.view, name=name, time=f"{one.seconds:.3f}")
        if one.result["status"] != "passed":
            kind = "failure" if one.is_failure else "skipped"
            ET.SubElement(case, kind, message=f"{one.result['status']}{words_of(one.result)}").text = one.result["sql"]
    try:
        path.write_bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from None
