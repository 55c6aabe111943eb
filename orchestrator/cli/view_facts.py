"""`matview view activity` and `dependencies`: who changed a view, what it reads, and what reads it."""

import json
from typing import Annotated

import typer

from orchestrator.cli.api_client import Api, Json, data, echo_columns, moment, with_api
from orchestrator.cli.output import echo, echo_json
from orchestrator.cli.revisions import changes_of, person
from orchestrator.cli.views import PATH, View, find

_LONGEST_VALUE = 40


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("activity")(view_activity)
    app.command("dependencies")(view_dependencies)


@with_api
def view_activity(
    api: Api,
    view: Annotated[
        str, typer.Argument(metavar="VIEW", help="Its name, or its id if it was deleted.", show_default=False)
    ],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many entries.")] = 10,
) -> None:
    """Show who changed what of a view, newest first."""
    view_id = view if "-" in view else find(api, view)["id"]
    response = api.get(f"{PATH}{view_id}/activity/", limit=limit)
    if api.as_json:
        echo_json(response.text)
        return
    echo_columns(
        ("WHEN", "WHO", "WHAT", "CHANGES"),
        [
            (moment(entry["created_at"]), person(entry["user"]), entry["activity"], _changes(entry))
            for entry in data(response)["results"]
        ],
    )


@with_api
def view_dependencies(
    api: Api,
    view: View,
    level: Annotated[
        str, typer.Option(help="Exactly so many steps away; `all` for any number of steps.", show_default=True)
    ] = "1",
) -> None:
    """Show what a view reads and what reads it, by name."""
    found = find(api, view)
    steps: int | str = int(level) if level.isdecimal() else level
    above = data(api.post(f"{PATH}{found['id']}/ancestors/", {"level": steps}))["ancestors"]
    below = data(api.post(f"{PATH}{found['id']}/descendants/", {"level": steps}))["descendants"]
    if api.as_json:
        counts = data(api.get(f"{PATH}{found['id']}/dependencies/"))
        echo_json(json.dumps({"ancestors": above, "descendants": below, **counts}))
        return
    names = {one["id"]: one["name"] for one in api.items(PATH)} if [*above, *below] else {}
    echo(f"reads    {', '.join(names.get(one, one) for one in above) or 'no view and no table'}")
    echo(f"read by  {', '.join(names.get(one, one) for one in below) or 'no view'}")


def _changes(entry: Json) -> str:
    if entry.get("abridged"):
        return "too long to be listed"
    return ", ".join(
        "query" if field == "query" else f"{field}: {_value(before)} -> {_value(after)}"
        for field, before, after in changes_of(entry)
    )


def _value(value: object) -> str:
    text = "none" if value is None else " ".join(str(value).split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
