"""`matview view diff`: the columns and rows in which two versions of a view differ."""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from orchestrator.cli.api_client import Api, Json, moment, with_api
from orchestrator.cli.output import Failure, echo, echo_json
from orchestrator.cli.result_table import Column, cell_text, echo_table, parsed
from orchestrator.cli.views import PATH, View, find
from orchestrator.model.plurals import number_of

DEFAULT_LIMIT, MOST_ROWS = 20, 1_000
_NUMBER = re.compile(r"-?\d{1,6}")
# The least of an id that names a version. A shorter text of digits is a number.
_PREFIX = re.compile(r"[0-9a-f][0-9a-f-]{7,35}")
_DIFFERENT = 1

KeyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="COLUMN",
        help="A column that identifies a row; may be repeated. Without it, whole rows are compared.",
    ),
]
LimitOption = Annotated[int, typer.Option(min=0, max=MOST_ROWS, help="How many rows of each kind are shown.")]
_Version = typer.Argument(
    metavar="VERSION",
    help="An id, or the beginning of one; a number: 1 is the newest of `view versions`; or -1: the one before the"
    " current one, -2 the one before that.",
    show_default=False,
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    # -1 is no option.
    app.command("diff", context_settings={"ignore_unknown_options": True})(view_diff)


@with_api
def view_diff(
    api: Api,
    view: View,
    a: Annotated[str | None, _Version] = None,
    b: Annotated[str | None, _Version] = None,
    *,
    key: KeyOption = None,
    limit: LimitOption = DEFAULT_LIMIT,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with status 1 if the versions differ.")] = False,
) -> None:
    """Show in which rows and columns two versions of a view differ: the one before and the current one, if not given.

    For example: matview view diff orders_by_day -1 --key day
    """
    found = find(api, view)
    versions = _Versions(api, found)
    earlier = versions.chosen(a or "-1")
    later = None if b is None else versions.chosen(b)
    text = diff_text(api, f"{PATH}{found['id']}/snapshots/{earlier}/diff/", key, limit, to=later)
    diff = parsed(text, "added")
    if api.as_json:
        echo_json(text)
    else:
        echo(f"{found['name']}: {_of_version(diff['from'])} → {_of_version(diff['to'])}")
        echo_diff(diff)
    if exit_code and not diff["is_identical"]:
        raise typer.Exit(_DIFFERENT)


def diff_text(api: Api, path: str, key: Sequence[str] | None, limit: int, **more: str | None) -> str:
    """The API's answer with a diff. It may take as long as a query."""
    params: list[tuple[str, str | int | float | bool | None]] = [("limit", limit)]
    params += [("key", name) for name in key or ()]
    params += [(name, value) for name, value in more.items() if value is not None]
    with api.stream("GET", path, params=params) as response:
        response.read()
        return response.text


def echo_diff(diff: Json) -> None:
    """Print a diff: its numbers first, then the columns and the rows that differ."""
    numbers = {name: int(number) for name, number in diff["rows"].items()}
    if diff["is_identical"]:
        echo(f"identical: {number_of(numbers['unchanged'], 'row')}")
        return
    echo(", ".join(f"{number:,} {name}" for name, number in numbers.items() if name != "changed" or diff["key"]))
    for line in _notes(diff):
        echo(line)
    rows = [*_whole_rows(diff, "removed"), *_changed_rows(diff), *_whole_rows(diff, "added")]
    if not rows:
        return
    header = [Column("", "VARCHAR"), *(Column(one["name"], one["to"]) for one in diff["columns"])]
    if any(count != "1" for count, _ in rows):
        header.insert(1, Column("rows", "BIGINT"))
        shown = [[row[0], count, *row[1:]] for count, row in rows]
    else:
        shown = [row for _, row in rows]
    echo("")
    echo_table(header, shown)
    left = {name: numbers[name] - _shown(diff[name]) for name in ("removed", "changed", "added")}
    more = ", ".join(f"{number:,} more {name}" for name, number in left.items() if number)
    if more:
        echo(f"({more}: --limit shows up to {MOST_ROWS:,} of each)")


class _Versions:
    """The versions of a view, as a command names them."""

    def __init__(self, api: Api, view: Json) -> None:
        self._api = api
        self._view = view
        self._newest_first: list[Json] | None = None

    def chosen(self, name: str) -> str:
        """The id of a version. Raises Failure if there is none of this name."""
        if self._newest_first is None:
            self._newest_first = self._api.items(f"{PATH}{self._view['id']}/snapshots/")
        found = self._newest_first
        if _NUMBER.fullmatch(name):
            return self._numbered(int(name))
        if _PREFIX.fullmatch(name.lower()) is None:
            raise Failure(f"{name!r} is no version: give an id from `matview view versions`, or a number such as -1")
        ids = [str(one["id"]) for one in found if str(one["id"]).startswith(name.lower())]
        if len(ids) != 1:
            raise Failure(f"{'several versions begin' if ids else 'no version that is kept begins'} with {name!r}")
        return ids[0]

    def _numbered(self, number: int) -> str:
        found = self._newest_first or []
        current = next((position for position, one in enumerate(found) if one["is_current"]), None)
        if number <= 0 and current is None:
            raise Failure(f"{self._view['name']} has no version that readers see")
        position = number - 1 if number > 0 else (current or 0) - number
        if position >= len(found):
            kept = "1 is kept" if len(found) == 1 else f"{len(found):,} are kept"
            raise Failure(f"there is no version {number} of {self._view['name']}: {kept}")
        return str(found[position]["id"])


def _of_version(version: Json) -> str:
    return f"{moment(version['created_at'])} ({str(version['snapshot_id'])[:8]})"


def _notes(diff: Json) -> Iterator[str]:
    """Lines about columns that differ, and about rows that the key does not identify."""
    schema = diff["schema"]
    columns = [
        *(f"- {one['name']} {one['type']}" for one in schema["removed"]),
        *(f"~ {one['name']} {one['from']} → {one['to']}" for one in schema["retyped"]),
        *(f"+ {one['name']} {one['type']}" for one in schema["added"]),
    ]
    yield from (f"column {line}" for line in columns)
    changed = ", ".join(f"{one['name']} in {int(one['rows']):,}" for one in diff["changed_columns"])
    if changed:
        yield f"changed rows differ in: {changed}"
    for side, faults in (diff["key_faults"] or {}).items():
        nulls, repeated = int(faults["null_keys"]), int(faults["repeated_rows"])
        parts = [f"{nulls:,} with NULL in the key"] if nulls else []
        parts += [f"{repeated:,} that share a key with others"] if repeated else []
        if parts:
            version = "earlier" if side == "from" else "later"
            yield f"of the {version} version, rows {' and '.join(parts)}: these are compared as whole rows"


def _whole_rows(diff: Json, kind: str) -> Iterator[tuple[str, list[Any]]]:
    sign, side = ("-", "from") if kind == "removed" else ("+", "to")
    for one in diff[kind]:
        cells = [cell_text(value, column[side]) for column, value in zip(diff["columns"], one["row"], strict=True)]
        yield str(one["count"]), [sign, *cells]


def _changed_rows(diff: Json) -> Iterator[tuple[str, list[Any]]]:
    for one in diff["changed"]:
        differs = set(one["columns"])
        cells = [
            f"{cell_text(before, column['from'])} → {cell_text(after, column['to'])}"
            if column["name"] in differs
            else after
            for column, before, after in zip(diff["columns"], one["from"], one["to"], strict=True)
        ]
        yield "1", ["~", *cells]


def _shown(rows: Sequence[Json]) -> int:
    return sum(int(one.get("count", 1)) for one in rows)
