"""Compares two versions of a view in the child process, and writes what differs into a pipe, as JSON."""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import duckdb

from orchestrator.engines.duckdb.child.plan import Inputs, Request, Task, Watch, translate_errors
from orchestrator.engines.duckdb.child.read import opened_pipe, session_of, streamed
from orchestrator.engines.duckdb.child.sinks import write_all
from orchestrator.engines.duckdb.sources.parquet import read_parquet
from orchestrator.engines.duckdb.sql.comparison import ADDED, CHANGED, REMOVED, Held, Side, Statements, forms_of
from orchestrator.engines.duckdb.sql.output_columns import columns_of_query
from orchestrator.engines.duckdb.sql.parquet_casts import decoded, quoted
from orchestrator.engines.duckdb.sql.result_casts import json_rows
from orchestrator.model.names import fold

# In the schema of temporary tables, and with a space: no relation of a query can be one of them.
_BY_KEY, _AS_WHOLES, _REPEATED = (f"temp.main.{quoted(f'a diff {part}')}" for part in ("by key", "as wholes", "keys"))

_LISTS = ("added", "removed", "changed")


class _Faults(NamedTuple):
    """The rows of a version that no key identifies: with NULL in it, or with a key that occurs more than once."""

    null_keys: int
    repeated_keys: int
    repeated_rows: int

    def members(self) -> dict[str, int]:
        """As members of a JSON object."""
        return self._asdict()


class _Found(NamedTuple):
    """Rows of one kind: their number, and some of them as JSON."""

    number: int
    shown: list[str]


def diff(request: Request) -> Task:
    """The task that compares the two versions of a plan, and writes into the pipe `pipe`.

    It writes members of a JSON object, without the braces. It returns what a query that is read returns.
    """
    return streamed(request, _diff)


def _diff(inputs: Inputs, labels: Mapping[str, str], request: Request, watch: Watch) -> dict[str, Any]:
    with translate_errors(request, inputs, labels), opened_pipe() as pipe:
        connection = session_of(request).connection
        watch(connection)
        try:
            found = _Diff(connection, request, _sides(request, inputs)).find()
        finally:
            for table in (_BY_KEY, _AS_WHOLES, _REPEATED):
                with suppress(duckdb.Error):
                    connection.execute(f"DROP TABLE IF EXISTS {table}")
        for text in _written(found):
            write_all(pipe, text.encode())
        rows = sum(found["rows"][kind] for kind in ("added", "removed", "changed"))
        return {"columns": [], "rows": rows, "has_more": False, "most_rows": request["rows"]}


def _sides(request: Request, inputs: Inputs) -> tuple[Side, Side]:
    before, after = request["relations"]
    columns = [{fold(column[0]): Held(*column) for column in one["columns"]} for one in (before, after)]
    pairs = [(columns[0][fold(earlier)], columns[1][fold(later)]) for earlier, later in request["names"]]
    forms = [forms_of(*pair) for pair in pairs]
    earlier, later = (read_parquet(file.real for file in inputs[one["name"]]) for one in (before, after))
    return (
        Side(earlier, [pair[0] for pair in pairs], [form[0] for form in forms]),
        Side(later, [pair[1] for pair in pairs], [form[1] for form in forms]),
    )


class _Diff:
    """A diff in progress."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, request: Request, sides: tuple[Side, Side]) -> None:
        self._connection = connection
        self._request = request
        self._sides = sides
        self._most: int = request["rows"]
        self._key: list[int] = request["key"]
        self._statements = Statements(*sides, self._key, shown=self._most, repeated=_REPEATED)

    def find(self) -> dict[str, Any]:
        """The members of the answer, in which rows are JSON already."""
        if not self._key:
            return self._answer(None, [], [self._whole_rows(self._statements.as_wholes(all_rows=True))])
        faults = self._faults()
        some_repeat = any(one.repeated_keys for one in faults)
        self._create(_BY_KEY, self._statements.by_key(some_repeat=some_repeat))
        keyed, differing = self._keyed_rows()
        found = [keyed]
        if some_repeat or any(one.null_keys for one in faults):
            found.append(self._whole_rows(self._statements.as_wholes(all_rows=False, some_repeat=some_repeat)))
        return self._answer(faults, differing, found)

    def _faults(self) -> list[_Faults]:
        self._create(_REPEATED, self._statements.repeated_keys())
        nulls = self._connection.execute(self._statements.null_keys()).fetchone() or (0, 0)
        found = self._rows(f"SELECT side, count(*), CAST(sum(n) AS BIGINT) FROM {_REPEATED} GROUP BY side")
        repeated = {side: (keys, rows) for side, keys, rows in found}
        return [_Faults(count, *repeated.get(side, (0, 0))) for side, count in enumerate(nulls)]

    def _keyed_rows(self) -> tuple[dict[int, _Found], list[tuple[str, int]]]:
        """The rows that the key identifies, by kind, and how many changed rows differ in each column."""
        names = [column.name for column in self._sides[1].columns]
        others = [n for n in range(len(names)) if n not in self._key]
        found: dict[int, _Found] = {}
        differing: list[tuple[str, int]] = []
        for kind, number, counts in self._rows(f"SELECT kind, n, differing FROM {_BY_KEY}"):
            earlier = [] if kind == ADDED else self._texts(_BY_KEY, kind, "f")
            later = [] if kind == REMOVED else self._texts(_BY_KEY, kind, "t")
            if kind == CHANGED:
                differing = [(names[n], count) for n, count in zip(others, counts, strict=True) if count]
                flags = self._shown(_BY_KEY, kind, f"[{', '.join(f's.d{n}' for n in others)}]")
                columns = [[names[n] for n, differs in zip(others, row, strict=True) if differs] for (row,) in flags]
                shown = [
                    f'{{"columns":{_json(some)},"from":{before},"to":{after}}}'
                    for some, before, after in zip(columns, earlier, later, strict=True)
                ]
            else:
                shown = [_counted(1, row) for row in earlier or later]
            found[kind] = _Found(number, shown)
        return found, differing

    def _whole_rows(self, select: str) -> dict[int, _Found]:
        """The rows of which one version has more, by kind."""
        self._create(_AS_WHOLES, select)
        found: dict[int, _Found] = {}
        for kind, number in self._rows(f"SELECT kind, n FROM {_AS_WHOLES}"):
            shown: list[str] = []
            if self._sides[1].columns:
                rows = self._texts(_AS_WHOLES, kind, "t" if kind == ADDED else "f", plain="v")
                counts = self._shown(_AS_WHOLES, kind, "s.n")
                shown = [_counted(count, row) for (count,), row in zip(counts, rows, strict=True)]
            found[kind] = _Found(number, shown)
        return found

    def _texts(self, table: str, kind: int, letter: str, *, plain: str | None = None) -> list[str]:
        """The rows of one kind that are shown, each as a JSON array of its values in the version of that letter.

        They are in the fields `<letter><n>`; in `<plain><n>` if the column is compared as it is, and `plain` is given.
        """
        if not self._most:
            return []
        side = self._sides["ft".index(letter)]
        fields = [f"{plain if plain and not form else letter}{n}" for n, form in enumerate(side.forms)]
        stored = _select_shown(table, kind, ", ".join(f"s.{field} AS {field}" for field in fields))
        columns = zip(fields, side.columns, strict=True)
        select = decoded(stored, [(field, column.logical, column.stored) for field, column in columns])
        kinds = columns_of_query(self._connection, select, collated=False)
        large_as_text = self._request["large_as_text"]
        return [row for (row,) in self._rows(json_rows(select, kinds, large_as_text=large_as_text, as_objects=False))]

    def _shown(self, table: str, kind: int, values: str) -> list[Any]:
        """Values of the rows of one kind that are shown, in the same order."""
        return self._rows(_select_shown(table, kind, values)) if self._most else []

    def _answer(
        self,
        faults: Sequence[_Faults] | None,
        differing: Sequence[tuple[str, int]],
        found: Sequence[Mapping[int, _Found]],
    ) -> dict[str, Any]:
        of_kinds = [[one[kind] for one in found if kind in one] for kind in (ADDED, REMOVED, CHANGED)]
        added, removed, changed = (sum(one.number for one in some) for some in of_kinds)
        shown = ([row for one in some for row in one.shown][: self._most] for some in of_kinds)
        unchanged = self._request["rows_after"] - added - changed
        return {
            "is_identical": self._request["has_same_columns"] and not (added or removed or changed),
            "rows": {"added": added, "removed": removed, "changed": changed, "unchanged": unchanged},
            "key_faults": faults and {name: one.members() for name, one in zip(("from", "to"), faults, strict=True)},
            "changed_columns": [{"name": name, "rows": count} for name, count in differing],
            **dict(zip(_LISTS, shown, strict=True)),
        }

    def _create(self, table: str, select: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {select}")

    def _rows(self, select: str) -> list[Any]:
        return self._connection.execute(select).fetchall()


def _select_shown(table: str, kind: int, values: str) -> str:
    return f"SELECT {values} FROM (SELECT unnest(shown) AS s FROM {table} WHERE kind = {kind})"


def _written(answer: Mapping[str, Any]) -> Iterator[str]:
    separator = ""
    for name, value in answer.items():
        yield f"{separator}{_json(name)}:"
        separator = ","
        if name not in _LISTS:
            yield _json(value)
            continue
        yield "["
        for number, row in enumerate(value):
            yield f"{',' if number else ''}\n{row}"
        yield "]"


def _counted(count: int, row: str) -> str:
    return f'{{"count":{count},"row":{row}}}'


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
