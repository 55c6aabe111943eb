"""`matview check …`, `matview test` and `matview view publish`: checks that keep bad data from readers."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple
from xml.etree import ElementTree as ET

import typer

from orchestrator.cli import tables
from orchestrator.cli.api_client import Api, Json, data, echo_columns, moment, with_api
from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure, StatusLine, echo, echo_json
from orchestrator.cli.program import advice
from orchestrator.cli.result_table import Column, echo_table
from orchestrator.cli.versions import PublishedSnapshot
from orchestrator.cli.views import PATH, View, find
from orchestrator.model.check import Assertion, CheckType, Severity
from orchestrator.model.names import fold

app = typer.Typer(help="Checks of the rows of views and source tables.", no_args_is_help=True, rich_markup_mode=None)

Subject = Annotated[
    str, typer.Argument(metavar="NAME", help="The view or the source table, by its name or its id.", show_default=False)
]
CheckOption = Annotated[
    str, typer.Argument(metavar="CHECK", help="The check, by its name, its id or its number in `check list`.")
]
_Column = Annotated[str | None, typer.Option("--column", "-c", help="The column that it is about.")]
_Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="KEY=VALUE", help="A part of its config, as `check types` has them; VALUE may be JSON."
    ),
]
_Where = Annotated[str | None, typer.Option(help="An SQL condition: only rows that fulfil it are checked.")]
_Name = Annotated[str | None, typer.Option(help="A name, unique in the project.")]
_Warn = Annotated[bool | None, typer.Option("--warn/--error", help="Only show a failure, or keep the result back.")]
_Enable = Annotated[bool | None, typer.Option("--enable/--disable", help="Whether runs make it.")]
_Description = Annotated[str | None, typer.Option(help="Why it is there.")]


def add_to(program: typer.Typer, views: typer.Typer) -> None:
    """Add the commands."""
    for name, command in (
        *(("list", list_checks), ("add", add), ("show", show), ("edit", edit), ("delete", delete)),
        *(("run", run), ("results", list_results), ("rows", show_rows), ("types", list_types)),
    ):
        app.command(name)(command)
    program.add_typer(app, name="check")
    program.command("test")(run_all)
    views.command("publish")(publish)


@with_api
def list_checks(api: Api, subject: Subject) -> None:
    """List the checks of a view or a source table, each with its newest result."""
    path = f"{_subject(api, subject)['path']}checks/"
    if api.as_json:
        echo_json(api.whole_list(path))
        return
    echo_columns(
        ("#", "NAME", "CHECK", "SEVERITY", "LATEST", "FAILING", "WHEN", "ID"),
        [(number, *_line(one)) for number, one in enumerate(api.items(path), start=1)],
    )


@with_api
def add(
    api: Api,
    subject: Subject,
    check_type: Annotated[CheckType, typer.Argument(help="What it asserts; `check types` explains each.")],
    *,
    column: _Column = None,
    settings: _Settings = None,
    where: _Where = None,
    name: _Name = None,
    warn: _Warn = None,
    description: _Description = None,
) -> None:
    """Add a check to a view or a source table. A run makes it before readers see its result.

    For example: matview check add orders accepted_values --column status --set 'values=["paid", "refunded"]'
    """
    found = _subject(api, subject)
    body = _body(column, settings, where, name, warn=warn) | {"check_type": check_type.value}
    if description is not None:
        body["description"] = description
    response = api.post(f"{found['path']}checks/", body)
    if api.as_json:
        echo_json(response.text)
        return
    made = data(response)
    how = "added" if response.status_code == 201 else "it has this check already"  # noqa: PLR2004 - HTTP's number
    echo(f"{found['name']}: {how}: {_label(made)} ({made['severity']})")
    echo(f"to make it now: {advice('check', 'run', found['name'], made['name'] or made['id'])}")


@with_api
def show(api: Api, subject: Subject, check: CheckOption) -> None:
    """Show a check of a view or a source table."""
    found = _subject(api, subject)
    response = api.get(f"{_path(api, found, check)}")
    if api.as_json:
        echo_json(response.text)
        return
    one = data(response)
    latest = one.pop("latest_run")
    for field, value in one.items():
        if value is not None and value not in ("", [], {}):
            echo(f"{field}: {value if isinstance(value, str) else json.dumps(value)}")
    if latest is not None:
        echo(f"latest: {latest['status']} at {moment(latest['created_at'])}{_found(latest)}")


@with_api
def edit(
    api: Api,
    subject: Subject,
    check: CheckOption,
    *,
    column: _Column = None,
    settings: _Settings = None,
    where: _Where = None,
    name: _Name = None,
    warn: _Warn = None,
    enable: _Enable = None,
    description: _Description = None,
) -> None:
    """Change a check of a view or a source table. With --set or --where, its whole config is replaced."""
    found = _subject(api, subject)
    body = _body(column, settings, where, name, warn=warn)
    if not settings and where is None:
        body.pop("config", None)
    if enable is not None:
        body["enabled"] = enable
    if description is not None:
        body["description"] = description
    response = api.patch(_path(api, found, check), body)
    if api.as_json:
        echo_json(response.text)
    else:
        echo(f"{found['name']}: changed: {_label(data(response))}")


@with_api
def delete(api: Api, subject: Subject, check: CheckOption) -> None:
    """Delete a check of a view or a source table."""
    found = _subject(api, subject)
    api.delete(_path(api, found, check))
    if not api.as_json:
        echo(f"{found['name']}: the check is deleted")


@with_api
def run(api: Api, subject: Subject, check: CheckOption) -> None:
    """Make a check on what readers see now; the exit status is 1 if it fails."""
    found = _subject(api, subject)
    response = api.post(f"{_path(api, found, check)}run/")
    result = data(response)
    if api.as_json:
        echo_json(response.text)
    else:
        echo(f"{found['name']}: {result['status']}{_found(result)}")
        if result["status"] == "failed" and result["sql"]:
            echo(f"to see the rows: {advice('query', result['sql'])}")
    if result["status"] != "passed":
        raise typer.Exit(1)


@with_api
def list_results(api: Api, subject: Subject, check: CheckOption) -> None:
    """List the results of a check, newest first."""
    path = f"{_path(api, _subject(api, subject), check)}runs/"
    if api.as_json:
        echo_json(api.whole_list(path))
        return
    echo_columns(
        ("WHEN", "STATUS", "FAILING", "BY", "REASON", "ID"),
        [
            (
                *(moment(one["created_at"]), one["status"], one["failing_rows"]),
                *("a run" if one["run_id"] or one["generation_id"] else "a person", one["reason"], one["id"]),
            )
            for one in api.items(path)
        ],
    )


@with_api
def show_rows(
    api: Api,
    subject: Subject,
    check: CheckOption,
    result: Annotated[
        str | None, typer.Argument(help="The id of the result, from `check results`; the newest with rows if none.")
    ] = None,
) -> None:
    """Show some of the rows that a check has failed on in a run."""
    path = f"{_path(api, _subject(api, subject), check)}runs/"
    chosen = result or next((one["id"] for one in api.items(path) if one["has_rows"]), None)
    if chosen is None:
        raise Failure("no failing rows are kept of this check; `check run` shows how to select those of now")
    response = api.get(f"{path}{chosen}/rows/")
    if api.as_json:
        echo_json(response.text)
        return
    found = data(response)
    echo_table([Column(one["name"], one["type"]) for one in found["columns"]], found["results"])


@with_api
def list_types(api: Api, view: View) -> None:
    """List the types of checks, and the parts of their config."""
    response = api.get(f"{PATH}{find(api, view)['id']}/checks/check_types/")
    if api.as_json:
        echo_json(response.text)
        return
    echo_columns(
        ("TYPE", "CONFIG", "MEANING"),
        [
            (one["check_type"], ", ".join(one["config_schema"].get("properties", {})), one["description"])
            for one in response.json()
        ],
    )


@with_api
def publish(
    api: Api,
    view: View,
    version: PublishedSnapshot,
    reason: Annotated[str, typer.Option(help="Why, for the activity of the view.")] = "",
) -> None:
    """Publish a version that its checks keep from readers."""
    found = find(api, view)
    response = api.post(f"{PATH}{found['id']}/snapshots/{version}/promote/", {"reason": reason})
    if api.as_json:
        echo_json(response.text)
    else:
        echo(f"{found['name']}: readers see version {version}")


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
            line.show(f"{subject['name']}: {_label(check)}")
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
        chosen = [_subject(api, name) for name in names]
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
            _label(one.check),
            one.result["severity"],
            one.result["status"],
            _short(one.result),
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
        name = one.check["name"] or _label(one.check)
        case = ET.SubElement(suite, "testcase", classname=one.view, name=name, time=f"{one.seconds:.3f}")
        if one.result["status"] != "passed":
            kind = "failure" if one.is_failure else "skipped"
            ET.SubElement(case, kind, message=f"{one.result['status']}{_found(one.result)}").text = one.result["sql"]
    try:
        path.write_bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from None


def _subject(api: Api, name_or_id: str) -> Json:
    """The view or the source table with this id or name, and its `path` in the API."""
    for path in (PATH, tables.PATH):
        for one in api.items(path) if "-" in name_or_id else api.items(path, name=name_or_id):
            if name_or_id == one["id"] or fold(one["name"]) == fold(name_or_id):
                return one | {"path": f"{path}{one['id']}/"}
    return find(api, name_or_id)  # it raises the error, with the nearest name


def _path(api: Api, subject: Json, check: str) -> str:
    """The path of a check, which is given by its name, its id or its number in the list."""
    path = f"{subject['path']}checks/"
    found = api.items(path)
    for number, one in enumerate(found, start=1):
        if check in {one["id"], str(number)} or (one["name"] or "").lower() == check.lower():
            return f"{path}{one['id']}/"
    listed = advice("check", "list", subject["name"])
    raise Failure(f"{subject['name']} has no check {check!r}; its checks: {listed}", EXIT_USAGE)


def _body(
    column: str | None, settings: Sequence[str] | None, where: str | None, name: str | None, *, warn: bool | None
) -> Json:
    config: Json = {}
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals:
            raise Failure(f"--set {setting!r}: write KEY=VALUE", EXIT_USAGE)
        try:
            config[key] = json.loads(value)
        except ValueError:
            config[key] = value
    if where is not None:
        config["where"] = where
    body: Json = {"config": config}
    if column is not None:
        body["column_name"] = column
    if name is not None:
        body["name"] = name
    if warn is not None:
        body["severity"] = "warn" if warn else "error"
    return body


def _label(check: Json) -> str:
    assertion = Assertion(check_type=check["check_type"], column_name=check["column_name"], config=check["config"])
    return str(assertion)


def _line(check: Json) -> tuple[object, ...]:
    latest = check["latest_run"] or {}
    status = latest.get("status") if check["enabled"] else "disabled"
    when = moment(latest["created_at"]) if latest else None
    return (
        *(check["name"], _label(check), check["severity"], status),
        *(latest.get("failing_rows"), when, check["id"]),
    )


def _short(result: Json) -> str:
    return _found(result).removeprefix(": ")


def _found(result: Json) -> str:
    if result["reason"]:
        return f": {result['reason']}"
    rows = result["failing_rows"]
    return f": {rows:,} failing row{'' if rows == 1 else 's'}" if rows else ""
