"""Finds the tables and views that a query reads in its syntax tree, without binding it or opening files."""

import hashlib
import json
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import duckdb

from orchestrator.engines.duckdb.sql.allowed_functions import check_function, check_table_function
from orchestrator.engines.duckdb.sql.statement import invalid, not_parsed, place_of, single_select
from orchestrator.model.errors import InvalidQuery
from orchestrator.model.names import DEFAULT_CATALOG, DEFAULT_SCHEMA, fold
from orchestrator.model.position import Position
from orchestrator.model.type_names import literal

# A run looks at each text several times, and to parse one takes DuckDB as long as a small query. A tree takes some
# thirty times the memory of its text.
_MOST_KEPT = 16
_LONGEST_KEPT = 4_000
_trees: dict[str, Any] = {}
_Ctes = frozenset[tuple[str, str]]


class Reference(NamedTuple):
    """A table or view where a statement reads it: the byte offset, the dotted name, and the alias, maybe empty.

    `parts` is the number of identifiers of which the name was written.
    """

    offset: int
    name: str
    alias: str
    parts: int


def references(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """The names that `sql` reads: parts joined by dots, spelled as in `sql`, in order of appearance, each once.

    Names that differ only in case count as one. A file name in quotes is a name like any other. Raises
    InvalidQuery unless `sql` is one SELECT that uses only what a view may use.
    """
    return unique(readings(connection, sql))


def readings(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Collection[str] = ()) -> list[str]:
    """The names that `references` returns, but each as often as it is read. `parameters` are the names of values."""
    text = single_select(connection, sql, parameters)
    return [reference.name for reference in located(syntax_tree(connection, text), text)]


def place_of_name(
    connection: duckdb.DuckDBPyConnection, sql: str, name: str, parameters: Collection[str] = ()
) -> Position | None:
    """The place where a statement first reads the table or view of that name. Raises InvalidQuery."""
    text = single_select(connection, sql, parameters)
    found = located(syntax_tree(connection, text), text)
    offset = next((one.offset for one in found if fold(one.name) == fold(name)), None)
    return None if offset is None else place_of(text, offset)


def located(tree: Any, text: str) -> list[Reference]:  # noqa: ANN401 - JSON
    """All readings in the syntax tree of a text, in order of appearance. Raises InvalidQuery as `references` does."""
    found: list[Reference] = []
    try:
        _walk(tree, frozenset(), found)
    except _RefusedAt as refused:
        position = place_of(text, refused.offset) if refused.offset <= len(text.encode()) else None
        raise InvalidQuery(refused.reason, attr="query", position=position) from None
    return sorted(found, key=lambda reference: reference.offset)


def offsets(tree: Any) -> set[int]:  # noqa: ANN401 - JSON
    """The bytes at which the parts of a syntax tree begin in its text."""
    found: set[int] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(node.get("query_location"), int):
                found.add(node["query_location"])
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return found


class _RefusedAt(Exception):
    """A part of a statement that a view may not use, and the byte where it begins."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


def unique(names: Iterable[str]) -> list[str]:
    """The names without repeats, each in its first spelling."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(fold(name), name)
    return list(first.values())


def digest(tree: Any) -> str:  # noqa: ANN401 - JSON
    """A digest of a syntax tree, without the places in the text."""

    def placeless(node: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(node, list):
            return [placeless(item) for item in node]
        if isinstance(node, dict):
            return {key: placeless(value) for key, value in node.items() if key != "query_location"}
        return node

    return hashlib.sha256(json.dumps(placeless(tree), sort_keys=True).encode()).hexdigest()


def syntax_tree(connection: duckdb.DuckDBPyConnection, select: str) -> Any:  # noqa: ANN401 - JSON
    """The syntax tree of a SELECT, which `single_select` has checked. It may not be changed. Raises InvalidQuery."""
    if select in _trees:
        return _trees[select]
    tree = _parsed(connection, select)
    if len(select) <= _LONGEST_KEPT:
        if len(_trees) == _MOST_KEPT:
            _trees.clear()
        _trees[select] = tree
    return tree


def _parsed(connection: duckdb.DuckDBPyConnection, select: str) -> Any:  # noqa: ANN401 - JSON
    try:
        # Not as a parameter: to bind one, DuckDB first loads pandas if it is installed, and that takes half a second.
        row = connection.execute(f"SELECT json_serialize_sql({literal(select)})").fetchone()
    except duckdb.Error as error:
        raise not_parsed(error, select) from None
    tree = json.loads(row[0] if row else "{}")
    if tree.get("error", True):
        raise invalid(str(tree.get("error_message")))
    return tree["statements"]


def _walk(node: Any, hidden: _Ctes, found: list[Reference]) -> None:  # noqa: ANN401 - JSON
    """Collect the tables below `node`. `hidden` are the CTEs in scope as (schema, name), folded.

    It descends into every node, so that it needs no list of the places where a query may occur. It reads few fields, so
    that it works for both forms of the tree that DuckDB's versions produce.
    """
    if isinstance(node, list):
        for item in node:
            _walk(item, hidden, found)
    elif isinstance(node, dict):
        hidden = _ctes(node, hidden, found)
        _look(node, hidden, found)
        recursive = fold(str(node["cte_name"])) if node.get("type") == "RECURSIVE_CTE_NODE" else None
        for key, child in node.items():
            # The first half of a recursive CTE does not see the CTE: there the name means a table.
            # The second half reads all rows so far as `recurring.x`.
            inner = hidden | {("", recursive), ("recurring", recursive)} if recursive and key == "right" else hidden
            if key != "cte_map":
                _walk(child, inner, found)


def _ctes(node: dict[str, Any], hidden: _Ctes, found: list[Reference]) -> _Ctes:
    """Walk the CTEs of a query, each of which sees those before it. Returns all that the rest of the query sees."""
    for entry in (node.get("cte_map") or {}).get("map", ()):
        _walk(entry["value"], hidden, found)
        hidden |= {("", fold(entry["key"]))}
    return hidden


def _look(node: dict[str, Any], hidden: _Ctes, found: list[Reference]) -> None:
    kind = node.get("type")
    if kind == "BASE_TABLE":
        parts = [str(node.get(p) or "") for p in ("catalog_name", "schema_name", "table_name")]
        if parts[0] or (fold(parts[1]), fold(parts[2])) not in hidden:
            if fold(parts[1]) == DEFAULT_SCHEMA and fold(parts[0]) in {"", DEFAULT_CATALOG}:
                parts = parts[2:]  # a client that found the name in the information schema may write all of it
            name = ".".join(filter(None, parts))
            written = len(list(filter(None, parts)))
            found.append(Reference(node.get("query_location", 0), name, str(node.get("alias") or ""), written))
    else:
        try:
            _check(node)
        except InvalidQuery as error:
            raise _RefusedAt(error.message, int(node.get("query_location") or 0)) from None


def _check(node: dict[str, Any]) -> None:
    """Raise InvalidQuery if a view may not use what this part of a statement is."""
    kind = node.get("type")
    if kind == "TABLE_FUNCTION":
        check_table_function(str((node.get("function") or {}).get("function_name")))
    elif kind == "SHOW_REF" and not (node.get("query") or node.get("query_node")):
        raise invalid("SHOW and DESCRIBE of the catalog are not allowed in a view.")
    elif "function_name" in node:
        check_function(str(node.get("function_name")))
