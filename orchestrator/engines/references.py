"""Which tables and views a query reads, from its syntax tree; nothing is bound, no file is opened."""

import json
from collections.abc import Iterable
from typing import Any

import duckdb

from orchestrator.engines.failures import readable
from orchestrator.engines.functions import check_function, check_table_function
from orchestrator.engines.statement import Select, invalid, single_select


def references(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """The names that `sql` reads: parts joined by dots, spelled as in `sql`, in order of appearance, each once.

    Names that are spelled differently only in case are one. A file name in quotes is a name like any other. Raises
    InvalidQuery unless `sql` is one SELECT that uses only what a view may use.
    """
    select = single_select(connection, sql)
    if select.pivots:
        from orchestrator.engines.pivot import pivot_references  # noqa: PLC0415 - sqlglot takes long to import

        return _unique(pivot_references(select.text))
    found: list[tuple[int, str]] = []
    _walk(_tree(connection, select), frozenset(), found)
    return _unique(name for _, name in sorted(found, key=lambda item: item[0]))


def _unique(names: Iterable[str]) -> list[str]:
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(name.lower(), name)
    return list(first.values())


def _tree(connection: duckdb.DuckDBPyConnection, select: Select) -> Any:  # noqa: ANN401 - JSON
    try:
        row = connection.execute("SELECT json_serialize_sql(?)", [select.text]).fetchone()
    except duckdb.Error as error:
        raise invalid(readable(error)) from None
    tree = json.loads(row[0] if row else "{}")
    if tree.get("error", True):
        raise invalid(str(tree.get("error_message")))
    return tree["statements"]


def _walk(node: Any, hidden: frozenset[str], found: list[tuple[int, str]]) -> None:  # noqa: ANN401 - JSON
    """Collect the tables below `node`. `hidden` are the CTEs in sight, in lower case.

    It descends into everything, so that no place where a query may stand needs to be known, and looks at few fields,
    so that both shapes of the tree that DuckDB's versions give are read.
    """
    if isinstance(node, list):
        for item in node:
            _walk(item, hidden, found)
    elif isinstance(node, dict):
        hidden = _ctes(node, hidden, found)
        _look(node, hidden, found)
        recursive = str(node["cte_name"]).lower() if node.get("type") == "RECURSIVE_CTE_NODE" else None
        for key, child in node.items():
            # The first half of a recursive CTE does not see itself: there the name means a table.
            inner = hidden | {recursive} if recursive and key == "right" else hidden
            if key != "cte_map":
                _walk(child, inner, found)


def _ctes(node: dict[str, Any], hidden: frozenset[str], found: list[tuple[int, str]]) -> frozenset[str]:
    """Walk the CTEs of a query: each sees those before it, and the rest of the query sees them all."""
    for entry in (node.get("cte_map") or {}).get("map", ()):
        _walk(entry["value"], hidden, found)
        hidden |= {entry["key"].lower()}
    return hidden


def _look(node: dict[str, Any], hidden: frozenset[str], found: list[tuple[int, str]]) -> None:
    kind = node.get("type")
    if kind == "BASE_TABLE":
        parts = [str(node.get(p) or "") for p in ("catalog_name", "schema_name", "table_name")]
        # `recurring.x` is how a recursive CTE reads all its rows so far.
        if parts[1].lower() not in {"", "recurring"} or parts[2].lower() not in hidden:
            found.append((node.get("query_location", 0), ".".join(filter(None, parts))))
    elif kind == "TABLE_FUNCTION":
        check_table_function(str((node.get("function") or {}).get("function_name")))
    elif kind == "SHOW_REF" and not (node.get("query") or node.get("query_node")):
        raise invalid("SHOW and DESCRIBE of the catalog are not allowed in a view.")
    elif node.get("class") == "FUNCTION":
        check_function(str(node.get("function_name")))
