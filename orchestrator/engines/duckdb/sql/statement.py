"""Checks that the text of a view's query is exactly one SELECT."""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

from collections.abc import Collection

import duckdb

from orchestrator.engines.duckdb.child.errors import clean_message
from orchestrator.model.errors import InvalidQuery
from orchestrator.model.query_object import check_text


def invalid(reason: str) -> InvalidQuery:
    """The error for a query that a view must not have."""
    return InvalidQuery(f"Invalid query: {reason}", attr="query")


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
        raise invalid(f"a view is exactly one statement; this text has {len(asked)}.")
    if asked[0].type != duckdb.StatementType.SELECT:
        raise invalid(f"a view is one SELECT statement; this is {asked[0].type.name}.")
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
    text = _without_semicolon(sql)
    try:
        wrapped = connection.extract_statements(f"SELECT * FROM (\n{text}\n) AS q")
    except duckdb.Error:
        wrapped = []
    if [s.type for s in wrapped] != [s.type for s in statements]:
        raise invalid(f"a view is one SELECT statement; this is {text.split(maxsplit=1)[0].upper()}.")
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
        raise invalid(clean_message(error)) from None


def _prepares_pivot(statement: duckdb.Statement) -> bool:
    """Whether DuckDB, not the client, put this CREATE TYPE before a PIVOT: only then it has no text."""
    return statement.type == duckdb.StatementType.CREATE and not statement.query


def _without_semicolon(sql: str) -> str:
    """`sql` up to its first semicolon. In a single statement only comments can follow; token offsets are bytes."""
    raw = sql.encode()
    for offset, kind in duckdb.tokenize(sql):
        if kind == duckdb.token_type.operator and raw[offset : offset + 1] == b";":
            return raw[:offset].decode()
    return sql
