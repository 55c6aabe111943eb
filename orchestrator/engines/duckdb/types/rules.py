"""The rules for which texts fit a type. The registration of a table and every run that reads it use the same ones.

DuckDB's own casts are loose: `1.5` becomes 2 as a BIGINT, `02134` becomes 2134, and a TIMESTAMP drops `+05:00`. So
files are read as text, and a value is accepted only if its text fits. There are two sets of rules:

* A *detected* type never loses anything of the text. It accepts plain forms only.
* A *stated* type accepts every text that reads as that type without loss: `007` is the BIGINT 7, `1.5` is none.

All rules are SQL, since a run may check a billion values. An expression has two SQL operands: the text, and the result
of `TRY_CAST`. Its first test is the cheapest one that most values pass. Casting back to text and comparing costs 60 ns
a value, a regular expression 100 ns.
"""

from typing import NamedTuple

from orchestrator.engines.duckdb.sql.parquet_casts import literal

DECIMAL_DIGITS = 38
_CLOCK = r"\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?"
_DAY = r"\d{4}-\d{2}-\d{2}"
# A number of at most this many characters has so few digits that a DOUBLE gives all of them back.
_SAFE_LENGTH = 16
PLAIN_INTEGER = r"-?(0|[1-9]\d*)"
PLAIN_FRACTION = rf"{PLAIN_INTEGER}\.\d+"
PLAIN_EXPONENT = rf"{PLAIN_FRACTION}[eE][-+]?\d+"
TIME = _CLOCK
DATE = _DAY
TIMESTAMP = rf"{_DAY}([ T]{_CLOCK})?"
# Any zone but UTC would be lost: a TIMESTAMP WITH TIME ZONE keeps the moment and is shown in UTC.
TIMESTAMPTZ = rf"{_DAY}[ T]{_CLOCK}(Z| UTC|[+]00(:?00)?)"

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
             "UHUGEINT", "BIGNUM"}  # fmt: skip
_FLOATS = {"FLOAT", "DOUBLE"}
_CANONICAL = {"BIGINT", "HUGEINT", "DATE"}
_STAMPS = {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}


class Dialect(NamedTuple):
    """How numbers and dates are written in the files of a table."""

    decimal_separator: str = "."
    date_format: str | None = None


USUAL = Dialect()


def fully(text: str, pattern: str) -> str:
    """SQL: whether the whole of `text` matches the pattern."""
    return f"regexp_full_match({text}, {literal(pattern)})"


def number_text(text: str, dialect: Dialect) -> str:
    """SQL: the text of a number with a decimal point; NULL if it has a point although the separator is a comma."""
    if dialect.decimal_separator == ".":
        return text
    return f"CASE WHEN NOT contains({text}, '.') THEN replace({text}, ',', '.') END"


def cast(text: str, kind: str, dialect: Dialect = USUAL) -> str:
    """SQL: the value of `text` by DuckDB's loose cast to the type; NULL where the cast fails."""
    if dialect.date_format and is_dated(kind):
        return f"TRY_CAST(try_strptime({text}, {literal(dialect.date_format)}) AS {kind})"
    if is_number(kind):
        text = number_text(text, dialect)
    return f"TRY_CAST({text} AS {kind})"


def fits(text: str, value: str, kind: str, *, stated: bool, dialect: Dialect = USUAL) -> str:
    """SQL: whether the text fits the type; `value` is the result of `cast`. NULL counts as no."""
    if kind == "VARCHAR":
        return "true"
    if dialect.date_format and is_dated(kind):
        return f"{value} = try_strptime({text}, {literal(dialect.date_format)})"
    if is_number(kind):
        text = number_text(text, dialect)
    return _stated(text, value, kind) if stated else _detected(text, value, kind)


def is_number(kind: str) -> bool:
    """Whether values of the type are written as numbers."""
    return kind in _INTEGERS | _FLOATS or kind.startswith("DECIMAL")


def is_dated(kind: str) -> bool:
    """Whether a date format applies to the type."""
    return kind in _STAMPS | {"DATE", "TIMESTAMP WITH TIME ZONE"}


def gives_back(text: str, value: str) -> str:
    """SQL: whether a DOUBLE has all digits of the plain number in `text`, which has a point.

    DuckDB writes the fewest digits that identify the DOUBLE. They are compared with the text, except for zeros at the
    end.
    """
    shown = f"CAST({value} AS VARCHAR)"
    short = f"strlen({text}) <= {_SAFE_LENGTH}"
    return f"({short} OR {shown} = {text} OR rtrim({shown}, '0') = rtrim({text}, '0'))"


def _detected(text: str, value: str, kind: str) -> str:
    there = f"{value} IS NOT NULL"
    rules = {
        "BOOLEAN": f"({text} = 'true' OR {text} = 'false')",
        "DOUBLE": _plain_double(text, value),
        "TIMESTAMP": f"({_same(text, value)} OR ({there} AND {fully(text, TIMESTAMP)}))",
        "TIME": f"({there} AND {fully(text, TIME)})",
        "TIMESTAMP WITH TIME ZONE": f"({there} AND {fully(text, TIMESTAMPTZ)})",
        **dict.fromkeys(_CANONICAL, _same(text, value)),
    }
    if kind.startswith("DECIMAL"):
        plain = rf"{PLAIN_INTEGER}([.]\d{{1,{_scale(kind)}}})?"
        return f"({there} AND {fully(text, plain)})"
    return rules.get(kind, there)


def _plain_double(text: str, value: str) -> str:
    """SQL: whether the text is a plain number, all digits of which the DOUBLE has.

    DuckDB also casts texts that are not plain: 007, .5, 5., +1, 1_000, 1e5, inf, and numbers between blanks.
    """
    short = f"(strlen({text}) <= {_SAFE_LENGTH} AND {value} IS NOT NULL AND {fully(text, PLAIN_FRACTION)})"
    plain = rf"{PLAIN_INTEGER}(\.\d+([eE][-+]?\d+)?)?"
    whole = f"(NOT contains({text}, '.') AND strlen({text}) <= {_SAFE_LENGTH - 1})"
    long = f"(contains({text}, '.') AND CAST({value} AS VARCHAR) = {text})"
    slow = f"({value} IS NOT NULL AND {fully(text, plain)} AND ({whole} OR {gives_back(text, value)}))"
    return f"({short} OR {long} OR {slow})"


def _stated(text: str, value: str, kind: str) -> str:
    there = f"{value} IS NOT NULL"
    if kind in _INTEGERS:
        return f"({there} AND ({_same(text, value)} OR {_whole_number(text, value)}))"
    if kind.startswith("DECIMAL"):
        fraction = rf"\s*[-+]?[\d_]*([.]\d{{0,{_scale(kind)}}}0*)?\s*"
        return f"({there} AND ({fully(text, fraction)} OR {_exact_exponent(text, value)}))"
    if kind in _FLOATS:
        digits = f"({_same(text, value)} OR {_few_digits(text, kind)} OR {_same_number(text, value)})"
        return f"({there} AND {_in_range(text, value)} AND {digits})"
    return " AND ".join([there, *_moment_rules(text, kind)])


def _moment_rules(text: str, kind: str) -> list[str]:
    """SQL conditions for a date or a time to lose nothing: no time of day, date, zone or digits of a second."""
    if kind == "DATE":
        return [f"NOT contains({text}, ':')"]
    rules = [f"NOT contains({text}, '-')"] if kind == "TIME" else []
    if kind in {*_STAMPS, "TIME"}:
        rules.append(f"NOT regexp_matches({text}, ':.*([-+]\\d|[A-Za-z])|[Zz]\\s*$')")
    if kind in {*_STAMPS, "TIME", "TIMESTAMP WITH TIME ZONE"}:
        digits = {"TIMESTAMP_S": 0, "TIMESTAMP_MS": 3, "TIMESTAMP_NS": 9}.get(kind, 6)
        rules.append(f"NOT regexp_matches({text}, '[.]\\d{{{digits}}}\\d*[1-9]')")
    return rules


def _scale(kind: str) -> int:
    """The number of digits that a DECIMAL has after its point."""
    return int(kind.removesuffix(")").rpartition(",")[2])


def _same(text: str, value: str) -> str:
    return f"CAST({value} AS VARCHAR) = {text}"


def _whole_number(text: str, value: str) -> str:
    """SQL: whether the text is a number without a fraction. DuckDB would round a fraction."""
    without_point = f"NOT regexp_matches({text}, '[.]|^[^xX]*[eE]')"
    zeros = fully(text, r"\s*[-+]?\d+\.0*\s*")
    return f"{without_point} OR {zeros} OR {_exact_exponent(text, value)}"


def _exact_exponent(text: str, value: str) -> str:
    form = fully(text, r"\s*[-+]?[\d.]+[eE][-+]?\d+\s*")
    return f"({form} AND TRY_CAST({text} AS DOUBLE) = CAST({value} AS DOUBLE))"


def _few_digits(text: str, kind: str) -> str:
    """SQL: whether the text has so few digits that the type gives all of them back. A name such as `inf` has none."""
    digits = f"ltrim(regexp_replace(regexp_replace({text}, '[eE][-+]?[0-9].*', ''), '[^0-9]', '', 'g'), '0')"
    return f"strlen({digits}) <= {6 if kind == 'FLOAT' else 15}"


def _in_range(text: str, value: str) -> str:
    """SQL: whether the cast neither overflowed to infinity nor underflowed to 0.

    The text `inf` has no digits, and a text that means 0 has only zeros, so both are in range.
    """
    large = f"NOT isinf({value}) OR NOT regexp_matches({text}, '[0-9]')"
    return f"({large}) AND ({value} <> 0 OR NOT regexp_matches({text}, '^[^eE]*[1-9]'))"


def _same_number(text: str, value: str) -> str:
    """SQL: whether text and value are equal as exact numbers, where both fit into a DECIMAL."""
    exact = "DECIMAL(38,18)"
    plain = fully(text, r"\s*[-+]?\d+(\.\d{0,18}0*)?\s*")
    return f"({plain} AND TRY_CAST(CAST({value} AS VARCHAR) AS {exact}) = TRY_CAST({text} AS {exact}))"
