"""`matview view edit`, `rename`, `delete`, `pause`, `resume` and `revert`: changes of a view and of its schedule."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import httpx
import typer

from orchestrator.cli.api_client import Api, Json, Refused, data, naming_file, with_api
from orchestrator.cli.confirmation import Yes, ask, can_ask, confirm
from orchestrator.cli.editor import draft, edited, editor
from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure, echo, echo_json, fail
from orchestrator.cli.program import advice
from orchestrator.cli.revisions import changes_of, remember, remembered, save
from orchestrator.cli.views import PATH, BreakDependents, View, find, statement
from orchestrator.model.freshness import Freshness
from orchestrator.model.saved_query import SyncFrequency

_MOST_AT_ONCE = 1000
_ENTRIES = 1000
_INTERRUPTED = 130


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for name, command in (
        *(("edit", edit_view), ("rename", rename_view), ("delete", delete_view)),
        *(("pause", pause_view), ("resume", resume_views), ("revert", revert_view)),
    ):
        app.command(name)(command)


@with_api
def edit_view(
    api: Api,
    view: View,
    sql: Annotated[
        str | None, typer.Argument(help="The new statement, instead of the editor; - reads it from standard input.")
    ] = None,
    *,
    file: Annotated[str | None, typer.Option(help="The file that holds it; - is standard input.")] = None,
    edited_history_id: Annotated[
        str | None, typer.Option(help="The revision that a given statement started from; the one seen last, if none.")
    ] = None,
    break_dependents: BreakDependents = False,
) -> None:
    """Change the query of a view in your editor ($VISUAL or $EDITOR), or to a given statement."""
    given = statement(sql, file) if sql is not None or file is not None else None
    more: Json = {"break_dependents": True} if break_dependents else {}
    command = editor() if given is None else []
    found = data(api.get(f"{PATH}{find(api, view)['id']}/"))
    if given is None:
        remember(api, found)
        _edit(api, found, command, more)
        return
    start = edited_history_id or remembered(api, found["name"]) or found["latest_history_id"]
    with naming_file(file):
        response = _save_query(api, found, given, start, more)
    _saved(api, found, response)


def _edit(api: Api, view: Json, command: list[str], more: Json) -> None:
    """Have the query edited until it is saved. The text is kept in its file unless it was saved, or has not changed."""
    before = str(view["query"]["query"])
    path = draft(view["name"], before)
    try:
        while True:
            text = edited(path, command)
            if text.rstrip("\n") == before.rstrip("\n"):
                path.unlink()
                echo(f"{view['name']}: nothing was changed")
                return
            kept = text if before.endswith("\n") else text.removesuffix("\n")
            response = _tried(api, view, kept, path, more)
            if response is not None:
                break
    except KeyboardInterrupt:
        raise Failure(f"interrupted; {_kept(view, path)}", _INTERRUPTED) from None
    except Failure as failure:
        if not path.exists():
            raise
        raise Failure(f"{failure}; {_kept(view, path)}", failure.status) from None
    path.unlink()
    _saved(api, view, response)


def _tried(api: Api, view: Json, text: str, path: Path, more: Json) -> httpx.Response | None:
    """The answer to a text that was saved; None if it was refused and is to be edited again."""
    if not text.strip():
        raise Failure("the text is empty")
    try:
        return _save_query(api, view, text, view["latest_history_id"], more)
    except Refused as refused:
        if not can_ask():
            raise
        fail(str(refused))
        if ask(f"The text is in {path}. Edit it again?"):
            return None
        raise Failure("nothing was saved") from None


def _kept(view: Json, path: Path) -> str:
    return f"the text is kept in {path}; to save it: {advice('view', 'edit', view['name'], '--file', path)}"


def _save_query(api: Api, view: Json, text: str, start: str, more: Json) -> httpx.Response:
    body = {"query": {**view["query"], "query": text}, **more}

    def send(revision: str | None) -> httpx.Response:
        return api.patch(f"{PATH}{view['id']}/", {**body, "edited_history_id": revision})

    return save(api, view["name"], send, start, asks=True)


def _saved(api: Api, before: Json, response: httpx.Response) -> None:
    if api.as_json:
        echo_json(response.text)
    elif data(response)["latest_history_id"] == before["latest_history_id"]:
        echo(f"{before['name']}: nothing was changed")
    else:
        later = f"; readers see it after its next run: {advice('view', 'run', before['name'])}"
        echo(f"saved {before['name']}{later if before['is_materialized'] else ''}")


@with_api
def rename_view(
    api: Api, view: View, name: Annotated[str, typer.Argument(help="What it is called from now on.")]
) -> None:
    """Give a view another name. A view that others read keeps its name; the error names them."""
    found = find(api, view)
    response = api.patch(f"{PATH}{found['id']}/", {"name": name})
    start = remembered(api, found["name"])
    renamed = data(response)
    if start == renamed["latest_history_id"]:
        remember(api, renamed)
    _say(api, response, f"{found['name']} is called {renamed['name']} now")


@with_api
def delete_view(api: Api, view: View, *, yes: Yes = False) -> None:
    """Delete a view with its schedule and its result. Its name is free again, and its history stays."""
    found = find(api, view)
    confirm(f"Delete the view {found['name']}{_with_result(found)}?", yes=yes)
    _say(api, api.delete(f"{PATH}{found['id']}/"), f"{found['name']}: deleted")


@with_api
def revert_view(api: Api, view: View, *, yes: Yes = False) -> None:
    """Undo the materialization of a view: its schedule, its result and all its versions are gone, its query stays."""
    found = find(api, view)
    if found["is_materialized"]:
        confirm(f"Remove the schedule and all versions of {found['name']}?", yes=yes)
    response = api.post(f"{PATH}{found['id']}/revert_materialization/")
    _say(api, response, f"{found['name']}: not materialized any more; its readers evaluate its query")


@with_api
def pause_view(api: Api, view: View) -> None:
    """Pause the schedule of a view, by the frequency `never`. Its result stays, and it can be run by hand."""
    found = _materialized(find(api, view))
    response = api.patch(f"{PATH}{found['id']}/", {"sync_frequency": SyncFrequency.NEVER})
    _say(api, response, f"{found['name']}: paused; to resume it: {advice('view', 'resume', found['name'])}")


@with_api
def resume_views(
    api: Api,
    views: Annotated[
        list[str] | None, typer.Argument(metavar="[VIEW]...", help="Their names or ids.", show_default=False)
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that are paused.")] = False,
    every: Annotated[
        str | None, typer.Option(help="How often they are refreshed from now on; as before the pause, if not given.")
    ] = None,
) -> None:
    """Resume paused schedules, also those that a rollback, the failure policy or an operator has paused."""
    if everything is bool(views):
        raise Failure("name the views to resume, or say --all", EXIT_USAGE)
    chosen = _paused(api) if everything else [_materialized(find(api, name)) for name in views or []]
    never = [view for view in chosen if every is not None or view["sync_frequency"] == SyncFrequency.NEVER]
    frequencies = [(view, every or _frequency_before(api, view)) for view in never]
    resumed = [_with_frequency(api, view, frequency) for view, frequency in frequencies]
    resumed += _resumed(api, [view["id"] for view in chosen if view not in never])
    if api.as_json:
        echo_json(json.dumps({"resumed": resumed}))
        return
    for view in chosen:
        echo(f"{view['name']}: {'resumed' if view['id'] in resumed else 'was not paused'}")
    if not chosen:
        echo("no view is paused")


def _paused(api: Api) -> list[Json]:
    """All views whose schedule is paused, but for those that follow what they read and have no clock of their own."""
    conditions = {one["id"]: one for one in api.items("status/")}
    return [
        view
        for view in api.items(PATH)
        if view["is_materialized"]
        and (conditions.get(view["id"], {}).get("schedule_paused") or view["sync_frequency"] == SyncFrequency.NEVER)
        and not (view["sync_frequency"] == SyncFrequency.NEVER and _follows(api, view))
    ]


def _follows(api: Api, view: Json) -> bool:
    return bool(data(api.get(f"{PATH}{view['id']}/"))["freshness"] == Freshness.FOLLOW)


def _frequency_before(api: Api, view: Json) -> str:
    """The frequency that a view had before it was set to `never`, from its activity. Raises Failure if unknown."""
    try:
        entries = data(api.get(f"{PATH}{view['id']}/activity/", limit=_ENTRIES))["results"]
    except Failure:
        entries = []
    for field, before, after in _changes(entries):
        if field == "sync_frequency" and after == SyncFrequency.NEVER and before:
            return str(before)
    raise Failure(f"{view['name']}: how often it was refreshed before is not known; say --every", EXIT_USAGE)


def _changes(entries: Iterable[Json]) -> Iterator[tuple[str, object, object]]:
    for entry in entries:
        yield from changes_of(entry)


def _with_frequency(api: Api, view: Json, frequency: str) -> str:
    api.patch(f"{PATH}{view['id']}/", {"sync_frequency": frequency})
    return str(view["id"])


def _resumed(api: Api, ids: list[str]) -> list[str]:
    found: list[str] = []
    for first in range(0, len(ids), _MOST_AT_ONCE):
        some = ids[first : first + _MOST_AT_ONCE]
        found += data(api.post(f"{PATH}resume_schedules/", {"view_ids": some}))["resumed"]
    return found


def _materialized(view: Json) -> Json:
    if not view["is_materialized"]:
        make = advice("view", "materialize", view["name"])
        raise Failure(f"{view['name']} is not materialized: it has no schedule; to give it one: {make}")
    return view


def _with_result(view: Json) -> str:
    return " with its schedule and its result" if view["is_materialized"] else ""


def _say(api: Api, response: httpx.Response, text: str) -> None:
    if api.as_json:
        echo_json(response.text)
    else:
        echo(text)
