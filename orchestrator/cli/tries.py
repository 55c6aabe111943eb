"""`matview view try`, `tries`, `promote` and `forget`: an edit is run and compared before it is saved."""

import time
from typing import Annotated

import typer

from orchestrator.cli.api_client import Api, Json, data, echo_columns, moment, with_api
from orchestrator.cli.diffs import DEFAULT_LIMIT, KeyOption, LimitOption, diff_text, echo_diff
from orchestrator.cli.output import Failure, StatusLine, echo, echo_json, warn
from orchestrator.cli.program import advice
from orchestrator.cli.result_table import Column, echo_table, parsed
from orchestrator.cli.views import PATH, View, find, statement
from orchestrator.model.plurals import number_of

_CANCELLED, _INTERRUPTED = 3, 130
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_FIRST_ROWS = 5

TryId = Annotated[str, typer.Argument(metavar="TRY", help="The id of the try, from `view tries`.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for name, command in (("try", try_edit), ("tries", list_tries), ("promote", promote), ("forget", forget)):
        app.command(name)(command)


@with_api
def try_edit(
    api: Api,
    view: View,
    sql: Annotated[
        str | None,
        typer.Argument(
            help="The edited SELECT statement; - reads it from standard input. Put -- before one that begins with a"
            " dash."
        ),
    ] = None,
    *,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="The file that holds it; - is standard input.")
    ] = None,
    key: KeyOption = None,
    limit: LimitOption = DEFAULT_LIMIT,
    save: Annotated[
        bool, typer.Option("--promote", help="Then save the edit and publish its result, as one act.")
    ] = False,
) -> None:
    """Run an edited query, and show in what its result differs from the current version. Readers see none of it.

    For example: matview view try orders_by_day -f orders_by_day.sql --key day
    """
    text = statement(sql, file)
    found = find(api, view)
    begun = data(api.post(f"{PATH}{found['id']}/try/", {"query": {"kind": "SQLQuery", "query": text}}))
    path = f"{PATH}{found['id']}/tries/{begun['id']}/"
    ended = _ended(api, found, path)
    if ended["status"] != "Ready":
        _raise_failure(found, ended)
    answer = diff_text(api, path, key, limit)
    if api.as_json:
        echo_json(answer)
    else:
        _show(found, parsed(answer, "rows"))
    if save:
        promoted = data(api.post(f"{path}promote/"))
        if not api.as_json:
            echo(f"\nsaved and published: readers see version {promoted['current_snapshot_id']}")
    elif not api.as_json:
        echo(
            f"\nnot saved. To save and publish it: {advice('view', 'promote', found['name'], begun['id'])}"
            f" (until {moment(begun['expires_at'])})"
        )


@with_api
def list_tries(api: Api, view: View) -> None:
    """List the tries of a view that have not expired, newest first."""
    response = api.get(f"{PATH}{find(api, view)['id']}/tries/")
    if api.as_json:
        echo_json(response.text)
        return
    echo_columns(
        ("MADE", "STATUS", "ROWS", "EXPIRES", "ID", "ERROR"),
        [
            (
                *(moment(one["created_at"]), one["status"], one["row_count"], moment(one["expires_at"])),
                *(one["id"], one["error"]),
            )
            for one in data(response)["results"]
        ],
    )


@with_api
def promote(api: Api, view: View, try_id: TryId) -> None:
    """Save the edit of a try and publish its result, if the view is as it was when the edit was tried.

    For example: matview view promote orders_by_day 5c1f0a8e-3c41-4c5f-9a55-2d0f4f4a7d11
    """
    found = find(api, view)
    response = api.post(f"{PATH}{found['id']}/tries/{try_id}/promote/")
    if api.as_json:
        echo_json(response.text)
    else:
        version = data(response)["current_snapshot_id"]
        echo(f"{found['name']}: saved and published; readers see version {version}")


@with_api
def forget(api: Api, view: View, try_id: TryId) -> None:
    """Forget a try: a query that runs is cancelled, and its result is removed."""
    found = find(api, view)
    api.delete(f"{PATH}{found['id']}/tries/{try_id}/")
    if not api.as_json:
        echo(f"{found['name']}: the try is forgotten")


def _ended(api: Api, view: Json, path: str) -> Json:
    """The try, once it has ended. Ctrl-C forgets it."""
    line, pause, began = StatusLine(enabled=not api.as_json), _FIRST_PAUSE, time.monotonic()
    try:
        # A limit of 0 has no rows read, and no difference computed while that is not needed.
        while (found := _summary(api, view, path))["status"] == "Running":
            if line.is_due:
                line.show(f"{view['name']}: the edited query runs, {time.monotonic() - began:.0f} s")
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)
    except KeyboardInterrupt:
        line.clear()
        api.delete(path)
        warn("\nthe try is forgotten, and its query cancelled")
        raise typer.Exit(_INTERRUPTED) from None
    line.clear()
    return found


def _summary(api: Api, view: Json, path: str) -> Json:
    listed = data(api.get(f"{PATH}{view['id']}/tries/"))["results"]
    found = next((one for one in listed if one["id"] in path), None)
    if found is None:
        raise Failure(f"{view['name']}: the try was forgotten", _CANCELLED)
    return dict(found)


def _raise_failure(view: Json, ended: Json) -> None:
    if ended["status"] == "Cancelled":
        raise Failure(f"{view['name']}: the try was cancelled", _CANCELLED)
    raise Failure(f"{view['name']}: {ended['error'] or 'the try failed'}")


def _show(view: Json, found: Json) -> None:
    rows, columns = found["rows"], found["columns"]
    total = int(found["row_count"])
    echo(f"{view['name']}, as edited: {number_of(total, 'row')}")
    echo_table([Column(one["name"], one["duckdb_type"]) for one in columns], rows[:_FIRST_ROWS])
    echo("")
    if found["diff"] is None:
        echo(f"not compared: {found['diff_error']}")
        return
    echo("compared with the current version:")
    echo_diff(found["diff"])
