"""`matview view describe` and `matview table describe`: what views, source tables and their columns mean."""

from typing import Annotated

import typer

from orchestrator.cli.api_client import Api, Json, data, echo_texts, with_api
from orchestrator.cli.output import Failure, echo, echo_json
from orchestrator.cli.tables import PATH as TABLES, Table, find_id
from orchestrator.cli.views import PATH as VIEWS, View, find
from orchestrator.model.names import fold

_VIEW_NOTES, _TABLE_NOTES = "saved_query_column_annotations/", "warehouse_column_annotations/"
_PAGE = 250

Column = Annotated[
    str | None,
    typer.Argument(metavar="COLUMN", help="The column that is meant; left out or empty: all.", show_default=False),
]
Meaning = Annotated[
    str | None,
    typer.Argument(
        metavar="TEXT",
        help="What it means; an empty text deletes that. Without a text, what is there is shown.",
        show_default=False,
    ),
]


def add_to(views: typer.Typer, tables: typer.Typer) -> None:
    """Add the commands."""
    views.command("describe")(describe_view)
    tables.command("describe")(describe_table)


@with_api
def describe_view(api: Api, view: View, column: Column = None, text: Meaning = None) -> None:
    """Describe a view or one of its columns, or show the descriptions."""
    found = data(api.get(f"{VIEWS}{find(api, view)['id']}/"))
    _describe(api, found, column, text, kind="saved_query", path=_VIEW_NOTES)


@with_api
def describe_table(api: Api, table: Table, column: Column = None, text: Meaning = None) -> None:
    """Describe a source table or one of its columns, or show the descriptions."""
    found = data(api.get(f"{TABLES}{find_id(api, table)}/"))
    _describe(api, found, column, text, kind="table", path=_TABLE_NOTES)


def _describe(api: Api, owner: Json, column: str | None, text: str | None, *, kind: str, path: str) -> None:
    columns = {fold(one["name"]) for one in owner["columns"]}
    if column is not None and text is None and fold(column) not in columns:
        if not any(character.isspace() for character in column):
            # More likely a misspelled column than a description of all.
            raise Failure(
                f'{owner["name"]} has no column "{column}"; to describe all of it by one word, write "" before that'
            )
        column, text = "", column
    if text is None:
        _show(api, owner, path, kind, column)
    elif not text:
        _remove(api, owner, path, kind, column or "")
    else:
        body = {kind: owner["id"], "column_name": column or "", "description": text}
        response = api.post(path, body)
        if api.as_json:
            echo_json(response.text)
        else:
            echo(f"{_name(owner, column or '')}: described")


def _show(api: Api, owner: Json, path: str, kind: str, column: str | None) -> None:
    notes = [
        one for one in _notes(api, owner, path, kind) if column is None or fold(one["column_name"]) == fold(column)
    ]
    if api.as_json:
        return
    if not notes:
        echo(f"{_name(owner, column or '')}: not described")
        return
    echo_texts([(_label(one, owner), one["description"]) for one in notes])


def _notes(api: Api, owner: Json, path: str, kind: str) -> list[Json]:
    """The annotations of a view or source table. With `--json`, the pages are printed as they are."""
    found: list[Json] = []
    more = True
    while more:
        asked = {f"{kind}_id": owner["id"], "limit": _PAGE, "offset": len(found)}
        response = api.get(path, **asked)
        if api.as_json:
            echo_json(response.text)
        page = data(response)
        found += page["results"]
        more = page["next"] is not None and bool(page["results"])
    return found


def _remove(api: Api, owner: Json, path: str, kind: str, column: str) -> None:
    response = api.get(path, **{f"{kind}_id": owner["id"], "limit": _PAGE})
    for one in data(response)["results"]:
        if fold(one["column_name"]) == fold(column):
            api.delete(f"{path}{one['id']}/")
            if not api.as_json:
                echo(f"{_name(owner, column)}: no longer described")
            return
    raise Failure(f"{_name(owner, column)} is not described")


def _label(note: Json, owner: Json) -> str:
    if not note["column_name"]:
        return str(owner["name"])
    return f"{note['column_name']}{'' if note['exists'] else ' (no longer there)'}"


def _name(owner: Json, column: str) -> str:
    return f"{owner['name']}.{column}" if column else str(owner["name"])
