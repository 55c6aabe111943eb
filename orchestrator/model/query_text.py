"""The `query` object of a saved query, checked as far as that can be done without a database."""

import re
from typing import Any

from orchestrator.model.errors import InvalidQuery

KINDS = ("HogQLQuery", "SQLQuery")

# What can hide a brace: strings (also dollar-quoted), quoted names, comments.
_OPAQUE = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$", flags=re.DOTALL)
_VARIABLE = re.compile(r"\s*variables\.(\w+)")


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
    if "\x00" in sql:
        raise InvalidQuery("Invalid query: a statement cannot hold a NUL character.", attr="query")
    refuse_placeholders(sql)
    return query


def refuse_placeholders(sql: str) -> None:
    """Raise InvalidQuery for `{variables.x}`, `{filters}` and other `{…}` that are not DuckDB's own literals.

    A struct or map literal always has a colon directly between its braces; a placeholder never does.
    """
    visible = _OPAQUE.sub("''", sql)
    for match in re.finditer(r"\{", visible):
        if _is_literal(visible, match.end()):
            continue
        variable = _VARIABLE.match(visible, match.end())
        if variable:
            name = f"{{variables.{variable.group(1)}}}"
            raise InvalidQuery(f"Variables like {name} are not allowed in views", attr="query")
        raise InvalidQuery("Filters and placeholder expressions are not allowed in views", attr="query")


def _is_literal(text: str, start: int) -> bool:
    depth = 0
    position = start
    while position < len(text):
        character = text[position]
        if character in "{([":
            depth += 1
        elif character in "})]":
            if depth == 0:
                return False
            depth -= 1
        elif character == ":" and depth == 0:
            if text[position : position + 2] != "::":
                return True
            position += 1
        position += 1
    return False
