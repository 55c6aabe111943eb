"""`matview table`: the files that views may read."""

from collections.abc import Iterator, Sequence
from typing import Annotated
from uuid import UUID

import httpx
import typer
from rich.filesize import decimal

from orchestrator.cli.api_client import Api, Json, data, echo_columns, echo_descriptions, moment, with_api
from orchestrator.cli.confirmation import Yes, confirm
from orchestrator.cli.credentials import AccessKey, AccessSecret, credential_of
from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure, echo, echo_json, warn
from orchestrator.cli.program import advice
from orchestrator.cli.read_options import with_reading
from orchestrator.cli.source_patterns import absolute, guess_format, has_tabs, named_format, single, warn_of_siblings
from orchestrator.cli.suggestions import did_you_mean
from orchestrator.model.names import name_key
from orchestrator.model.plurals import number_of
from orchestrator.model.printable import one_line
from orchestrator.model.source_table import DATABASE_FORMATS, ReadOptions, SourceFormat

app = typer.Typer(help="Source tables: files that views may read under a name.", no_args_is_help=True)

PATH = "warehouse_tables/"
_MOST_LINES, _MOST_NAMES = 20, 10
_CSV = (SourceFormat.CSV, SourceFormat.CSV_WITH_NAMES)

Table = Annotated[str, typer.Argument(metavar="TABLE", help="Its name or its id.", show_default=False)]
BreakDependents = Annotated[
    bool, typer.Option("--break-dependents", help="Also if views that read it would stop binding.")
]
Format = Annotated[
    SourceFormat | None,
    typer.Option(
        "--format",
        parser=named_format,
        metavar="FORMAT",
        help="How they are read: Parquet, CSVWithNames, CSV (without a header line) or JSONEachRow; guessed from the "
        "ending if not given.",
    ),
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
    *,
    file_format: Format = None,
    access_key: AccessKey = None,
    access_secret: AccessSecret = None,
) -> None:
    """Register files as a source table: of this machine, of a bucket (s3://…), or at an https:// URL."""
    files = single(pattern, advice("table", "add", name))
    chosen = file_format or guess_format(files)
    if chosen in _CSV and has_tabs(files):
        reading = {"delimiter": "\t", **reading}
    body = {"name": name, "format": chosen, "url_pattern": absolute(files), **reading}
    body |= credential_of(access_key, access_secret)
    _say_contract(api, api.post(PATH, body))
    warn_of_siblings(files, name)


@app.command("list")
@with_api
def list_tables(api: Api) -> None:
    """List the source tables."""
    if api.as_json:
        echo_json(api.whole_list(PATH))
        return
    echo_columns(
        ("NAME", "FORMAT", "COLUMNS", "FILES", "SIZE", "CREATED", "PATTERN"),
        [
            (
                *(table["name"], table["format"], len(table["columns"]), table.get("file_count"), _size(table)),
                *(moment(table["created_at"]), table["url_pattern"]),
            )
            for table in api.items(PATH)
        ],
    )


@app.command("show")
@with_api
def show_table(api: Api, table: Table) -> None:
    """Show a source table: its files, how they are read, and its columns."""
    response = api.get(f"{PATH}{find_id(api, table)}/")
    if api.as_json:
        echo_json(response.text)
        return
    found = data(response)
    lines = [
        *(("name", found["name"]), ("id", found["id"]), ("format", found["format"]), ("files", found["url_pattern"])),
        ("last read", _counted(found)),
        ("description", found.get("description")),
        *((name.replace("_", " "), _value(found[name])) for name in ("header", *ReadOptions.model_fields)),
        ("created", moment(found["created_at"])),
    ]
    for label, value in lines:
        if value is not None:
            echo(f"{label:<19}{value}")
    echo("")
    _say_types(found["columns"])
    echo_descriptions(found["columns"])


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
    file_format: Format = None,
    access_key: AccessKey = None,
    access_secret: AccessSecret = None,
    break_dependents: BreakDependents = False,
    no_types: Annotated[bool, typer.Option("--no-types", help="State no type: all are detected.")] = False,
) -> None:
    """Change a source table: only what is given. Types that are given replace all that were stated before."""
    if no_types and "columns" in reading:
        raise typer.BadParameter("give types or state none, not both", param_hint="--no-types")
    given: Json = {
        "name": rename,
        "url_pattern": None
        if pattern is None
        else absolute(single([pattern], advice("table", "update", table, "--pattern"))),
        "format": file_format,
        "columns": [] if no_types else None,
    }
    body = {field: value for field, value in given.items() if value is not None} | reading
    body |= credential_of(access_key, access_secret)
    if break_dependents:
        body["break_dependents"] = True
    if not body:
        raise Failure(f"nothing is to be changed; see {advice('table', 'update', '--help')}", EXIT_USAGE)
    _say_contract(api, api.patch(f"{PATH}{find_id(api, table)}/", body))
    if pattern is not None:
        warn_of_siblings(pattern, rename or table)


@app.command("refresh")
@with_api
def refresh_table(api: Api, table: Table, *, break_dependents: BreakDependents = False) -> None:
    """Read the columns of a source table from its files again."""
    body = {"break_dependents": True} if break_dependents else None
    _say_contract(api, api.post(f"{PATH}{find_id(api, table)}/refresh_schema/", body))


@app.command("delete")
@with_api
def delete_table(api: Api, table: Table, *, yes: Yes = False) -> None:
    """Forget a source table that no view reads. Its files are not touched."""
    table_id = find_id(api, table)
    confirm(f"Forget the source table {table}?", yes=yes)
    response = api.delete(f"{PATH}{table_id}/")
    if api.as_json:
        echo_json(response.text)
    else:
        echo(f"{table}: deleted; its files are not touched")


def find_id(api: Api, name_or_id: str) -> str:
    """The id of the table with this id or name. Upper and lower case are the same, as on the server."""
    try:
        if "-" in name_or_id:  # no name contains one
            return str(UUID(name_or_id))
    except ValueError:
        raise Failure(f"{name_or_id!r} is neither the name nor the id of a source table") from None
    for table in api.items(PATH, name=name_or_id):
        if name_key(table["name"]) == name_key(name_or_id):
            return str(table["id"])
    near = did_you_mean(api, PATH, name_or_id)
    raise Failure(f"there is no source table {name_or_id!r} in project {api.project}{near}")


def _say_contract(api: Api, response: httpx.Response) -> None:
    if api.as_json:
        echo_json(response.text)
        return
    table = data(response)
    counted, columns = _counted(table), number_of(len(table["columns"]), "column")
    noun = "table" if table["format"] in DATABASE_FORMATS else "files"
    echo(f"{table['name']}: {table['format']} {noun}{f' ({counted})' if counted else ''}, {columns}")
    _say_types(table["columns"])
    for line in (*_changes(table.get("changes") or {}), *map(_difference, table.get("differences") or ())):
        warn(line)


def _counted(table: Json) -> str | None:
    """The number and size of a table's files when its columns were last read."""
    count = table.get("file_count")
    return None if count is None else f"{number_of(count, 'file')}, {_size(table)}"


def _size(table: Json) -> str | None:
    return None if table.get("bytes") is None else decimal(table["bytes"])


def _changes(changes: Json) -> Iterator[str]:
    if changes.get("added"):
        yield f"new columns: {_names([one['name'] for one in changes['added']])}"
    if changes.get("removed"):
        yield f"columns that are gone: {_names([one['name'] for one in changes['removed']])}"
    for one in changes.get("retyped", ())[:_MOST_LINES]:
        yield f"the column {one_line(one['name'])} is {one['after']} now, and was {one['before']}"


def _difference(found: Json) -> str:
    """One line about files whose columns are others."""
    more = found["file_count"] - 1
    which = one_line(found["path"]) + (f" and {more:,} more" if more else "")
    parts = [
        *(
            [f"without {_names(found['missing'], found['missing_count'])} (NULL there)"]
            if found["missing_count"]
            else []
        ),
        *(
            [f"with {_names(found['additional'], found['additional_count'])}, which the table does not have"]
            if found["additional_count"]
            else []
        ),
    ]
    advice = ""
    if found["additional_count"]:
        advice = " (--union-by-name takes such columns in)"
    return f"note: {which}: {' and '.join(parts)}{advice}"


def _names(names: Sequence[str], count: int | None = None) -> str:
    shown = ", ".join(one_line(name) for name in names[:_MOST_NAMES])
    more = (len(names) if count is None else count) - min(len(names), _MOST_NAMES)
    return f"{shown} and {more:,} more" if more > 0 else shown


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
