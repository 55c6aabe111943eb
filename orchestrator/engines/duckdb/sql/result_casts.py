"""Casts that give a result to a reader in a text format or in Arrow, without a value that is silently another one.

`to_json` keeps all digits of a number. These are the types that it would change: NaN and infinities, which JSON does
not have, become null; a BLOB becomes base64; a JSON value becomes its own text, since `to_json` would round its
numbers. A time has the form of ISO 8601, unless its year is none that ISO 8601 has.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

from collections.abc import Callable, Sequence
from functools import partial

from orchestrator.engines.duckdb.sql.parquet_casts import AS_NUMBERS, AS_TEXT, encoded, rebuilt
from orchestrator.model.names import quoted
from orchestrator.model.type_names import Kind, literal, parts

Columns = Sequence[tuple[str, Kind]]

_FRACTIONS = frozenset({"FLOAT", "DOUBLE"})
_TIMES = frozenset({"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"})
# Types of which a value may be a number that JavaScript, and so most readers of JSON, rounds.
_LARGE = frozenset({"BIGINT", "UBIGINT", "HUGEINT", "UHUGEINT", "BIGNUM", "DECIMAL"})
_MOST_DIGITS = 38
_AS_TEXT = frozenset({"JSON", "GEOMETRY"})
# Types that `to_json` and CSV give as the text that DuckDB reads back as the same value.
_AS_STORED = frozenset({"INTERVAL", "TIME WITH TIME ZONE", "BIT", "TIME_NS", "ENUM"})


def json_rows(sql: str, columns: Columns, *, large_as_text: bool, as_objects: bool) -> str:
    """A SELECT of one text for each row of `sql`: a JSON object with the names of the columns, or a JSON array.

    With `large_as_text`, a column of a type that can hold more than 53 bits is text.
    """
    values = [json_value(f"#{n}", kind, large_as_text=large_as_text) for n, (_, kind) in enumerate(columns, start=1)]
    if as_objects:
        pairs = (f"{literal(name)}, {value}" for (name, _), value in zip(columns, values, strict=True))
        row = f"json_object({', '.join(pairs)})"
    else:
        row = f"json_array({', '.join(values)})"
    return f"SELECT CAST({row} AS VARCHAR) AS row FROM (\n{sql}\n) AS q"


def csv_columns(sql: str, columns: Columns) -> str:
    """A SELECT of the columns of `sql`, each as a type whose text in a CSV file is the value."""
    values = (f"{_csv_value(f'#{n}', kind)} AS {quoted(name)}" for n, (name, kind) in enumerate(columns, start=1))
    return f"SELECT {', '.join(values)} FROM (\n{sql}\n) AS q"


def arrow_columns(sql: str, columns: Columns, *, wide: bool = False) -> str:
    """A SELECT of the columns of `sql` in types that Arrow holds: those in which Parquet files store them.

    HUGEINT becomes text if `wide`. Otherwise it becomes DECIMAL(38,0), and a number of 39 digits is an error.
    """
    values = (
        f"{_arrow_value(f'#{n}', kind, wide=wide)} AS {quoted(name)}" for n, (name, kind) in enumerate(columns, start=1)
    )
    return f"SELECT {', '.join(values)} FROM (\n{sql}\n) AS q"


def json_value(value: str, kind: Kind, depth: int = 0, *, large_as_text: bool = False) -> str:
    """An expression that `to_json` turns into the JSON form of `value`."""
    if kind.children:
        changes = any(_changes(part, large_as_text=large_as_text) for part in parts(kind))
        return rebuilt(value, kind, depth, partial(_inner_value, large_as_text=large_as_text)) if changes else value
    if kind.name in _AS_TEXT or (large_as_text and kind.name in _LARGE):
        return f"CAST({value} AS VARCHAR)"
    if kind.name in _AS_STORED:
        return encoded(value, kind, depth=depth)
    form = _FORMS.get(kind.name)
    return form(value, kind) if form else value


def _inner_value(value: str, kind: Kind, depth: int, *, large_as_text: bool) -> str:
    if kind.name in _FRACTIONS and value.endswith(".key"):
        return f"CAST({value} AS VARCHAR)"  # JSON's keys are texts, and no key of a MAP may be NULL
    return json_value(value, kind, depth, large_as_text=large_as_text)


def _changes(kind: Kind, *, large_as_text: bool) -> bool:
    if kind.name == "STRUCT" and not all(kind.fields):
        return True  # `to_json` would give all fields without a name the same one
    return not kind.children and json_value("x", kind, large_as_text=large_as_text) != "x"


def _decimal(value: str, kind: Kind) -> str:
    """A DECIMAL for `to_json`, which writes one with as many places as digits as `.5`, and that is no JSON."""
    digits, places = map(int, kind.text.removeprefix("DECIMAL(").removesuffix(")").split(","))
    if digits > places:
        return value
    return f"CAST({value} AS DECIMAL({digits + 1},{places}))" if digits < _MOST_DIGITS else f"CAST({value} AS VARCHAR)"


def _iso(value: str, kind: Kind) -> str:
    text = f"replace(CAST({value} AS VARCHAR), ' ', 'T')"
    if kind.name == "TIMESTAMP WITH TIME ZONE":  # the session's time zone is UTC
        text = f"replace({text}, '+00', 'Z')"
    is_iso = f"isfinite({value}) AND date_part('year', {value}) BETWEEN 1 AND 9999"
    return f"CASE WHEN {is_iso} THEN {text} ELSE CAST({value} AS VARCHAR) END"


def _csv_value(value: str, kind: Kind) -> str:
    if kind.children:
        return f"CAST(to_json({json_value(value, kind)}) AS VARCHAR)"
    if kind.name == "BLOB":
        return f"to_base64({value})"
    return encoded(value, kind) if kind.name in _AS_STORED else f"CAST({value} AS VARCHAR)"


def _arrow_value(value: str, kind: Kind, *, wide: bool) -> str:
    if kind.name == "GEOMETRY":
        return f"ST_AsWKB({value})"
    return encoded(value, kind, AS_TEXT if wide else AS_NUMBERS)


# The types whose JSON form depends on the value.
_FORMS: dict[str, Callable[[str, Kind], str]] = {
    **dict.fromkeys(_TIMES, _iso),
    **dict.fromkeys(_FRACTIONS, lambda value, _: f"CASE WHEN isfinite({value}) THEN {value} END"),
    "DECIMAL": _decimal,
    "BLOB": lambda value, _: f"to_base64({value})",
}
