"""The rules of `types/rules.py` for JSON: which JSON values fit a type, also inside objects and arrays.

Files are read into columns of JSON. A column's type is taken apart here. For each part there is SQL that says whether
the JSON fits it, and SQL that makes the value. A number is checked by its text, so that `2.6` is no BIGINT.

When DuckDB parses JSON, it keeps a number with a fraction as a DOUBLE, and so loses digits before any rule can check
them. A line with a long number is therefore rewritten first: the number becomes a string that begins with MARK.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

from collections.abc import Callable, Sequence
from itertools import count

from duckdb.sqltypes import DuckDBPyType

from orchestrator.engines.duckdb.sql.parquet_casts import literal, quoted
from orchestrator.engines.duckdb.types.nested import parts
from orchestrator.engines.duckdb.types.rules import Dialect, cast, fits, is_number

MARK = "\x01"
_MARKED = '"\\u0001'
_ESCAPED_MARK = "\\\\u0001"
# A number of at least so many digits and points may lose digits in a DOUBLE.
LONG_NUMBER = 17
# A string, or such a long number outside strings.
_STRING_OR_LONG = r'("(?:[^"\\]|\\.)*")|(-?\d[\d.]{15,}(?:[eE][-+]?\d+)?)'
NO_OBJECT = "A row is no JSON object."
KEY_TWICE = "A JSON object has the same key twice."


class JsonRules:
    """Composes the SQL of one column. `stated` and `dialect` are the arguments of `fits` in `types/rules.py`."""

    def __init__(self, kind: DuckDBPyType, *, stated: bool, dialect: Dialect) -> None:
        self._kind = kind
        self._stated = stated
        self._dialect = dialect
        self._numbers = count()

    def fits(self, json: str) -> str:
        """SQL: whether the JSON fits; NULL and the JSON null do."""
        return self._or_null(json, self._fits(json, self._kind))

    def value(self, json: str) -> str:
        """SQL: the value, where the JSON fits."""
        return self._value_or_null(json, self._kind)

    def _fits(self, json: str, kind: DuckDBPyType) -> str:
        if kind.id == "struct":
            fields = [self._or_null(_at(json, key), self._fits(_at(json, key), of)) for key, of in parts(kind)]
            return " AND ".join([_is(json, "OBJECT"), *fields])
        if kind.id in {"list", "array"}:
            return f"{_is(json, 'ARRAY')} AND {self._all(_items(json), parts(kind)[0][1])}"
        if kind.id == "map":
            return f"{_is(json, 'OBJECT')} AND {self._all(_values(json), parts(kind)[1][1])}"
        return self._scalar_fits(json, str(kind))

    def _all(self, items: str, kind: DuckDBPyType) -> str:
        each = self._each(items, lambda item: self._or_null(item, self._fits(item, kind)))
        return f"coalesce(list_bool_and({each}), true)"

    def _scalar_fits(self, json: str, kind: str) -> str:
        if kind == "JSON":
            return "true"
        is_text = f"starts_with({json}, '\"') AND NOT starts_with({json}, {literal(_MARKED)})"
        if kind == "VARCHAR":
            return "true" if self._stated else f"({is_text})"
        text = _text(json)
        good = fits(text, cast(text, kind, self._dialect), kind, stated=self._stated, dialect=self._dialect)
        bare = "NOT " if is_number(kind) or kind == "BOOLEAN" else ""
        return f"coalesce({good}, false)" if self._stated else f"coalesce({bare}({is_text}) AND {good}, false)"

    def _value(self, json: str, kind: DuckDBPyType) -> str:
        if kind.id == "struct":
            fields = ((quoted(key), self._value_or_null(_at(json, key), of)) for key, of in parts(kind))
            return f"struct_pack({', '.join(f'{key} := {value}' for key, value in fields)})"
        if kind.id in {"list", "array"}:
            child = parts(kind)[0][1]
            return self._each(_items(json), lambda item: self._value_or_null(item, child))
        if kind.id == "map":
            of = parts(kind)[1][1]
            values = self._each(_values(json), lambda item: self._value_or_null(item, of))
            return f"map(json_keys({json}), {values})"
        if str(kind) == "JSON":
            return f"CAST(regexp_replace({json}, '\"\\\\u0001([^\"]*)\"', '\\1', 'g') AS JSON)"
        return cast(_text(json), str(kind), self._dialect)

    def _value_or_null(self, json: str, kind: DuckDBPyType) -> str:
        return f"CASE WHEN {_is_null(json)} THEN NULL ELSE {self._value(json, kind)} END"

    def _or_null(self, json: str, condition: str) -> str:
        return f"({_is_null(json)} OR ({condition}))"

    def _each(self, items: str, work: Callable[[str], str]) -> str:
        item = f"item_{next(self._numbers)}"
        return f"list_transform({items}, lambda {item}: {work(item)})"


def exact_lines(objects: str, structure: str, more: Sequence[str], *, fails: bool) -> str:
    """A SELECT of one struct `j` of JSON columns for each row of `objects` (a call of read_json_objects).

    `structure` is the argument of `json_transform`, and `more` are columns of `objects` that are selected too. Numbers
    that may lose digits in a DOUBLE keep their text. A row that is no object, or has a key twice, fails the query if
    `fails` is true. Otherwise its `j` is NULL.
    """
    # JSON has no unescaped MARK. The first step puts two behind each string, and one before and behind each number.
    around = f"regexp_replace(CAST(json AS VARCHAR), {literal(_STRING_OR_LONG)}, '\\1{MARK}\\2{MARK}', 'g')"
    numbers = f"replace({around}, '{MARK}{MARK}', '')"
    exact = f"regexp_replace({numbers}, '{MARK}([^{MARK}]*){MARK}', '\"{_ESCAPED_MARK}\\1\"', 'g')"
    has_one = f"regexp_matches(json, '[0-9][0-9.]{{{LONG_NUMBER - 1}}}')"
    text = f"CASE WHEN {has_one} THEN {exact} ELSE CAST(json AS VARCHAR) END"
    keys = "len(json_keys(json)) = len(list_distinct(json_keys(json)))"
    no_object, twice_there = (f"error({literal(said)})" if fails else "NULL" for said in (NO_OBJECT, KEY_TWICE))
    whole = (
        f"CASE WHEN json IS NULL THEN NULL WHEN NOT starts_with(json, '{{') THEN {no_object}"
        f" WHEN NOT {keys} THEN {twice_there} ELSE {text} END"
    )
    also = "".join(f", {quoted(name)}" for name in more)
    return f"SELECT json_transform({whole}, {literal(structure)}) AS j, json AS line{also} FROM {objects}"


def _text(json: str) -> str:
    """SQL: the content of a JSON string, or the JSON text of any other value."""
    return f"CASE WHEN starts_with({json}, '\"') THEN ltrim({json} ->> '$', chr(1)) ELSE CAST({json} AS VARCHAR) END"


def _is_null(json: str) -> str:
    return f"({json} IS NULL OR {json} = 'null')"


def _is(json: str, kind: str) -> str:
    return f"starts_with({json}, '{'{' if kind == 'OBJECT' else '['}')"


def _at(json: str, key: str) -> str:
    pointer = "/" + key.replace("~", "~0").replace("/", "~1")
    return f"json_extract({json}, {literal(pointer)})"


def _items(json: str) -> str:
    return f"json_extract({json}, '$[*]')"


def _values(json: str) -> str:
    return f"json_extract({json}, '$.*')"
