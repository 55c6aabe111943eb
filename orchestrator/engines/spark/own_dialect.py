"""Checks texts in Spark's own dialect: one SELECT over views and source tables, without a path and without a program.

The cluster gets a text that is written from the checked syntax tree, so that none can mean one thing here and another
there. This module is loaded by the processes that analyse queries.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from orchestrator.engines.duckdb.sql.determinism import is_moment_of_spark
from orchestrator.engines.spark.functions import CALLABLE, VARYING
from orchestrator.engines.spark.names import session_names
from orchestrator.engines.spark.translation import parse, refused, rename_tables, tables_of
from orchestrator.model.errors import InvalidQuery

# Syntax that leaves the rows of the statement's own tables, or changes what a session is.
_REFUSED = (
    *(exp.Command, exp.DDL, exp.DML, exp.Into, exp.Hint, exp.Placeholder, exp.Parameter, exp.SessionParameter),
    *(exp.Transaction, exp.Use, exp.Set, exp.Pragma, exp.TableSample, exp.HistoricalData, exp.Version),
    *(exp.CurrentUser, exp.SessionUser, exp.CurrentCatalog, exp.CurrentSchema, exp.CurrentDatabase),
    *(exp.CurrentVersion, exp.ReadCSV, exp.ReadParquet, exp.QueryTransform, exp.OpenJSON),
)
_EXPLODING = {"explode", "explode_outer", "posexplode", "posexplode_outer", "inline", "inline_outer", "stack"}


def study(sql: str) -> dict[str, Any]:
    """The statement without its semicolon, the names that it reads, and the digest of its syntax."""
    tree = parse(sql, "spark")
    _check(tree)
    names: dict[str, str] = {}
    for _, name in tables_of(tree):
        names.setdefault(name.lower(), name)
    normal = tree.sql(dialect="spark", comments=False, normalize=True)
    digest = hashlib.sha256(f"spark\0{normal}".encode()).hexdigest()
    return {"sql": sql.strip().rstrip(";").rstrip(), "references": [*names.values()], "digest": digest}


def rewrite(sql: str, names: Iterable[str]) -> str:
    """The statement over tables that have the names of `session_names`. Raises InvalidQuery for any other table."""
    tree = parse(sql, "spark")
    _check(tree)
    rename_tables(tree, session_names(names))
    try:
        return tree.sql(dialect="spark", pretty=True, comments=False, unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as error:
        raise refused(f"the text cannot be written again: {error}") from None


def is_deterministic(sql: str) -> bool:
    """Whether no function of the statement gives other values each time, and no text stands for a moment."""
    tree = parse(sql, "spark")
    if any(node.is_string and is_moment_of_spark(node.name) for node in tree.find_all(exp.Literal)):
        return False
    return not any(_name(node) in VARYING for node in tree.find_all(exp.Func))


def _check(tree: exp.Query) -> None:
    for node in tree.walk():
        if isinstance(node, _REFUSED):
            raise refused(f"a view may not have `{node.sql(dialect='spark')[:80]}`")
        if isinstance(node, exp.Table) and not isinstance(node.this, exp.Identifier):
            raise refused("a function stands in place of a table")
        if (
            isinstance(node, exp.Lateral)
            and _name(node.this) not in _EXPLODING
            and not isinstance(node.this, exp.Subquery)
        ):
            raise refused("a function stands in place of a table")
        if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Func):
            raise refused(f"a view may not call `{node.sql(dialect='spark')[:80]}`")
        if isinstance(node, exp.Func) and not _is_callable(node):
            raise _no_function(node)


def _is_callable(node: exp.Func) -> bool:
    """Whether the function is on the list. Operators are functions of the syntax tree too, and have no name there."""
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc | exp.ParameterizedAgg):
        return _name(node) in CALLABLE
    written = node.sql(dialect="spark").partition("(")[0].strip().lower()
    return not written.isidentifier() or written in CALLABLE


def _name(node: object) -> str:
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc | exp.ParameterizedAgg):
        return str(node.name if isinstance(node, exp.Anonymous) else node.this).lower()
    if isinstance(node, exp.Func):
        return node.sql(dialect="spark").partition("(")[0].strip().lower()
    return ""


def _no_function(node: exp.Func) -> InvalidQuery:
    return refused(f"a view may not call the function {_name(node)}")
