"""Explains why a statement does not bind: with the column that was meant, and advice for habits of other tools."""

import re
from collections.abc import Iterable

import duckdb

from orchestrator.engines.duckdb.child.errors import clean_message
from orchestrator.model.nearest import did_you_mean
from orchestrator.model.sql_habits import of_text

# DuckDB proposes nothing for these.
_UNKNOWN_COLUMN = re.compile(
    r'(?:does not have a column named|^Binder Error: Column) "([^"\n]{1,128})"(?: in EXCLUDE list not found[^\n]*)?$'
)
_WITHOUT_FROM = "because the FROM clause is missing"


def explain_binding(error: duckdb.Error, sql: str, columns: Iterable[str]) -> str:
    """The message for a statement that does not bind. `columns` are those of all that it reads."""
    message = clean_message(error)
    unknown = _UNKNOWN_COLUMN.search(message)
    if unknown:
        return f"{message}.{meant}" if (meant := did_you_mean(unknown[1], columns)) else message
    if message.endswith(_WITHOUT_FROM) and (advice := of_text(sql)):
        return f"{message}. {advice}"
    return message
