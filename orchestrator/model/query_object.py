"""The `query` object of a saved query, and the checks of it that need no database."""

import json
from typing import Any

from orchestrator.model.engine import check_engine
from orchestrator.model.errors import InvalidQuery
from orchestrator.model.placeholders import find_placeholder, variable_at
from orchestrator.model.position import position_at
from orchestrator.model.sql_habits import of_text

KINDS = ("HogQLQuery", "SQLQuery")
# The longest text of a statement, in UTF-8.
MAX_BYTES = 200_000
# The most JSON beside the statement, where clients keep notes of their own.
MAX_EXTRA_BYTES = 20_000
# Braces of a template, for which there is advice.
_TEMPLATES = ("{{", "{%")


def check_query(query: object) -> dict[str, Any]:
    """Return `query` if it is an object that holds a statement without placeholders.

    Raises InvalidQuery, in PostHog's words.
    """
    if not isinstance(query, dict):
        raise InvalidQuery(
            'The query must be a JSON object like {"kind": "HogQLQuery", "query": "SELECT ..."}.', attr="query"
        )
    if query.get("kind", KINDS[0]) not in KINDS:
        raise InvalidQuery(f"The kind of a query is one of {', '.join(KINDS)}.", attr="query")
    sql = query.get("query")
    if not isinstance(sql, str) or not sql.strip():
        raise InvalidQuery("The query must hold a SELECT statement under its key 'query'.", attr="query")
    check_text(sql)
    _check_extras(query)
    check_engine(query)
    refuse_placeholders(sql)
    return query


def check_text(sql: str) -> None:
    """Raise InvalidQuery for a text that is too long or holds a NUL character, before anything else reads it."""
    if len(sql) > MAX_BYTES or len(sql.encode(errors="surrogatepass")) > MAX_BYTES:
        raise InvalidQuery(f"Invalid query: the text is longer than {MAX_BYTES:,} bytes.", attr="query")
    if "\x00" in sql:
        raise InvalidQuery("Invalid query: a statement cannot hold a NUL character.", attr="query")


def refuse_placeholders(sql: str) -> None:
    """Raise InvalidQuery for `{variables.x}`, `{filters}` and other `{…}` that are not DuckDB's own literals."""
    brace = find_placeholder(sql)
    if brace is None:
        return
    variable, position = variable_at(sql, brace), position_at(sql, brace)
    if variable:
        refused = f"Variables like {{variables.{variable}}} are not allowed in views"
    else:
        refused = "Filters and placeholder expressions are not allowed in views"
    advice = of_text(sql) if sql.startswith(_TEMPLATES, brace) or sql.startswith("$", brace - 1) else ""
    raise InvalidQuery(f"{refused}. {advice}" if advice else refused, attr="query", position=position)


def _check_extras(query: dict[str, Any]) -> None:
    extras = {key: value for key, value in query.items() if key != "query"}
    if len(json.dumps(extras)) > MAX_EXTRA_BYTES:
        raise InvalidQuery(
            f"What stands beside the statement in the query may take {MAX_EXTRA_BYTES:,} bytes of JSON.", attr="query"
        )
