"""The options of `matview table add` and `update` that say how files are read, with their names over HTTP."""

import inspect
import re
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from orchestrator.cli.api_client import Api, Json
from orchestrator.model.source_table import BadRow

P = ParamSpec("P")


class Separator(StrEnum):
    """The decimal separator of numbers in a file."""

    POINT = "."
    COMMA = ","


_COLUMN = re.compile(r'(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^="][^=]*))=(?P<type>.+)', re.DOTALL)

_Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        metavar="COLUMN=TYPE",
        help='States the type of a column, such as zip=VARCHAR; may be given again. A name with = is put in "quotes".',
    ),
]
_OPTIONS: dict[str, Any] = {
    "types": _Types,
    "on_bad_row": Annotated[
        BadRow | None,
        typer.Option("--on-bad-row", help="What a run does with a row that does not fit the columns; fail as usual."),
    ],
    "union_by_name": Annotated[
        bool | None,
        typer.Option("--union-by-name/--no-union-by-name", help="Files may lack columns, which are NULL then."),
    ],
    "hive_partitioning": Annotated[
        bool | None,
        typer.Option("--hive-partitions/--no-hive-partitions", help="Folders named key=value are columns."),
    ],
    "delimiter": Annotated[
        str | None, typer.Option("--delimiter", help="CSV: the character between columns; \\t is a tab.")
    ],
    "quote": Annotated[
        str | None, typer.Option("--quote", help="CSV: the character around a quoted text; '' for none.")
    ],
    "header": Annotated[
        bool | None, typer.Option("--header/--no-header", help="CSV: whether the files have a header line.")
    ],
    "null_text": Annotated[str | None, typer.Option("--null-text", help="CSV: the text of a field that is NULL.")],
    "date_format": Annotated[
        str | None,
        typer.Option("--date-format", help="CSV: how dates are written, such as %d/%m/%Y; '' for ISO dates."),
    ],
    "decimal_separator": Annotated[
        Separator | None, typer.Option("--decimal-separator", help="CSV: what stands before the fraction of a number.")
    ],
    "encoding": Annotated[str | None, typer.Option("--encoding", help="CSV: utf-8, utf-16 or latin-1.")],
}


def with_reading(command: Callable[Concatenate[Api, Json, P], None]) -> Callable[..., None]:
    """Decorate a command whose second parameter is a request body: adds these options, and puts those given into it."""

    @wraps(command)
    def reading(api: Api, *args: Any, **given: Any) -> None:  # noqa: ANN401 - the command's own
        body = {name: given.pop(name) for name in _OPTIONS}
        command(api, _body_of(body), *args, **given)

    api, _, *own = inspect.signature(command).parameters.values()
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=None)
        for name, kind in _OPTIONS.items()
    ]
    reading.__signature__ = inspect.Signature([api, *own, *options])  # type: ignore[attr-defined] # what Typer reads
    return reading


def column_of(text: str) -> Json:
    """Parse `name=type`, split at the first `=` outside quotes, into a column. Raises BadParameter."""
    found = _COLUMN.fullmatch(text)
    if found is None or not found["type"].strip():
        raise typer.BadParameter(f"{text!r} is not COLUMN=TYPE, such as zip=VARCHAR", param_hint="--type")
    name = found["plain"] or found["quoted"].replace('""', '"')
    return {"name": name, "type": found["type"].strip()}


def _body_of(given: Json) -> Json:
    types = given.pop("types")
    body = {name: value for name, value in given.items() if value is not None}
    if types:
        body["columns"] = [column_of(text) for text in types]
    if body.get("date_format") == "":
        body["date_format"] = None
    return body
