"""Decides whether a query gives the same rows again for the same inputs, by its syntax tree.

`any_value`, `first`, LIMIT without ORDER BY and sums of floats in parallel may give other rows, too. They count as
deterministic here: any of their answers is a right one, so that the one that is there need not be replaced.
"""

import re
from typing import Any

from orchestrator.model.names import fold

# Of DuckDB 1.5.5: functions whose `stability` is not CONSISTENT, macros that use one, and two that only claim to be
# consistent. A test compares this with duckdb_functions(), which takes too long to be asked in each process.
UNSTABLE = frozenset(
    {
        "ago",
        "current_catalog",
        "current_connection_id",
        "current_database",
        "current_date",
        "current_localtime",
        "current_localtimestamp",
        "current_query",
        "current_query_id",
        "current_schema",
        "current_schemas",
        "current_transaction_id",
        "currval",
        "gen_random_uuid",
        "get_current_time",
        "get_current_timestamp",
        "in_search_path",
        "nextval",
        "now",
        "pg_conf_load_time",
        "pg_postmaster_start_time",
        "pg_sleep",
        "random",
        "setseed",
        "sleep_ms",
        "stats",
        "today",
        "transaction_timestamp",
        "txid_current",
        "uuid",
        "uuidv4",
        "uuidv7",
        "write_log",
    }
)
# Names that DuckDB reads as the moment if there is no such column.
_MOMENTS = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
_ARGUMENTS_OF_AGE = 2
_MOMENT_OF_SPARK = re.compile(r"\s*(now|today|tomorrow|yesterday)\b", re.IGNORECASE)


def is_deterministic(node: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether nothing below `node` of a syntax tree depends on the moment or on chance."""
    if isinstance(node, list):
        return all(map(is_deterministic, node))
    if not isinstance(node, dict):
        return True
    return not _is_unstable(node) and all(map(is_deterministic, node.values()))


def names_no_moment(node: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether no text in a syntax tree is one that Spark reads as a moment where it needs a date. DuckDB refuses it."""
    if isinstance(node, list):
        return all(map(names_no_moment, node))
    if not isinstance(node, dict):
        return True
    if node.get("type") == "VALUE_CONSTANT":
        return not is_moment_of_spark(str(node["value"].get("value")))
    return all(map(names_no_moment, node.values()))


def is_moment_of_spark(text: str) -> bool:
    """Whether Spark replaces this text by the moment when it casts it to a date or a time, with a zone or without."""
    return bool(_MOMENT_OF_SPARK.match(text))


def _is_unstable(node: dict[str, Any]) -> bool:
    if "function_name" in node:
        name = fold(str(node["function_name"]))
        # With one argument, the age is that of today. Written as `d.age()`, the argument stands where a schema does.
        return name in UNSTABLE or (name == "age" and len(node.get("children") or ()) < _ARGUMENTS_OF_AGE)
    if node.get("type") == "COLUMN_REF":
        return fold(str(node["column_names"][-1])) in _MOMENTS
    # A sample without a seed.
    return "sample_size" in node and node.get("seed", -1) == -1
