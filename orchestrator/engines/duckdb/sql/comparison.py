"""SQL that compares the files of two versions.

Values are compared as the files hold them, so an INTERVAL by its text: to DuckDB, a month and 30 days are equal. As in
DuckDB, NaN equals NaN, 0.0 equals -0.0 (of which Parquet files may hold one for both), and NULL equals NULL.

No name of a column is used but where it is read from a file: in each statement the column at position n is `v<n>`, and
`c<n>` is the form in which it is compared where that is another one.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.engines.duckdb.sql.parquet_casts import quoted
from orchestrator.model.type_names import kind_of

ADDED, REMOVED, CHANGED = 1, 2, 3
_WHOLE = frozenset(
    [
        *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
        *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "BIGNUM", "DECIMAL"),
    ]
)
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
_TEXT = "CAST({0} AS VARCHAR)"
_AS_FLOAT = "CAST({0} AS DOUBLE)"
# The digits of a number without the zeros at the end of its fraction: those of 1.50 and of 1.5 are equal.
# DuckDB's text of a DECIMAL with as many places as digits begins with the point.
_WITH_ZERO = f"regexp_replace({_TEXT}, '^(-?)\\.', '\\10.')"
_DIGITS = f"regexp_replace(regexp_replace({_WITH_ZERO}, '(\\.[0-9]*?)0+$', '\\1'), '\\.$', '')"
_AS_BINARY = "ST_AsWKB({0})"


class Held(NamedTuple):
    """A column of a version: its name, its type for readers, and its type in the files, if that is another one."""

    name: str
    logical: str
    stored: str | None

    @property
    def in_files(self) -> str:
        """Its type in the files."""
        return self.stored or self.logical


class Side(NamedTuple):
    """A version: a SELECT of all that its files hold, and the compared columns, with the form of each."""

    files: str
    columns: Sequence[Held]
    forms: Sequence[str]

    def select(self) -> str:
        """A SELECT of the compared columns."""
        names = [quoted(column.name) for column in self.columns]
        plain = [f"{name} AS v{n}" for n, name in enumerate(names)]
        formed = [f"{form.format(names[n])} AS c{n}" for n, form in enumerate(self.forms) if form]
        return f"SELECT {', '.join([*plain, *formed])} FROM ({self.files})"


def forms_of(before: Held, after: Held) -> tuple[str, str]:
    """How a column is compared that the two versions have as these; empty: as the files hold it.

    One whose type has changed is compared as a number, if both types are of numbers, and otherwise by its text.
    """
    if before.logical != after.logical:
        names = {kind_of(before.logical).name, kind_of(after.logical).name}
        if names <= _WHOLE:
            return _DIGITS, _DIGITS
        form = _AS_FLOAT if names <= _WHOLE | _FLOATS else _TEXT
        return form, form
    if before.in_files != after.in_files:  # a HUGEINT is stored as a number or as text
        return _TEXT, _TEXT
    # DuckDB 1.5.5 finds no two geometries equal in a join.
    return (_AS_BINARY, _AS_BINARY) if kind_of(after.in_files).name == "GEOMETRY" else ("", "")


class Statements:
    """The statements of one diff. `key` are the positions of the columns of the key.

    `shown` is how many rows of each kind are collected. `repeated` is the table of the rows of `repeated_keys`.
    """

    def __init__(self, before: Side, after: Side, key: Sequence[int], *, shown: int, repeated: str) -> None:
        self._sides = (before, after)
        self._columns = range(len(after.columns))
        self._refs = [f"{'c' if form else 'v'}{n}" for n, form in enumerate(after.forms)]
        self._key = [self._refs[n] for n in key]
        self._others = [n for n in self._columns if n not in key]
        self._shown = shown
        self._repeated = repeated

    def repeated_keys(self) -> str:
        """The keys that occur more than once in a version: `side` (0: the earlier one), the key, its number of rows."""
        keys = ", ".join(self._key)
        return " UNION ALL ".join(
            f"SELECT {number} AS side, {keys}, count(*) AS n FROM ({side.select()}) WHERE {self._null_key('NOT')}"
            f" GROUP BY {keys} HAVING count(*) > 1"
            for number, side in enumerate(self._sides)
        )

    def null_keys(self) -> str:
        """The number of rows of each version that have NULL in a column of the key."""
        counts = (f"(SELECT count(*) FROM ({side.select()}) WHERE {self._null_key()})" for side in self._sides)
        return f"SELECT {', '.join(counts)}"

    def by_key(self, *, some_repeat: bool) -> str:
        """The rows that a key identifies: for each `kind` their number `n`, how many differ in each column, and some.

        A row in `shown` has the values of both versions (`f<n>` and `t<n>`), and for each column that is not in the key
        whether they differ (`d<n>`).
        """
        differ = {n: f"f.{self._refs[n]} IS DISTINCT FROM t.{self._refs[n]}" for n in self._others}
        kind = (
            f"CASE WHEN f.has IS NULL THEN {ADDED} WHEN t.has IS NULL THEN {REMOVED}"
            f" WHEN {' OR '.join(differ.values()) or 'false'} THEN {CHANGED} END"
        )
        parts = [
            f"{kind} AS kind",
            *(f"f.v{n} AS f{n}, t.v{n} AS t{n}" for n in self._columns),
            *(f"{differs} AS d{n}" for n, differs in differ.items()),
            *(f"coalesce(f.{one}, t.{one}) AS k{n}" for n, one in enumerate(self._key)),
        ]
        f, t = (self._keyed(side, some_repeat=some_repeat) for side in self._sides)
        joined = f"SELECT {', '.join(parts)} FROM ({f}) AS f FULL JOIN ({t}) AS t ON {_equal('f', 't', self._key)}"
        row = [f"{letter}{n}" for letter in "ft" for n in self._columns] + [f"d{n}" for n in self._others]
        counts = ", ".join(f"count_if(d{n})" for n in self._others)
        shown = self._first({one: one for one in row}, [f"k{n}" for n, _ in enumerate(self._key)])
        return (
            f"SELECT kind, count(*) AS n, CAST([{counts}] AS BIGINT[]) AS differing, {shown} AS shown FROM ({joined})"
            " WHERE kind IS NOT NULL GROUP BY kind"
        )

    def as_wholes(self, *, all_rows: bool, some_repeat: bool = False) -> str:
        """The rows of which one version has more than the other: for each `kind` their number `n`, and some of them.

        Unless `all_rows`, only rows that no key identifies. A row in `shown` has the values (`v<n>`; for columns that
        are compared in a form of their own `f<n>` and `t<n>`, one of which is NULL), and `n`, how many more there are.
        """
        if not self._columns:
            return " UNION ALL ".join(
                f"SELECT {kind} AS kind, count(*) AS n, NULL AS shown FROM ({side.files}) HAVING count(*) > 0"
                for kind, side in zip((REMOVED, ADDED), self._sides, strict=True)
            )
        special = [n for n, form in enumerate(self._sides[1].forms) if form]
        parts = []
        for sign, side in zip((-1, 1), self._sides, strict=True):
            f, t = ("v{0}", "NULL") if sign < 0 else ("NULL", "v{0}")
            values = [f"{f.format(n)} AS f{n}, {t.format(n)} AS t{n}" for n in special]
            rows = side.select() if all_rows else self._unkeyed(side, some_repeat=some_repeat)
            parts.append(f"SELECT {', '.join([*self._refs, *values])}, {sign} AS sign FROM ({rows})")
        refs = ", ".join(self._refs)
        values = [f"any_value({letter}{n}) AS {letter}{n}" for n in special for letter in "ft"]
        grouped = (
            f"SELECT {', '.join([refs, *values])}, CAST(sum(sign) AS BIGINT) AS n FROM ({' UNION ALL '.join(parts)})"
            f" GROUP BY {refs} HAVING sum(sign) <> 0"
        )
        row = [one for n, one in enumerate(self._refs) if n not in special]
        row += [f"{letter}{n}" for n in special for letter in "ft"]
        shown = self._first({**{one: one for one in row}, "n": "abs(n)"}, self._refs)
        kind = f"CASE WHEN n > 0 THEN {ADDED} ELSE {REMOVED} END"
        return f"SELECT {kind} AS kind, CAST(sum(abs(n)) AS BIGINT) AS n, {shown} AS shown FROM ({grouped}) GROUP BY 1"

    def _keyed(self, side: Side, *, some_repeat: bool) -> str:
        """The rows of a version that the key identifies, in both versions."""
        repeated = f" ANTI JOIN {self._repeated} AS r ON {_equal('s', 'r', self._key)}" if some_repeat else ""
        return f"SELECT *, true AS has FROM ({side.select()}) AS s{repeated} WHERE {self._null_key('NOT')}"

    def _unkeyed(self, side: Side, *, some_repeat: bool) -> str:
        """All other rows of a version."""
        found = f"SELECT * FROM ({side.select()}) AS s WHERE {self._null_key()}"
        if some_repeat:
            repeated = f"SEMI JOIN {self._repeated} AS r ON {_equal('s', 'r', self._key)}"
            found += f" UNION ALL SELECT s.* FROM ({side.select()}) AS s {repeated}"
        return found

    def _null_key(self, negation: str = "") -> str:
        return f"{negation} ({' OR '.join(f'{one} IS NULL' for one in self._key)})"

    def _first(self, row: Mapping[str, str], order: Sequence[str]) -> str:
        """An aggregate: the first of these rows, as a list of structs. DuckDB refuses a list of none."""
        if not self._shown:
            return "NULL"
        values, by = (
            ", ".join(f"{name} := {value}" for name, value in one.items())
            for one in (row, {name: name for name in order})
        )
        return f"arg_min(struct_pack({values}), struct_pack({by}), {self._shown})"


def _equal(left: str, right: str, columns: Sequence[str]) -> str:
    return " AND ".join(f"{left}.{one} = {right}.{one}" for one in columns)
