"""A statement with the values of its parameters, as PostHog's clients send it: `{name}` in it, or DuckDB's `$name`."""

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.model.errors import Invalid, InvalidQuery
from orchestrator.model.placeholders import as_parameters, find_placeholder
from orchestrator.model.query_object import check_text

_NAME = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)
_MOST_VALUES = 1000


def with_parameters(sql: str, values: Mapping[str, Any]) -> str:
    """The statement, with `{name}` as `$name` for each of the values, which are bound and never become part of it.

    Raises Invalid for a name that no parameter can have, InvalidQuery for a placeholder without a value.
    """
    check_text(sql)
    if not sql.strip():
        raise InvalidQuery("The query must hold a SELECT statement under its key 'query'.", attr="query")
    if len(values) > _MOST_VALUES:
        raise Invalid(f"A query may have {_MOST_VALUES:,} values.", attr="values")
    wrong = next((name for name in values if not _NAME.fullmatch(name)), None)
    if wrong is not None:
        raise Invalid(f"{wrong[:100]!r} cannot be the name of a value: letters, digits and _ only.", attr="values")
    text = as_parameters(sql, values.keys())
    brace = find_placeholder(text)
    if brace is not None:
        shown = text[brace : brace + 40].partition("}")[0]
        raise InvalidQuery(f"Invalid query: there is no value for the placeholder {shown}}}.", attr="query")
    return text
