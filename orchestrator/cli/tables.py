"""`matview table`: the files that views may read."""

import os
from pathlib import Path, PurePath
from typing import Annotated

import typer

from orchestrator.cli.console import say, say_json
from orchestrator.cli.http import Api, data, moment, say_columns, with_api
from orchestrator.model.source_table import SourceFormat

app = typer.Typer(help="Source tables: files that views may read under a name.", no_args_is_help=True)

_PATH = "warehouse_tables/"
_FORMATS = {
    ".parquet": SourceFormat.PARQUET,
    ".csv": SourceFormat.CSV_WITH_NAMES,
    ".json": SourceFormat.JSON_EACH_ROW,
    ".jsonl": SourceFormat.JSON_EACH_ROW,
    ".ndjson": SourceFormat.JSON_EACH_ROW,
}


@app.command("add")
@with_api
def add_table(
    api: Api,
    name: Annotated[str, typer.Argument(help="What views call it.", show_default=False)],
    pattern: Annotated[
        list[str], typer.Argument(help="A file, or several with * (in quotes: the shell must not expand it).")
    ],
    file_format: Annotated[
        SourceFormat | None, typer.Option("--format", help="How they are read; guessed from the ending if not given.")
    ] = None,
) -> None:
    """Register files as a source table."""
    if len(pattern) > 1:
        raise typer.BadParameter(
            f"it stands for {len(pattern)} files by now; write it in quotes, so that the shell does not expand it",
            param_hint="PATTERN",
        )
    body = {"name": name, "format": file_format or guess_format(pattern[0]), "url_pattern": absolute(pattern[0])}
    response = api.post(_PATH, body)
    if api.as_json:
        say_json(response.text)
        return
    table = data(response)
    say(f"{table['name']}: {table['format']} files, {len(table['columns'])} columns")
    say_columns(("COLUMN", "TYPE"), [(column["name"], column["duckdb_type"]) for column in table["columns"]])


@app.command("list")
@with_api
def list_tables(api: Api) -> None:
    """List the source tables."""
    if api.as_json:
        for page in api.pages(_PATH):
            say_json(page.text)
        return
    say_columns(
        ("NAME", "FORMAT", "COLUMNS", "CREATED", "FILES"),
        [
            (table["name"], table["format"], len(table["columns"]), moment(table["created_at"]), table["url_pattern"])
            for table in api.items(_PATH)
        ],
    )


def guess_format(pattern: str) -> SourceFormat:
    """The format that the ending of a pattern stands for. Raises BadParameter if it stands for none."""
    ending = PurePath(pattern).suffix.lower()
    if ending not in _FORMATS:
        known = ", ".join(SourceFormat)
        raise typer.BadParameter(f"cannot be guessed from {pattern!r}; say which it is: {known}", param_hint="--format")
    return _FORMATS[ending]


def absolute(pattern: str) -> str:
    """The pattern as the server must see it: the current folder means nothing there."""
    return pattern if "://" in pattern else os.path.abspath(Path(pattern).expanduser())  # noqa: PTH100 - takes .. away
