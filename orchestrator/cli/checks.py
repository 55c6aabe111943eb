"""`matview check …`: checks that keep bad data from readers."""

import json
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import httpx
import typer

from orchestrator.cli import tables
from orchestrator.cli.api_client import Api, Json, Refused, data, echo_columns, moment, with_api
from orchestrator.cli.check_facts import label
from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure, echo, echo_json
from orchestrator.cli.program import advice
from orchestrator.cli.result_table import Column, echo_table
from orchestrator.cli.suggestions import did_you_mean
from orchestrator.cli.views import PATH, View, find
from orchestrator.model.check import CheckType
from orchestrator.model.names import name_key

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


def add_to(program: typer.Typer) -> None:
    """Add the commands."""
    for name, command in (
        *(("list", list_checks), ("add", add), ("show", show), ("edit", edit), ("delete", delete)),
        *(("run", run), ("results", list_results), ("rows", show_rows), ("types", list_types)),
    ):
        app.command(name)(command)
    program.add_typer(app, name="check")


@with_api
def list_checks(api: Api, subject: Subject) -> None:
    """List the checks of a view or a source table, each with its newest result."""
    path = f"{find_subject(api, subject)['path']}checks/"
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
    found = find_subject(api, subject)
    body = _body(column, settings, where, name, warn=warn) | {"check_type": check_type.value}
    if description is not None:
        body["description"] = description
    response = api.post(f"{found['path']}checks/", body)
    if api.as_json:
        echo_json(response.text)
        return
    made = data(response)
    how = "added" if response.status_code == 201 else "it has this check already"  # noqa: PLR2004 - HTTP's number
    echo(f"{found['name']}: {how}: {label(made)} ({made['severity']})")
    echo(f"to make it now: {advice('check', 'run', found['name'], made['name'] or made['id'])}")


@with_api
def show(api: Api, subject: Subject, check: CheckOption) -> None:
    """Show a check of a view or a source table."""
    found = find_subject(api, subject)
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
        echo(f"latest: {latest['status']} at {moment(latest['created_at'])}{words_of(latest)}")


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
    found = find_subject(api, subject)
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
        echo(f"{found['name']}: changed: {label(data(response))}")


@with_api
def delete(api: Api, subject: Subject, check: CheckOption) -> None:
    """Delete a check of a view or a source table."""
    found = find_subject(api, subject)
    api.delete(_path(api, found, check))
    if not api.as_json:
        echo(f"{found['name']}: the check is deleted")


@with_api
def run(api: Api, subject: Subject, check: CheckOption) -> None:
    """Make a check on what readers see now; the exit status is 1 if it fails."""
    found = find_subject(api, subject)
    response = api.post(f"{_path(api, found, check)}run/")
    result = data(response)
    if api.as_json:
        echo_json(response.text)
    else:
        echo(f"{found['name']}: {result['status']}{words_of(result)}")
        if result["status"] == "failed" and result["sql"]:
            echo(f"to see the rows: {advice('query', result['sql'])}")
    if result["status"] != "passed":
        raise typer.Exit(1)


@with_api
def list_results(api: Api, subject: Subject, check: CheckOption) -> None:
    """List the results of a check, newest first."""
    path = f"{_path(api, find_subject(api, subject), check)}runs/"
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
    path = f"{_path(api, find_subject(api, subject), check)}runs/"
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


def find_subject(api: Api, name_or_id: str) -> Json:
    """The view or the source table with this id or name, and its `path` in the API."""
    try:
        id_ = UUID(name_or_id) if "-" in name_or_id else None  # no name contains one
    except ValueError:
        raise Failure(f"{name_or_id!r} is neither the name nor the id of a view or a source table") from None
    for path in (PATH, tables.PATH):
        try:
            found = api.items(path, name=name_or_id) if id_ is None else [data(api.get(f"{path}{id_}/"))]
            for one in found:
                if id_ is not None or name_key(one["name"]) == name_key(name_or_id):
                    return one | {"path": f"{path}{one['id']}/"}
        except Refused as refused:
            if refused.code != httpx.codes.NOT_FOUND:
                raise
    near = did_you_mean(api, PATH, name_or_id) or did_you_mean(api, tables.PATH, name_or_id)
    raise Failure(f"there is no view or source table {name_or_id!r} in project {api.project}{near}")


def _path(api: Api, subject: Json, check: str) -> str:
    """The path of a check, which is given by its name, its id or its number in the list."""
    path = f"{subject['path']}checks/"
    found = api.items(path)
    for number, one in enumerate(found, start=1):
        names = {one["id"], str(number), *([one["name"].lower()] if one["name"] else [])}
        if check in names or check.lower() in names:
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


def _line(check: Json) -> tuple[object, ...]:
    latest = check["latest_run"] or {}
    status = latest.get("status") if check["enabled"] else "disabled"
    when = moment(latest["created_at"]) if latest else None
    return (
        *(check["name"], label(check), check["severity"], status),
        *(latest.get("failing_rows"), when, check["id"]),
    )


def words_of(result: Json) -> str:
    """A result in words that follow its status: a colon, and the reason or the number of failing rows."""
    if result["reason"]:
        return f": {result['reason']}"
    rows = result["failing_rows"]
    return f": {rows:,} failing row{'' if rows == 1 else 's'}" if rows else ""
