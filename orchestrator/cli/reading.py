"""`matview view rows` and `matview query`: the rows of views and the results of queries."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from orchestrator.cli.api_client import Api, Json, data, moment, naming_file, with_api
from orchestrator.cli.download import Write, chosen_format, copy, destination, is_file
from orchestrator.cli.installation import EXIT_USAGE, nearest_home, stack_info
from orchestrator.cli.output import Failure, echo, warn
from orchestrator.cli.queries import echo_result, run_query, streamed
from orchestrator.cli.result_table import Column, echo_table, parsed
from orchestrator.cli.views import PATH, View, find, statement
from orchestrator.model.plurals import number_of
from orchestrator.model.reading import ResultFormat
from orchestrator.settings import PREFIX

_TABLE_ROWS = 20
# The most that the API gives in one answer in JSON.
_MOST_JSON_ROWS = 50_000

Format = Annotated[
    ResultFormat | None,
    typer.Option("--format", help="How it is written: by the ending of the file, or as a table, if not given."),
]
Output = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="The file to write; - is standard output.")
]


def add_to(app: typer.Typer, view_app: typer.Typer) -> None:
    """Add the commands."""
    view_app.command("rows")(view_rows)
    view_app.command("path")(view_path)
    app.command("query")(query)


@with_api
def view_rows(
    api: Api,
    view: View,
    *,
    limit: Annotated[
        int | None, typer.Option(min=1, help="How many rows: 20 in a table, else all, if not given.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Its columns, separated by commas; one with a comma in it in double quotes."),
    ] = None,
    snapshot: Annotated[str | None, typer.Option(help="The id of a version, from `view versions`.")] = None,
    result_format: Format = None,
    output: Output = None,
) -> None:
    """Show the rows of a materialized view, or write them to a file."""
    chosen = chosen_format(result_format, output, as_json=api.as_json)
    if chosen is None and limit is not None and limit > _MOST_JSON_ROWS:
        raise typer.BadParameter(f"a table has {_MOST_JSON_ROWS:,} rows at most; try --format", param_hint="--limit")
    params: dict[str, str | int] = {"format": (chosen or ResultFormat.JSON).value}
    given = {"limit": limit, "columns": columns, "snapshot_id": snapshot}
    params.update({name: value for name, value in given.items() if value is not None})
    found = find(api, view)
    path = f"{PATH}{found['id']}/data/"
    if chosen is None:
        _show_rows(api, found, api.get(path, **{"limit": _TABLE_ROWS, **params}).text)
        return
    if chosen is ResultFormat.JSON:
        params.setdefault("limit", _MOST_JSON_ROWS)
    with destination(output, chosen) as write, api.stream("GET", path, params=params) as response:
        _transfer(response, write, chosen, output, limit)


@with_api
def view_path(api: Api, view: View) -> None:
    """Show the folder on this machine that leads to the files of a view's current version."""
    found = find(api, view)
    folder = _data_dir() / "current" / str(api.project) / found["name"]
    if not folder.is_dir():
        has_version = data(api.get(f"{PATH}{found['id']}/"))["current_snapshot_id"] is not None
        raise Failure(
            f"{folder} is not on this machine: the results are elsewhere"
            if has_version
            else f"{found['name']} has no version yet"
        )
    if api.as_json:
        echo(json.dumps({"path": str(folder)}))
    else:
        echo(str(folder))


def _data_dir() -> Path:
    """The data folder of the installation that the command finds, as other commands find it."""
    folder = os.environ.get(f"{PREFIX}DATA_DIR")
    if folder is None:
        info = stack_info(nearest_home())
        folder = None if info is None else str(info["data_dir"])
    if folder is None:
        raise Failure(f"Set {PREFIX}DATA_DIR, or go to the folder of a `matview dev`.", EXIT_USAGE)
    return Path(folder)


@with_api
def query(
    api: Api,
    sql: Annotated[
        str | None,
        typer.Argument(
            help="One SELECT statement; - reads it from standard input. Put -- before one that begins with a dash."
        ),
    ] = None,
    *,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="The file that holds it; - is standard input.")
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="The value of {name} or $name: JSON, or else text. May be repeated."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many rows of the result a table has.")] = None,
    result_format: Format = None,
    output: Output = None,
) -> None:
    """Run a SELECT over the views and tables of the project."""
    text = statement(sql, file)
    values = _values(value or [])
    chosen = chosen_format(result_format, output, as_json=api.as_json)
    if chosen is not None and limit is not None:
        raise typer.BadParameter("it is for tables: write a LIMIT into the statement", param_hint="--limit")
    with naming_file(file):
        if chosen is None:
            echo_result(run_query(api, text, values), limit)
            return
        with destination(output, chosen) as write, streamed(api, text, values, chosen) as response:
            _transfer(response, write, chosen, output, None)


def _transfer(
    response: httpx.Response, write: Write, result_format: ResultFormat, output: str | None, limit: int | None
) -> None:
    """Write an answer. Warn if it is JSON, which has a bound, and so has not all of the rows."""
    if result_format is not ResultFormat.JSON:
        copy(response, write, to_file=is_file(output))
        return
    response.read()
    write(response.content)
    found = parsed(response.text)
    rows = len(found["results"])
    if (found.get("next") or found.get("hasMore")) and (limit is None or rows < limit):
        warn(f"there are more rows than these {rows:,}; the other formats have them all")


def _show_rows(api: Api, view: Json, text: str) -> None:
    """Print rows as a table, with the size of the version that they are of, and its time."""
    found = parsed(text)
    echo_table([Column(str(one["name"]), str(one["type"])) for one in found["columns"]], found["results"])
    version = str(found["snapshot_id"])
    shown = len(found["results"])
    total = shown if found["next"] is None else _row_count(api, view, version)
    if total is None:
        count = f"the first {number_of(shown, 'row')}"
    else:
        count = number_of(total, "row") if shown == total else f"{shown:,} of {total:,} rows"
    echo(f"({count}; version {version}, as of {moment(found['data_as_of'])})")


def _row_count(api: Api, view: Json, version: str) -> int | None:
    """How many rows a version has; None if it has just been removed."""
    shown = data(api.get(f"{PATH}{view['id']}/"))
    if shown["current_snapshot_id"] == version:
        return int(shown["row_count"])
    pages = (data(page)["results"] for page in api.pages(f"{PATH}{view['id']}/snapshots/"))
    return next((int(one["row_count"]) for page in pages for one in page if one["id"] == version), None)


def _values(given: list[str]) -> dict[str, Any]:
    """The values by their names. Raises for one without a name, or with the name of another."""
    values: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{one!r} is not NAME=VALUE", param_hint="--value")
        if name in values:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint="--value")
        values[name] = _value(text)
    return values


def _value(text: str) -> Any:  # noqa: ANN401 - any JSON
    """The value that the text is in JSON, or else the text."""
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)  # NaN and 1e999 are no JSON that the API accepts
    except (ValueError, RecursionError):
        return text
    return value
