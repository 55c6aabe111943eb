"""The names that a PIVOT reads whose columns come from the data: the one query of which DuckDB gives no syntax tree."""

from collections.abc import Iterator

import sqlglot
from sqlglot import exp

from orchestrator.engines.functions import check_function, check_table_function
from orchestrator.engines.statement import invalid


def pivot_references(sql: str) -> list[str]:
    """The names that `sql`, one SELECT, reads, in the order of the tree. Raises InvalidQuery as `references` does."""
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except sqlglot.errors.SqlglotError:
        raise invalid(
            "cannot tell which tables this PIVOT reads. List its values with IN (...), or put the PIVOT into "
            "parentheses: FROM (PIVOT ...) ORDER BY ..."
        ) from None
    for function in tree.find_all(exp.Func):
        check_function(_function_name(function))
    return [name for table in tree.find_all(exp.Table) for name in _names(table)]


def _names(table: exp.Table) -> Iterator[str]:
    if isinstance(table.this, exp.Func):
        check_table_function(_function_name(table.this))
        return
    name = ".".join(part.name for part in table.parts)
    if len(table.parts) > 1 or name.lower() not in _ctes_in_sight(table):
        yield name


def _function_name(function: exp.Func) -> str:
    return function.name if isinstance(function, exp.Anonymous) else function.sql_name().lower()


def _ctes_in_sight(table: exp.Table) -> set[str]:
    """The CTEs that a name may mean at this place: those of each query around it, or, inside a CTE, those before it."""
    names: set[str] = set()
    node: exp.Expr | None = table
    while node is not None:
        if isinstance(node, exp.CTE) and isinstance(node.parent, exp.With):
            siblings = node.parent.expressions
            names |= {cte.alias.lower() for cte in siblings[: siblings.index(node)]}
            if node.parent.recursive and isinstance(node.this, exp.SetOperation):
                names.add(node.alias.lower())
            node = node.parent.parent  # past the query that holds the WITH: it was counted here
        elif isinstance(with_ := node.args.get("with_") or node.args.get("with"), exp.With):
            names |= {cte.alias.lower() for cte in with_.expressions}
        node = node.parent if node is not None else None
    return names
