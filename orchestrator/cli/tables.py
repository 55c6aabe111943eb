"""`matview table`: the files that views may read."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import httpx
import typer

from orchestrator.cli.api_client import Api, Json, data, echo_columns, moment, with_api
from orchestrator.cli.confirmation import Yes, confirm
from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure, echo, echo_json
from orchestrator.cli.read_options import with_reading
from orchestrator.cli.source_patterns import absolute, guess_format, has_tabs, single, warn_of_siblings
from orchestrator.cli.suggestions import did_you_mean
from orchestrator.model.names import name_key
from orchestrator.model.source_table import ReadOptions, SourceFormat

app = typer.Typer(help="Source tables: files that views may read under a name.", no_args_is_help=True)

_PATH = "warehouse_tables/"
_CSV = (SourceFormat.CSV, SourceFormat.CSV_WITH_NAMES)

Table = Annotated[str, typer.Argument(metavar="TABLE", help="Its name or its id.", show_default=False)]
Format = Annotated[
    SourceFormat | None, typer.Option("--format", help="How they are read; guessed from the ending if not given.")
]


@app.command("add")
@with_api
@with_reading
def add_table(
    api: Api,
    reading: Json,
    name: Annotated[str, typer.Argument(help="What views call it.", show_default=False)],
    pattern: Annotated[
        list[str], typer.Argument(help="A file, or several with * (in quotes: the shell must not expand it).")
    ],
    file_format: Format = None,
) -> None:
    """Register files as a source table."""
    files = single(pattern)
    chosen = file_format or guess_format(files)
    if chosen in _CSV and has_tabs(files):
        reading = {"delimiter": "\t", **reading}
    body = {"name": name, "format": chosen, "url_pattern": absolute(files), **reading}
    _say_contract(api, api.post(_PATH, body))
    warn_of_siblings(files)


@app.command("list")
@with_api
def list_tables(api: Api) -> None:
    """List the source tables."""
    if api.as_json:
        echo_json(api.whole_list(_PATH))
        return
    echo_columns(
        ("NAME", "FORMAT", "COLUMNS", "CREATED", "FILES"),
        [
            (table["name"], table["format"], len(table["columns"]), moment(table["created_at"]), table["url_pattern"])
            for table in api.items(_PATH)
        ],
    )


@app.command("show")
@with_api
def show_table(api: Api, table: Table) -> None:
    """Show a source table: its files, how they are read, and its columns."""
    response = api.get(f"{_PATH}{_find(api, table)}/")
    if api.as_json:
        echo_json(response.text)
        return
    found = data(response)
    lines = [
        *(("name", found["name"]), ("id", found["id"]), ("format", found["format"]), ("files", found["url_pattern"])),
        *((name.replace("_", " "), _value(found[name])) for name in ("header", *ReadOptions.model_fields)),
        ("created", moment(found["created_at"])),
    ]
    for label, value in lines:
        if value is not None:
            echo(f"{label:<19}{value}")
    echo("")
    _say_types(found["columns"])


@app.command("update")
@with_api
@with_reading
def update_table(
    api: Api,
    reading: Json,
    table: Table,
    *,
    rename: Annotated[str | None, typer.Option("--rename", help="What views call it from now on.")] = None,
    pattern: Annotated[
        str | None, typer.Option("--pattern", help="A file, or several with * (in quotes), instead of those it has.")
    ] = None,
    file_format: Annotated[SourceFormat | None, typer.Option("--format", help="How the files are read.")] = None,
    no_types: Annotated[bool, typer.Option("--no-types", help="State no type: all are detected.")] = False,
) -> None:
    """Change a source table: only what is given. Types that are given replace all that were stated before."""
    if no_types and "columns" in reading:
        raise typer.BadParameter("give types or state none, not both", param_hint="--no-types")
    given: Json = {
        "name": rename,
        "url_pattern": None if pattern is None else absolute(single([pattern])),
        "format": file_format,
        "columns": [] if no_types else None,
    }
    body = {field: value for field, value in given.items() if value is not None} | reading
    if not body:
        raise Failure("nothing is to be changed; see matview table update --help", EXIT_USAGE)
    _say_contract(api, api.patch(f"{_PATH}{_find(api, table)}/", body))
    if pattern is not None:
        warn_of_siblings(pattern)


@app.command("refresh")
@with_api
def refresh_table(api: Api, table: Table) -> None:
    """Read the columns of a source table from its files again."""
    _say_contract(api, api.post(f"{_PATH}{_find(api, table)}/refresh_schema/"))


@app.command("delete")
@with_api
def delete_table(api: Api, table: Table, *, yes: Yes = False) -> None:
    """Forget a source table that no view reads. Its files are not touched."""
    table_id = _find(api, table)
    confirm(f"Forget the source table {table}?", yes=yes)
    response = api.delete(f"{_PATH}{table_id}/")
    if api.as_json:
        echo_json(response.text)
    else:
        echo(f"{table}: deleted; its files are not touched")


def _find(api: Api, name_or_id: str) -> str:
    """The id of the table with this id or name. Upper and lower case are the same, as on the server."""
    try:
        if "-" in name_or_id:  # no name contains one
            return str(UUID(name_or_id))
    except ValueError:
        raise Failure(f"{name_or_id!r} is neither the name nor the id of a source table") from None
    for table in api.items(_PATH, name=name_or_id):
        if name_key(table["name"]) == name_key(name_or_id):
            return str(table["id"])
    near = did_you_mean(api, _PATH, name_or_id)
    raise Failure(f"there is no source table {name_or_id!r} in project {api.project}{near}")


def _say_contract(api: Api, response: httpx.Response) -> None:
    if api.as_json:
        echo_json(response.text)
        return
    table = data(response)
    echo(f"{table['name']}: {table['format']} files, {len(table['columns'])} columns")
    _say_types(table["columns"])


def _say_types(columns: Sequence[Json]) -> None:
    """Print the columns, and if any type was stated, also which ones were."""
    if any(column.get("stated") for column in columns):
        rows = [(one["name"], one["duckdb_type"], "stated" if one["stated"] else "detected") for one in columns]
        echo_columns(("COLUMN", "TYPE", "FROM"), rows)
    else:
        echo_columns(("COLUMN", "TYPE"), [(one["name"], one["duckdb_type"]) for one in columns])


def _value(value: object) -> str | None:
    """An option as text: white space and an empty text are quoted, to be visible; None if the format has none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return None if value is None else repr(value) if not value or str(value).isspace() else str(value)
