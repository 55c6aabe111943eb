"""`matview view try`, `tries`, `promote` and `forget`: an edit is run and compared before it is saved."""

import json
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from orchestrator.cli.api_client import Api, Json, data, echo_columns, moment, with_api
from orchestrator.cli.diffs import DEFAULT_LIMIT, KeyOption, LimitOption, diff_text, echo_diff
from orchestrator.cli.output import Failure, StatusLine, echo, echo_json, warn
from orchestrator.cli.program import advice
from orchestrator.cli.result_table import Column, echo_table, parsed
from orchestrator.cli.views import PATH, View, find, statement
from orchestrator.model.plurals import number_of

_FAILED, _CANCELLED, _INTERRUPTED = 1, 3, 130
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_FIRST_ROWS = 5
_SHOWN_NAMES = 3

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
    descendants: Annotated[
        bool,
        typer.Option(
            "--descendants",
            help="Also write the materialized views that read it, from its result. Status 1: one fails.",
        ),
    ] = False,
    save: Annotated[
        bool, typer.Option("--promote", help="Then save the edit and publish what was written, as one act.")
    ] = False,
) -> None:
    """Run an edited query, and show in what its result differs from the current version. Readers see none of it.

    For example: matview view try orders_by_day -f orders_by_day.sql --key day --descendants
    """
    text = statement(sql, file)
    found = find(api, view)
    edit = {"query": {"kind": "SQLQuery", "query": text}, "descendants": descendants}
    begun = data(api.post(f"{PATH}{found['id']}/try/", edit))
    path = f"{PATH}{found['id']}/tries/{begun['id']}/"
    ended = _ended(api, found, path)
    if ended["status"] != "Ready":
        _raise_failure(found, ended)
    answer = diff_text(api, path, key, limit)
    if api.as_json:
        echo_json(answer)
    else:
        _show(found, parsed(answer, "rows"))
        if descendants:
            _show_members(api, path)
    failed = [one for one in parsed(answer, "rows")["members"] if one["status"] != "Ready"]
    again = advice("view", "promote", found["name"], begun["id"])
    if save:
        _save(api, path, failed, again)
    elif not api.as_json:
        echo(f"\nnot saved. To save and publish it: {again} (until {moment(begun['expires_at'])})")
    if failed:
        raise typer.Exit(_FAILED)


@with_api
def list_tries(api: Api, view: View) -> None:
    """List the tries of a view that have not expired, newest first."""
    response = api.get(f"{PATH}{find(api, view)['id']}/tries/")
    if api.as_json:
        echo_json(response.text)
        return
    echo_columns(
        ("MADE", "STATUS", "ROWS", "EXPIRES", "ID", "DESCENDANTS", "ERROR"),
        [
            (
                *(moment(one["created_at"]), one["status"], one["row_count"], moment(one["expires_at"])),
                *(one["id"], one["descendant_count"], one["error"]),
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


def _save(api: Api, path: str, failed: Sequence[Json], again: str) -> None:
    """Promote the try, unless members have no result."""
    if failed:
        raise Failure(f"not saved, since these have no result: {_names(failed)}. To save it all the same: {again}")
    promoted = data(api.post(f"{path}promote/"))
    if not api.as_json:
        echo(f"\nsaved and published: readers see version {promoted['current_snapshot_id']}")


def _show_members(api: Api, path: str) -> None:
    """The views that were written, and in how many rows each differs from its current version."""
    echo("\nviews, each compared with its current version by whole rows:")
    members = data(api.get(f"{path}?limit=0"))["members"]
    echo_columns(
        ("VIEW", "STATUS", "ROWS", "ADDED", "REMOVED", "COLUMNS", "ERROR"),
        [(one["name"], one["status"], one["row_count"], *_differences(api, path, one)) for one in members],
    )


def _differences(api: Api, path: str, member: Json) -> tuple[int | None, int | None, str, str | None]:
    """The rows that a member has more and less, its changed columns, and why these are not known."""
    if member["status"] != "Ready":
        return None, None, "", member["error"]
    found = json.loads(diff_text(api, path, None, 0, member=member["saved_query_id"]))
    diff = found["diff"]
    if diff is None:
        return None, None, "", found["diff_error"]
    schema = diff["schema"]
    columns = [f"+{one['name']}" for one in schema["added"]] + [f"-{one['name']}" for one in schema["removed"]]
    columns += [f"{one['name']}: {one['from']} → {one['to']}" for one in schema["retyped"]]
    return diff["rows"]["added"], diff["rows"]["removed"], ", ".join(columns), None


def _names(members: Sequence[Json]) -> str:
    shown = ", ".join(str(one["name"]) for one in members[:_SHOWN_NAMES])
    return f"{shown} and {len(members) - _SHOWN_NAMES:,} more" if len(members) > _SHOWN_NAMES else shown
