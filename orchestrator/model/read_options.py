"""The read options and columns that a client may state of a source table, checked without its files."""

import re
from collections.abc import Sequence
from typing import Any

from orchestrator.model.column_limits import MOST_COLUMNS
from orchestrator.model.errors import Invalid
from orchestrator.model.names import fold
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import AS_USUAL, DATABASE_FORMATS, ReadOptions, SourceFormat

# The longest pattern of files, as in PostHog.
LONGEST_PATTERN = 500
LONGEST_COLUMN_NAME = 1_000
LONGEST_TYPE = 10_000
# All names and types together: a run's plan holds them, and so does every response that shows the table.
LONGEST_CONTRACT = 500_000
LONGEST_TEXT = 100

_CSV = {SourceFormat.CSV: False, SourceFormat.CSV_WITH_NAMES: True}
_ABOUT_CSV = ("delimiter", "quote", "null_text", "date_format", "decimal_separator", "encoding")
# The encodings that DuckDB reads without an extension, with other spellings of them.
_ENCODINGS = {
    **dict.fromkeys(("utf-8", "utf8"), "utf-8"),
    **dict.fromkeys(("utf-16", "utf16"), "utf-16"),
    **dict.fromkeys(("latin-1", "latin1", "iso-8859-1"), "latin-1"),
}
# The specifiers of DuckDB's strptime.
_SPECIFIER = re.compile(r"%(-[dHIMSjmy]|[ABGHIMSTUVWXYZabcdfghjmnpuwxyz%]|(?P<unknown>.?.?))", re.DOTALL)
_LINE_BREAKS = "\r\n"


def format_of(source_format: SourceFormat, header: bool | None) -> SourceFormat:
    """The format, where `header` says whether CSV files have a header line. Raises Invalid if they are not CSV."""
    if header is None:
        return source_format
    if source_format not in _CSV:
        raise Invalid(f"'header' is about CSV files: it means nothing for {source_format}.", attr="header")
    return SourceFormat.CSV_WITH_NAMES if header else SourceFormat.CSV


def options_of(source_format: SourceFormat, before: ReadOptions, sent: ReadOptions) -> ReadOptions:
    """The options of a table: those of `before`, overridden by those that are set in `sent`.

    An option that does not apply to the format has its default: one of `before` is dropped, and another value in `sent`
    raises Invalid. So do options that are not valid, or that contradict one another.
    """
    given = {name: getattr(sent, name) for name in ReadOptions.model_fields if name in sent.model_fields_set}
    for name, value in given.items():
        if not _applies(name, source_format) and value != getattr(AS_USUAL, name):
            raise Invalid(f"'{name}' means nothing for {source_format} files.", attr=name)
    kept = {name: getattr(before, name) for name in ReadOptions.model_fields if _applies(name, source_format)}
    merged = ReadOptions.model_validate(kept | given)
    delimiter = "\t" if merged.delimiter == "\\t" else merged.delimiter
    encoding = _ENCODINGS.get(merged.encoding.lower(), merged.encoding)
    options = merged.model_copy(update={"delimiter": delimiter, "encoding": encoding})
    _check_each(options)
    _check_together(options, [*given])
    return options


def check_pattern(url_pattern: str) -> None:
    """Raise Invalid for a pattern that is too long."""
    if len(url_pattern) > LONGEST_PATTERN:
        raise Invalid(f"Ensure this field has no more than {LONGEST_PATTERN} characters.", attr="url_pattern")


def check_stated(columns: Sequence[Column]) -> None:
    """Raise Invalid for columns that cannot be stated of any files. Types are left to the engine, which knows all."""
    if len(columns) > MOST_COLUMNS:
        raise _wrong_columns(f"No more than {MOST_COLUMNS:,} columns can be stated.")
    for column in columns:
        if not column.name or not column.duckdb_type.strip():
            raise _wrong_columns("A column has a name and a type, and neither is empty.")
        if len(column.name) > LONGEST_COLUMN_NAME:
            raise _wrong_columns(f"A column's name has no more than {LONGEST_COLUMN_NAME:,} characters.")
        if len(column.duckdb_type) > LONGEST_TYPE:
            raise _wrong_columns(f'The type of "{column.name}" has more than {LONGEST_TYPE:,} characters.')
    if sum(len(column.name) + len(column.duckdb_type) for column in columns) > LONGEST_CONTRACT:
        raise _wrong_columns(f"All names and types together have no more than {LONGEST_CONTRACT:,} characters.")
    _check_names(columns)


def shown(source_format: SourceFormat, options: ReadOptions) -> dict[str, Any]:
    """Every option of a table, and whether its files have a header line. None: it does not apply to the format."""
    always = _always(source_format)
    known = {name: value if name in always else None for name, value in options.model_dump().items()}
    return {**known, "header": _CSV.get(source_format)}


def _always(source_format: SourceFormat) -> set[str]:
    """The options that have a value for files of a format, `on_bad_row` of Parquet included: it is `fail`."""
    return {name for name in ReadOptions.model_fields if name not in _ABOUT_CSV or source_format in _CSV}


def _applies(name: str, source_format: SourceFormat) -> bool:
    """Whether a client may choose the option for files of the format."""
    if source_format in DATABASE_FORMATS:
        return False
    if name == "on_bad_row":
        return source_format is not SourceFormat.PARQUET
    return name in _always(source_format)


def _check_each(options: ReadOptions) -> None:
    if len(options.delimiter) != 1 or options.delimiter in _LINE_BREAKS:
        raise Invalid("A delimiter is one character, and no line break; \\t stands for a tab.", attr="delimiter")
    if len(options.quote) > 1 or options.quote in [*_LINE_BREAKS] or not options.quote.isascii():
        raise Invalid("A quote is one ASCII character and no line break, or empty: nothing is quoted.", attr="quote")
    if len(options.null_text) > LONGEST_TEXT or any(one in options.null_text for one in _LINE_BREAKS):
        raise Invalid(f"The text for NULL has one line and {LONGEST_TEXT} characters at the most.", attr="null_text")
    if options.encoding not in _ENCODINGS.values():
        known = ", ".join(sorted(set(_ENCODINGS.values())))
        raise Invalid(f"The encoding is not one that can be read; it is one of: {known}.", attr="encoding")
    if options.date_format is not None:
        _check_date_format(options.date_format)


def _check_date_format(text: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise Invalid(f"A format for dates has {LONGEST_TEXT} characters at the most.", attr="date_format")
    found = [*_SPECIFIER.finditer(text)]
    unknown = next((one for one in found if one["unknown"] is not None), None)
    if unknown is not None:
        raise Invalid(f"strptime knows no {unknown[0]!r}; dates are written as in %d/%m/%Y.", attr="date_format")
    if all(one[0] == "%%" for one in found):
        raise Invalid("A format for dates holds specifiers of strptime, as %d/%m/%Y does.", attr="date_format")


def _check_together(options: ReadOptions, sent: Sequence[str]) -> None:
    """Raise Invalid if one character has two meanings. The error names the field that was sent."""
    delimiter, quote = ("delimiter", options.delimiter), ("quote", options.quote)
    point = ("decimal_separator", options.decimal_separator)
    for (first, one), (second, other) in ((delimiter, quote), (delimiter, point), (quote, point)):
        if one == other:
            wrong = first if first in sent and second not in sent else second
            raise Invalid(f"'{first}' and '{second}' cannot both be {one!r}.", attr=wrong)
    for name, mark in (delimiter, quote):
        if mark and mark in options.null_text:
            wrong = name if name in sent and "null_text" not in sent else "null_text"
            raise Invalid(f"The text for NULL cannot hold the {name} {mark!r}.", attr=wrong)


def _check_names(columns: Sequence[Column]) -> None:
    seen: set[str] = set()
    for column in columns:
        key = fold(column.name)
        if key in seen:
            raise _wrong_columns(
                f'The column "{column.name}" is stated twice; a to z and A to Z are the same in a name.'
            )
        seen.add(key)


def _wrong_columns(message: str) -> Invalid:
    return Invalid(message, attr="columns")
