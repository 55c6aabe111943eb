"""`matview view`: views, their schedules and their runs."""

import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated
from uuid import UUID

import httpx
import typer
from rich.filesize import decimal

from orchestrator.cli.api_client import (
    Api,
    Json,
    Refused,
    data,
    echo_columns,
    echo_descriptions,
    moment,
    naming_file,
    with_api,
)
from orchestrator.cli.check_facts import check_line
from orchestrator.cli.follow import follow_run, recent_runs, result_line, seconds, wait_for_started_run
from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure, echo, echo_json, hanging, warn
from orchestrator.cli.program import advice
from orchestrator.cli.queries import echo_result, run_query
from orchestrator.cli.result_columns import column_lines
from orchestrator.cli.revisions import remember, remembered, save
from orchestrator.cli.status import age, conditions, note_failing_inputs, state
from orchestrator.cli.suggestions import did_you_mean
from orchestrator.cli.timing import frequency, freshness_text, timing_text
from orchestrator.model.engine import Dialect, Engine
from orchestrator.model.freshness import Freshness
from orchestrator.model.names import fold
from orchestrator.model.run import RunStatus
from orchestrator.model.saved_query import SyncFrequency, ViewStatus

app = typer.Typer(help="Views: what they say, when they are refreshed, how their runs went.", no_args_is_help=True)

PATH = "warehouse_saved_queries/"
_CANCELLED = 3
_INTERRUPTED = 130
_PREVIEW_ROWS = 10

View = Annotated[str, typer.Argument(metavar="VIEW", help="Its name or its id.", show_default=False)]
BreakDependents = Annotated[
    bool, typer.Option("--break-dependents", help="Also if views that read it would stop binding.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the run until it ends.")]


@app.command("create")
@with_api
def create_view(
    api: Api,
    name: Annotated[str, typer.Argument(help="What it is called.", show_default=False)],
    sql: Annotated[
        str | None,
        typer.Argument(
            help="One SELECT statement; - reads it from standard input. Put -- before one that begins with a dash."
        ),
    ] = None,
    *,
    file: Annotated[str | None, typer.Option(help="The file that holds it; - is standard input.")] = None,
    engine: Annotated[Engine | None, typer.Option(help="What runs it; duckdb, if not given.")] = None,
    dialect: Annotated[
        Dialect | None,
        typer.Option(help="The dialect of the statement; duckdb, if not given. Only Spark reads its own."),
    ] = None,
    description: Annotated[str | None, typer.Option(help="Free text.")] = None,
    edited_history_id: Annotated[
        str | None, typer.Option(help="The revision that a change of the query started from (see `view show`).")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show the first rows of the query before.")] = False,
    break_dependents: BreakDependents = False,
) -> None:
    """Create a view, or update the one of that name."""
    text = statement(sql, file)
    if preview and api.as_json:
        raise typer.BadParameter("it is a table, no JSON", param_hint="--preview")
    if preview and dialect is Dialect.SPARK:
        raise typer.BadParameter("it runs on DuckDB, which does not read this dialect", param_hint="--preview")
    chosen = {key: value for key, value in {"engine": engine, "dialect": dialect}.items() if value is not None}
    body: Json = {"name": name, "query": {"kind": "SQLQuery", "query": text, **chosen}}
    if description is not None:
        body["description"] = description
    if break_dependents:
        body["break_dependents"] = True

    def send(revision: str | None) -> httpx.Response:
        return api.post(PATH, body if revision is None else {**body, "edited_history_id": revision})

    start = edited_history_id or remembered(api, name)
    with naming_file(file):
        if preview:
            echo_result(run_query(api, text), _PREVIEW_ROWS)
            echo("")
        response = save(api, name, send, start, asks=edited_history_id is None)
    if api.as_json:
        echo_json(response.text)
        return
    view = data(response)
    echo(f"{'created' if response.status_code == 201 else 'saved'} {view['name']} ({view['id']})")  # noqa: PLR2004


@app.command("list")
@with_api
def list_views(api: Api, search: Annotated[str, typer.Option(help="A part of the name.")] = "") -> None:
    """List the views."""
    params = {"search": search} if search else {}
    if api.as_json:
        echo_json(api.whole_list(PATH, **params))
        return
    views = api.items(PATH, **params)
    found = conditions(api, **params) if views else {}
    echo_columns(
        ("NAME", "STATE", "EVERY", "DATA", "NEXT RUN", "ROWS", "LAST RUN", "ERROR"),
        [
            (
                *(view["name"], state(found[view["id"]]) if view["id"] in found else view["status"]),
                *(timing_text(view), age(view), moment(found.get(view["id"], {}).get("next_run_at"))),
                *(view.get("row_count"), moment(view["last_run_at"]), view["latest_error"]),
            )
            for view in views
        ],
    )


@app.command("show")
@with_api
def show_view(api: Api, view: View) -> None:
    """Show a view."""
    response = api.get(f"{PATH}{find(api, view)['id']}/")
    if api.as_json:
        echo_json(response.text)
        return
    found = data(response)
    remember(api, found)
    size = None if found["size_bytes"] is None else decimal(found["size_bytes"])
    rows = None if found["row_count"] is None else f"{found['row_count']:,}"
    lines = [
        *(("name", found["name"]), ("id", found["id"]), ("description", found["description"])),
        *(("status", found["status"]), ("error", found["latest_error"]), ("every", timing_text(found))),
        *(("last run", moment(found["last_run_at"])), ("data as of", moment(found["data_as_of"]))),
        *(("next run", moment(found["next_run_at"])), ("refreshed", freshness_text(found))),
        *(("paused", found["paused_reason"] if found["schedule_paused"] else None), ("rows", rows), ("size", size)),
        *(("checks", check_line(api, f"{PATH}{found['id']}/")), ("snapshot", found["current_snapshot_id"])),
        ("revision", found["latest_history_id"]),
        *column_lines(api, found),
    ]
    for label, value in lines:
        if value:
            echo(hanging(f"{label:<13}", str(value)))
    echo_descriptions(found["columns"])
    echo(f"\n{found['query']['query']}")


@app.command("materialize")
@with_api
def materialize_view(
    api: Api,
    view: View,
    *,
    every: Annotated[
        SyncFrequency | None,
        typer.Option(
            parser=frequency,
            metavar="FREQUENCY",
            help=f"How often it is refreshed: {', '.join(SyncFrequency)}; 24hour, or what it has, if not given.",
        ),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option(metavar="EXPRESSION", help="When it is refreshed, as five fields of cron, such as '0 6 * * 1-5'."),
    ] = None,
    time_zone: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The time zone of --cron, such as Europe/Berlin; UTC, or what it has."),
    ] = None,
    wait: Wait = False,
    no_run: Annotated[bool, typer.Option("--no-run", help="Leave its first run to `matview refresh`.")] = False,
    freshness: Annotated[
        Freshness | None,
        typer.Option(help="What is refreshed with it: nothing, first what it reads, or it with all that it reads."),
    ] = None,
    max_staleness: Annotated[
        SyncFrequency | None,
        typer.Option(
            parser=frequency, metavar="FREQUENCY", help="With upstream: how old the data of what it reads may be."
        ),
    ] = None,
) -> None:
    """Give a view its schedule and start a first run."""
    if wait and no_run:
        raise typer.BadParameter("there is no run to wait for with --no-run", param_hint="--wait")
    if every is not None and cron is not None:
        raise typer.BadParameter("give a frequency or a cron expression, one of them", param_hint="--cron")
    given = {"sync_frequency": every, "cron": cron, "time_zone": time_zone}
    body: Json = {field: value for field, value in given.items() if value is not None}
    if no_run:
        body["run"] = False
    if freshness is not None:
        body |= {"freshness": freshness, "max_staleness": max_staleness}
    elif max_staleness is not None:
        body["max_staleness"] = max_staleness
    _start(api, find(api, view), "materialize", body, wait=wait)


@app.command("run")
@with_api
def run_view(
    api: Api,
    view: View,
    wait: Wait = False,
    force: Annotated[bool, typer.Option("--force", help="Run its query also if nothing has changed.")] = False,
) -> None:
    """Run a materialized view now. A run in progress is joined. Its query is skipped if nothing has changed."""
    _start(api, find(api, view), "run", {"full_refresh": force}, wait=wait)


@app.command("cancel")
@with_api
def cancel_view(api: Api, view: View) -> None:
    """Stop the run in progress, or take the view out of the refreshes that wait if none is."""
    found = find(api, view)
    response = api.post(f"{PATH}{found['id']}/cancel/")
    if api.as_json:
        echo_json(response.text)
    else:
        echo(f"{found['name']}: the run is cancelled")


@app.command("history")
@with_api
def view_history(
    api: Api, view: View, limit: Annotated[int, typer.Option(min=1, max=100, help="How many runs.")] = 5
) -> None:
    """Show the last runs of a view, newest first."""
    response = api.get(f"{PATH}{find(api, view)['id']}/run_history/", limit=limit)
    if api.as_json:
        echo_json(response.text)
        return
    echo_columns(
        ("STARTED", "STATUS", "TRIGGER", "SECONDS", "ROWS", "BYTES", "ID", "ERROR"),
        [
            (
                *(moment(run["started_at"]), run["status"], run["trigger"], seconds(run)),
                *(run["rows"], run["bytes"], run["id"], run["error"]),
            )
            for run in data(response)["run_history"]
        ],
    )


def statement(sql: str | None, file: str | None) -> str:
    """The statement that is given by an argument or by the name of a file. Raises if it is neither or both."""
    if (sql is None) == (file is None):
        raise typer.BadParameter("give the statement itself or --file, one of them", param_hint="SQL")
    if "-" in {sql, file}:
        return _text("standard input", lambda: sys.stdin.buffer.read() if sys.stdin else b"")
    if file is None:
        return str(sql)
    return _text(file, Path(file).read_bytes)


def _text(name: str, read: Callable[[], bytes]) -> str:
    """The bytes that `read` returns, decoded as UTF-8. Raises Failure if they cannot be read or decoded."""
    try:
        return io.TextIOWrapper(io.BytesIO(read()), encoding="utf-8").read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise Failure(f"{name} cannot be read: {reason}", EXIT_USAGE) from None


def find(api: Api, name_or_id: str) -> Json:
    """The view with this id or name. Upper and lower case are the same, as on the server."""
    try:
        if "-" in name_or_id:  # no name contains one
            return data(api.get(f"{PATH}{UUID(name_or_id)}/"))
    except ValueError:
        raise Failure(f"{name_or_id!r} is neither the name nor the id of a view") from None
    except Refused as refused:
        if refused.code != httpx.codes.NOT_FOUND:
            raise
        raise Failure(f"there is no view {name_or_id} in project {api.project}") from None
    for view in api.items(PATH, name=name_or_id):
        if fold(view["name"]) == fold(name_or_id):
            return view
    near = did_you_mean(api, PATH, name_or_id)
    raise Failure(f"there is no view {name_or_id!r} in project {api.project}{near}")


def _start(api: Api, view: Json, action: str, body: Json, *, wait: bool) -> None:
    before = recent_runs(api, view) if wait else []
    response = api.post(f"{PATH}{view['id']}/{action}/", body)
    run = None
    if wait:
        run = _wait(api, view, before, expected=action == "run" or not view["is_materialized"])
    if run is not None:
        _end(api, view, run)
    elif api.as_json:
        echo_json(response.text)
    else:
        echo(f"{view['name']}: {_started(view, action, data(response))}")


def _wait(api: Api, view: Json, before: Sequence[Json], *, expected: bool) -> Json | None:
    try:
        run_id = wait_for_started_run(api, view, before, expected=expected)
        return follow_run(api, view, run_id) if run_id else None
    except KeyboardInterrupt:
        warn(f"\nno longer waiting; the run goes on. To stop it: {advice('view', 'cancel', view['name'])}")
        raise typer.Exit(_INTERRUPTED) from None


def _started(view: Json, action: str, answer: Json) -> str:
    times = f"{'at' if answer['cron'] else 'every'} {timing_text(answer)}" if action == "materialize" else ""
    if action == "materialize" and view["is_materialized"]:
        return f"refreshed {times}; it was materialized before, so no run was started"
    if action == "materialize" and answer["status"] is None:
        return f"refreshed {times} from now on; it has not run yet"
    if action == "materialize":
        return f"refreshed {times} from now on; a first run was started"
    return "the run in progress was joined" if view["status"] == ViewStatus.RUNNING else "a run was started"


def _end(api: Api, view: Json, run: Json) -> None:
    """Print how the run ended. Raises Failure unless it completed or was skipped."""
    if api.as_json:
        echo_json(json.dumps(run))
    note_failing_inputs(api, [view])
    match run["status"]:
        case RunStatus.COMPLETED if not api.as_json:
            echo(f"{view['name']}: {result_line(run)}")
        case RunStatus.SKIPPED if not api.as_json:
            echo(f"{view['name']}: skipped. {run['skipped_reason']}")
        case RunStatus.COMPLETED | RunStatus.SKIPPED:
            pass
        case RunStatus.CANCELLED:
            raise Failure(f"{view['name']}: the run was cancelled", _CANCELLED)
        case status:
            raise Failure(f"{view['name']}: {run['error'] or f'the run ended as {status}'}")
