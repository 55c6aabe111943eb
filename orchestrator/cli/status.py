"""`matview status`: one look at a project, and notes about inputs that failed."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import typer

from orchestrator.cli.api_client import Api, Json, data, echo_columns, moment, with_api
from orchestrator.cli.installation import folder_of
from orchestrator.cli.output import Failure, echo, echo_json, warn
from orchestrator.cli.program import advice
from orchestrator.model.condition import Condition, span
from orchestrator.model.plurals import number_of

PATH = "status/"
_SHOWN_ANYWAY = {Condition.RUNNING, Condition.PAUSED, Condition.NEVER_RUN, Condition.MODIFIED, Condition.CANCELLED}
_NEXT_SHOWN = 3
_ORDER = {condition: place for place, condition in enumerate(Condition)}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


@with_api
def status(
    api: Api,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with status 1 if something is wrong.")] = False,
) -> None:
    """Show what of the project runs, fails, is paused or stale, why, and what is next."""
    project = data(api.get(""))
    views = api.items(PATH)
    is_ok = all(view["ok"] for view in views)
    stack = None if api.home is None else str(folder_of(api.home))
    if api.as_json:
        found = {"project": project, "api_url": api.url, "stack": stack, "ok": is_ok, "views": views}
        echo_json(json.dumps(found, ensure_ascii=False))
    else:
        echo(f"project {project['id']} ({project['name']}) of {api.url}{f', the stack in {stack}' if stack else ''}")
        _show(views)
    if exit_code and not is_ok:
        raise typer.Exit(1)


def _show(views: Sequence[Json]) -> None:
    counts = Counter(Condition(view["condition"]) for view in views)
    listed = ", ".join(f"{counts[one]:,} {one.lower()}" for one in Condition if counts[one])
    echo(f"{number_of(len(views), 'view')}{f': {listed}' if listed else ''}")
    noted = [view for view in views if not view["ok"] or view["condition"] in _SHOWN_ANYWAY or view["schedule_paused"]]
    if noted:
        echo("")
        noted.sort(key=lambda view: (_ORDER[Condition(view["condition"])], view["name"]))
        echo_columns(
            ("VIEW", "STATE", "DATA", "NEXT RUN", "WHY"),
            [(view["name"], state(view), age(view), moment(view["next_run_at"]), _why(view)) for view in noted],
        )
    upcoming = sorted((view["next_run_at"], view["name"]) for view in views if view["next_run_at"])[:_NEXT_SHOWN]
    if upcoming:
        echo(f"\nnext: {', '.join(f'{name} at {moment(due)}' for due, name in upcoming)}")


def state(view: Json) -> str:
    """The condition of a view, and that its schedule is paused if the word does not say so."""
    paused = view["schedule_paused"] and view["condition"] != Condition.PAUSED
    return f"{view['condition']}{', paused' if paused else ''}"


def age(view: Json) -> str | None:
    """How old the data of a view is, in words; None if it has none."""
    if not view["data_as_of"]:
        return None
    return span(datetime.now(UTC) - datetime.fromisoformat(view["data_as_of"]))


def conditions(api: Api, **params: str | int) -> dict[str, Json]:
    """The conditions of views by their ids; empty if the API does not give them, since they are only shown beside."""
    try:
        return {view["id"]: view for view in api.items(PATH, **params)}
    except Failure:
        return {}


def note_failing_inputs(api: Api, views: Collection[Json], refreshed: Collection[str] = ()) -> None:
    """Say on standard error which inputs of these views failed in their own newest run, but for those refreshed too."""
    with suppress(KeyError, TypeError):  # an API that gives something else must not change how the command ends
        found = conditions(api, **({"name": next(iter(views))["name"]} if len(views) == 1 else {}))
        for view in views:
            for one in found.get(view["id"], {}).get("failing_inputs", ()):
                if one["id"] not in refreshed:
                    warn(f"note: {one['name']}, which {view['name']} reads, failed in its own last run: {one['error']}")


def _why(view: Json) -> str:
    reasons = [*view["stale_reasons"]]
    if view["latest_error"]:
        reasons.insert(0, view["latest_error"].partition("\n")[0])
    if view["schedule_paused"] or view["condition"] == Condition.PAUSED:
        reasons.append(f"{view['paused_reason'] or 'paused'} To resume it: {advice('view', 'resume', view['name'])}")
    if view["condition"] == Condition.NEVER_RUN and not reasons:
        reasons.append(f"to run it: {advice('view', 'run', view['name'])}")
    return "; ".join(reasons)
