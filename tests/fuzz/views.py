"""Random views over random views, of all types, that plain DuckDB runs without an error and always with one result."""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from random import Random

import duckdb

from tests.engines.duckdb.values import FLAT, in_utc

# Values that most functions take, beside the extreme values of their types.
ORDINARY = [
    *(f"{n}::{kind}" for n in (0, 1, 30) for kind in ("TINYINT", "INTEGER", "BIGINT", "HUGEINT", "UHUGEINT", "BIGNUM")),
    *(f"{n}::{kind}" for n in (2, 7) for kind in ("UTINYINT", "UBIGINT", "FLOAT", "DOUBLE", "DECIMAL(9,2)", "VARCHAR")),
    *("'a'", "'x'", "'2020-02-29'", "'12:30:00+01'", "'[1,2]'::JSON", "true", "false", "'101'::BIT", "'x'::BLOB"),
    *("'a'::ENUM('a', 'x', 'it''s')", "'x'::ENUM('a', 'x', 'it''s')", "'12:30:00+01'::TIMETZ", "'12:30:00-02'::TIMETZ"),
    *("INTERVAL '1 month'", "INTERVAL '30 days'", "INTERVAL '3 hours'", "'12:30:00'::TIME", "'12:30:00.5'::TIME_NS"),
    *(
        f"'{day} 12:30:00'::TIMESTAMP{part}"
        for day in ("2020-02-29", "1969-12-31")
        for part in ("", "_S", "_MS", "_NS", "TZ")
    ),
    *(
        "'2020-02-29'::DATE",
        "'1969-12-31'::DATE",
        "[1, 2]",
        "[3]",
        "['a', NULL]",
        "[[1::HUGEINT], []]",
        "[1, 2]::INTEGER[2]",
    ),
    *(
        "[3, 4]::INTEGER[2]",
        "{'f': 1, 'g h': 'x'}",
        "{'f': 1::HUGEINT}",
        "row(1, 'x')",
        "row(2, 'a')",
        "row(to_days(1))",
    ),
    *("MAP {'k': 1}", "MAP {'k': 2::UHUGEINT}", "MAP {1: 'a'::ENUM('a', 'x')}", "[{'f': [row(1::HUGEINT)]}]"),
    *("'POINT (1 2)'::GEOMETRY", "'LINESTRING (0 0, 1 1)'::GEOMETRY"),
]
# Expressions over columns `{a}` and `{b}` of any type; those that DuckDB does not take are left out. No result depends
# on the order of rows, on time or on chance. None adds floats up, as their sum depends on their order.
EXPRESSIONS = [
    *["{a}"] * 12,
    *("{a} + 1", "{a} - {b}", "{a} * 2", "-{a}", "{a} / 4", "{a} // 4", "{a} % 7", "{a} & 3", "{a} | {b}", "~{a}"),
    *("{a} << 1", "{a} >> 1", "abs({a})", "sign({a})", "gcd({a}, 4)", "bin({a})", "hex({a})", "to_base({a}, 3)"),
    *("bit_count({a})", "round({a}, 1)", "floor({a})", "printf('%d', {a})", "format('{{}}', {a})", "xor({a}, {a})"),
    *("{a} = {b}", "{a} < {b}", "{a} IS NOT DISTINCT FROM {b}", "{a} IN ({a}, {b})", "{a} IS NULL", "isfinite({a})"),
    *("{a}::VARCHAR", "typeof({a})", "hash({a})", "md5({a})", "md5_number({a}::VARCHAR)", "to_json({a})", "{a}::JSON"),
    *("TRY_CAST({a} AS HUGEINT)", "TRY_CAST({a} AS UHUGEINT)", "TRY_CAST({a} AS BIGNUM)", "TRY_CAST({a} AS DOUBLE)"),
    *("TRY_CAST({a} AS DATE)", "TRY_CAST({a} AS TIME)", "TRY_CAST({a} AS TIMETZ)", "TRY_CAST({a} AS TIMESTAMP_S)"),
    *("TRY_CAST({a} AS BIT)", "TRY_CAST({a} AS INTERVAL)", "TRY_CAST({a} AS TIME_NS)", "TRY_CAST({a} AS TIMESTAMPTZ)"),
    *("TRY_CAST({a} AS ENUM('a', 'x', 'it''s'))", "TRY_CAST({a} AS BLOB)", "TRY_CAST({a} AS GEOMETRY)"),
    *("upper({a})", "{a} || 'x'", "{a} || {b}", "length({a})", "reverse({a})", "{a}[1]", "{a}[2:]", "{a}[-1]"),
    *(
        "{a} + INTERVAL 1 DAY",
        "{a} * 3",
        "date_trunc('month', {a})",
        "date_part('year', {a})",
        "date_part('hour', {a})",
    ),
    *("{a} - INTERVAL '1 month'", "date_diff('day', {a}, {b})", "age({a}, {b})", "epoch_us({a})", "last_day({a})"),
    *("DATE '2020-02-29' + {a}", "TIMESTAMP '2020-02-29 01:02:03' + {a}", "extract('timezone' FROM {a})", "{a}::DATE"),
    *("enum_code({a})", "enum_first({a})", "set_bit({a}, 0, 1)", "bit_position('1'::BIT, {a})"),
    *("coalesce({a}, {b})", "nullif({a}, {b})", "if({a} IS NULL, {b}, {a})", "greatest({a}, {b})", "least({a}, {b})"),
    *("CASE WHEN {a} = {b} THEN {a} END", "[{a}, {b}]", "[{a}]", "array_value({a}, {b})", "array_value({a}, {a}, {a})"),
    *(
        "{{'f': {a}, 'g h': {b}}}",
        "{{'f': {a}}}",
        "row({a}, {b})",
        "row({a})",
        "MAP {{'k': {a}}}",
        "MAP {{1: {a}, 2: {b}}}",
    ),
    *("{a}.f", "{a}['f']", "struct_extract_at({a}, 1)", "struct_insert({a}, n := 1)", "struct_pack(x := {a})"),
    *("len({a})", "list_reverse({a})", "list_concat({a}, {b})", "list_transform({a}, lambda x: [x])", "flatten({a})"),
    *("list_sort({a})", "list_distinct({a}).len()", "list_sum({a})", "list_max({a})", "list_contains({a}, {a}[1])"),
    *("list_filter({a}, lambda x: x IS NOT NULL)", "array_to_string({a}, ',')", "{a}::VARCHAR[]", "list_zip({a}, {b})"),
    *("map_keys({a})", "map_values({a})", "map_entries({a})", "{a}['k']", "cardinality({a})", "map_concat({a}, {b})"),
    *("ST_AsText({a})", "ST_AsWKB({a})", "json_extract({a}, '$.a')", "{a}->>'$.a'", "json_type({a})", "encode({a})"),
    *("max({a}) OVER (PARTITION BY {b})", "count({a}) OVER (ORDER BY {b})", "dense_rank() OVER (ORDER BY {a})"),
    *("greatest({a}, {a}) = {a}", "{a} BETWEEN {b} AND {a}", "(SELECT {a})", "{a}::{a_type}", "[[{a}], NULL]"),
]
AGGREGATES = [
    *("count(*)", "count({a})", "count(DISTINCT {a})", "min({a})", "max({a})", "arg_min({a}, {a})"),
    *("sum({a}::DECIMAL(18,3))", "sum({a}::HUGEINT)", "sum({a}::BIGINT)", "sum({a}::INTEGER)", "bit_and({a})"),
    *("bit_or({a})", "bit_xor({a})", "bool_and({a})", "list({a} ORDER BY {a}::VARCHAR)", "list_sort(list({a}))"),
    *("string_agg({a}::VARCHAR, ',' ORDER BY {a}::VARCHAR)", "mode({a}) IS NULL", "count_if({a} IS NULL)"),
    *("max([{a}])", "min(row({a}, {b}))", "histogram({a})", "list(DISTINCT {a}).len()", "product({a}) IS NULL"),
    *(
        "quantile_disc({a}, 0.5)",
        "max({a}, 2)",
        "approx_count_distinct({a}) >= 0",
        "bitstring_agg({a}::TINYINT, -128, 127)",
    ),
]
CONDITIONS = [
    "{a} IS NOT NULL",
    "{a} >= {b}",
    "{a} IN (SELECT {a} FROM {view})",
    "NOT ({a} < {b})",
    "true",
    "{a} = {a}",
]
# Whether a template binds with columns of two types. Cached, since it is needed ten thousand times.
_BINDS: dict[tuple[str, str, str], bool] = {}
_MOST_ROWS = 300
_TRIES = 60


class Chain:
    """A few views, each over those before it, and plain DuckDB with all of them as views of its own."""

    def __init__(self, random: Random, levels: int) -> None:
        self.random = random
        self.views: dict[str, str] = {}
        self.connection = in_utc()
        self._filter = ""
        for level in range(levels):
            self._add(f"v{level}", self._leaf() if level == 0 else self._over())

    def columns(self, name: str) -> list[tuple[str, str]]:
        """The columns of a view, and their types, as plain DuckDB has them."""
        return [(row[0], row[1]) for row in self.connection.execute(f'DESCRIBE "{name}"').fetchall()]

    def is_written_by_duckdb(self, name: str, path: Path) -> bool:
        """Whether plain DuckDB can write the view's result to Parquet: it cannot for some deeply nested values."""
        with in_utc() as connection:  # a separate connection, as it cannot be used after such an error
            for view, sql in self.views.items():
                connection.execute(f'CREATE VIEW "{view}" AS {sql}')
            try:
                connection.execute(f"""COPY (FROM "{name}") TO '{path}' (FORMAT parquet)""")
            except duckdb.Error:
                return False
        return True

    def close(self) -> None:
        self.connection.close()

    def _add(self, name: str, sql: str) -> None:
        self.connection.execute(f'CREATE VIEW "{name}" AS {sql}')
        self.views[name] = sql

    def _leaf(self) -> str:
        values = _by_type()
        kinds = self.random.sample(sorted(values), self.random.randint(3, 6))
        columns = [self.random.choices(values[kind], k=4) for kind in kinds]
        for column in columns:
            column.append(f"CASE WHEN {column[0]} IS NULL THEN {column[1]} END")
            self.random.shuffle(column)
        rows = ", ".join(f"({', '.join(row)})" for row in zip(*columns, strict=True))
        names = ", ".join(f"c{n}" for n in range(len(columns)))
        return f"SELECT * FROM (VALUES {rows}) t({names})"

    def _over(self) -> str:
        """A view over one or two of the existing views, which can be run."""
        makers = [self._projection, self._projection, self._aggregation, self._join, self._set_operation]
        for _ in range(_TRIES):
            sql = self.random.choice(makers)(self.random.choice(list(self.views)))
            # DuckDB may compute a value before a filter removes its row, and that may raise an error.
            unfiltered = sql.replace(self._filter, "", 1)
            if sql and self._runs(sql) and self._runs(unfiltered) and self._is_a_view(sql):
                return sql
        return f"SELECT * FROM {next(iter(self.views))}"

    def _projection(self, view: str) -> str:
        distinct = "DISTINCT " if self.random.random() < 0.15 else ""
        values = self._chosen(EXPRESSIONS, view, self.random.randint(3, 7))
        return f"SELECT {distinct}{_named(values)} FROM {view}{self._where(view)}"

    def _aggregation(self, view: str) -> str:
        values = self._chosen(AGGREGATES, view, self.random.randint(2, 5))
        keys = self._chosen(EXPRESSIONS, view, self.random.randint(0, 2))
        keys = [key for key in keys if "OVER" not in key and "SELECT" not in key]
        return f"SELECT {_named([*keys, *values])} FROM {view}{self._where(view)}" + (" GROUP BY ALL" if keys else "")

    def _join(self, view: str) -> str:
        other = self.random.choice(list(self.views))
        kind = self.random.choice(["JOIN", "LEFT JOIN", "FULL JOIN"])
        same = [(a, b) for a, x in self.columns(view) for b, y in self.columns(other) if x == y]
        if not same:
            return ""
        left, right = self.random.choice(same)
        columns = [f'l."{a}"' for a, _ in self.columns(view)] + [f'r."{b}"' for b, _ in self.columns(other)]
        values = self.random.sample(columns, min(6, len(columns)))
        return f'SELECT {_named(values)} FROM {view} l {kind} {other} r ON l."{left}" = r."{right}"'

    def _set_operation(self, view: str) -> str:
        other = self.random.choice(list(self.views))
        kind = self.random.choice(["UNION ALL", "UNION", "EXCEPT", "INTERSECT ALL"])
        width = self.random.randint(1, 3)
        left, right = (self._chosen(EXPRESSIONS, name, width) for name in (view, other))
        if len(left) != len(right):
            return ""
        return f"SELECT {_named(left)} FROM {view} {kind} SELECT {_named(right)} FROM {other}"

    def _where(self, view: str) -> str:
        chosen = self._chosen(CONDITIONS, view, 1) if self.random.random() < 0.3 else []
        self._filter = f" WHERE {chosen[0]}" if chosen else ""
        return self._filter

    def _chosen(self, templates: list[str], view: str, count: int) -> list[str]:
        """Up to `count` of the templates, with columns of a view, that plain DuckDB can run."""
        columns = self.columns(view)
        found: list[str] = []
        for _ in range(count * 40):
            if len(found) == count:
                break
            (a, kind), (b, other) = self.random.choice(columns), self.random.choice(columns)
            template = self.random.choice(templates)
            value = template.format(a=f'"{a}"', b=f'"{b}"', a_type=kind, view=view)
            sql = f"FROM {view} WHERE {value}" if templates is CONDITIONS else f"SELECT {value} FROM {view}"
            key = (template, kind, other)
            if key not in _BINDS:
                _BINDS[key] = self._does_bind(sql)
            if _BINDS[key]:
                found.append(value)
        return found

    def _does_bind(self, sql: str) -> bool:
        try:
            self.connection.sql(sql)
        except duckdb.Error:
            return False
        return True

    def _runs(self, sql: str) -> bool:
        """Whether plain DuckDB returns rows for it, and not too many."""
        try:
            return len(self.connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM ({sql})").fetchall()) <= _MOST_ROWS
        except duckdb.Error:
            return False

    def _is_a_view(self, sql: str) -> bool:
        """Whether Matview accepts it, with the types that DuckDB has for it."""
        try:
            kinds = [str(kind) for kind in self.connection.sql(sql).types]
            untyped = is_untyped(self.connection, sql)
        except duckdb.Error:  # an error of the query around it: DuckDB binds some statements only by themselves
            return False
        refused = any(word in kind for kind in kinds for word in ("UNION", "VARIANT", "TYPE"))
        return not refused and not untyped and self._holds_json(sql, kinds)

    def _holds_json(self, sql: str, kinds: Iterable[str]) -> bool:
        """Whether its JSON values are valid, and can be stored. Those that DuckDB makes of some numbers are not."""
        texts = (f"#{n}::{kind.replace('JSON', 'VARCHAR')}::{kind}" for n, kind in enumerate(kinds, start=1))
        checks = ", ".join(text for text in texts if text.endswith("JSON") or "JSON[" in text or "JSON)" in text)
        return not checks or self._runs(f"SELECT {checks} FROM ({sql})")


def is_untyped(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Whether it has a bare NULL, the one value that has no type in plain DuckDB, and gets one from Matview."""
    typeof = f"SELECT typeof(COLUMNS(q.*)) FROM (SELECT 1) LEFT JOIN ({sql}) q ON true LIMIT 1"
    return '"NULL"' in str(connection.execute(typeof).fetchall())


def chains(random: Random, pairs: int) -> Iterator[Chain]:
    """Chains with that many pairs of a view and one that reads it; each must be closed."""
    while pairs > 0:
        levels = min(random.randint(2, 4), pairs + 1)
        pairs -= levels - 1
        yield Chain(random, levels)


def _named(values: list[str]) -> str:
    return ", ".join(f"{value} AS c{n}" for n, value in enumerate(values))


@cache
def _by_type() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with in_utc() as connection:
        for value in [*ORDINARY, *ORDINARY, *(value for _, value in FLAT)]:
            if not is_untyped(connection, f"SELECT {value} AS x"):
                found.setdefault(str(connection.sql(f"SELECT {value} AS x").types[0]), []).append(value)
    return found
