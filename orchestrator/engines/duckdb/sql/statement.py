"""Checks that the text of a view's query is exactly one SELECT."""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

from collections.abc import Collection

import duckdb

from orchestrator.engines.duckdb.child.errors import clean_message, raised
from orchestrator.model.errors import InvalidQuery
from orchestrator.model.placeholders import with_plain_blanks
from orchestrator.model.position import Position, position_at, position_at_byte
from orchestrator.model.query_object import check_text
from orchestrator.model.sql_habits import SEVERAL, of_text


def invalid(reason: str, position: Position | None = None) -> InvalidQuery:
    """The error for a query that a view must not have; `position` is the place in its text."""
    return InvalidQuery(f"Invalid query: {reason}", attr="query", position=position)


def not_parsed(error: duckdb.Error, sql: str) -> InvalidQuery:
    """The error for a text that DuckDB does not parse, with advice if it was written for another tool."""
    offset, message = raised(error).offset, clean_message(error)
    end = len(sql.rstrip().encode())
    if offset is not None or message.endswith("at end of input"):
        offset = end if offset is None else min(offset, end)
    position = None if offset is None else place_of(sql, offset)
    advice = of_text(sql)
    return invalid(f"{_sentence(message)} {advice}" if advice else message, position)


def place_of(sql: str, offset: int) -> Position:
    """The place of a byte of a text, as DuckDB counts them: to it, every blank beyond ASCII is one byte."""
    return position_at_byte(with_plain_blanks(sql), offset)


def single_select(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Collection[str] = ()) -> str:
    """Return the single SELECT in `sql` without its semicolon, or raise InvalidQuery. Nothing is bound or run.

    `parameters` are the names for which values are given; a view has none.

    `connection` must be locked: DuckDB opens a file to parse some statements. The text must be one statement both by
    itself and inside parentheses: a text that closes the parenthesis could pass either check alone.
    """
    _check_text(sql)
    statements = _statements(connection, sql)
    asked = [s for s in statements if not _prepares_pivot(s)]
    if not asked:
        raise invalid("the text holds no statement.")
    if len(asked) > 1:
        raise invalid(f"a view is exactly one statement; this text has {len(asked)}. {SEVERAL}", _second(sql))
    if asked[0].type != duckdb.StatementType.SELECT:
        raise _no_select(asked[0].type.name, sql)
    unknown = asked[0].named_parameters - set(parameters)
    if unknown:
        raise invalid(
            f"there is no value for the parameter ${min(unknown)}."
            if parameters
            else "a view has no parameters; write the values themselves."
        )
    if len(statements) > 1:
        # DuckDB would run it to find its columns, which would change from run to run. It has no syntax tree to check.
        raise invalid("this PIVOT takes its columns from the data. List the values: PIVOT ... ON column IN (...).")
    text = without_semicolon(sql)
    try:
        wrapped = connection.extract_statements(f"SELECT * FROM (\n{text}\n) AS q")
    except duckdb.Error:
        wrapped = []
    if [s.type for s in wrapped] != [s.type for s in statements]:
        raise _no_select(text.split(maxsplit=1)[0].upper(), sql)
    return text


def _check_text(sql: str) -> None:
    check_text(sql)
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise invalid("the text is not valid Unicode.") from None


def _statements(connection: duckdb.DuckDBPyConnection, sql: str) -> list[duckdb.Statement]:
    try:
        return connection.extract_statements(sql)
    except duckdb.Error as error:
        raise not_parsed(error, sql) from None


def _no_select(kind: str, sql: str) -> InvalidQuery:
    return invalid(" ".join(filter(None, [f"a view is one SELECT statement; this is {kind}.", of_text(sql)])))


def _second(sql: str) -> Position | None:
    """The place where the second statement begins: behind the first semicolon."""
    rest = sql[len(without_semicolon(sql)) :]
    blank = len(rest) - len(rest.lstrip("; \t\r\n"))
    return position_at(sql, len(sql) - len(rest) + blank)


def _sentence(text: str) -> str:
    """The text with a point at its end, so that another sentence may follow."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _prepares_pivot(statement: duckdb.Statement) -> bool:
    """Whether DuckDB, not the client, put this CREATE TYPE before a PIVOT: only then it has no text."""
    return statement.type == duckdb.StatementType.CREATE and not statement.query


def without_semicolon(sql: str) -> str:
    """`sql` up to its first semicolon. In a single statement only comments can follow; token offsets are bytes."""
    raw = sql.encode()
    for offset, kind in duckdb.tokenize(sql):
        if kind == duckdb.token_type.operator and raw[offset : offset + 1] == b";":
            return raw[:offset].decode()
    return sql
