"""The `information_schema` that a query may read: tables that hold what its own project has.

DuckDB's own has the same names and shows the catalog of its process. So a statement that names one of them is changed
to read a relation whose name no view can have.
"""

import re
from collections.abc import Collection

import duckdb

from orchestrator.engines.duckdb.sql.references import Reference, located, syntax_tree
from orchestrator.engines.duckdb.sql.statement import invalid, single_select
from orchestrator.model.names import catalog_table, fold, quoted

_PART = r'(?:"[^"]*"|\w+)'
_DOTTED = re.compile(rf"{_PART}(?:\s*\.\s*{_PART})*".encode())


def redirected(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Collection[str] = ()) -> str:
    """`sql` with every name of the information schema replaced by that of the relation which holds its rows."""
    if "information_schema" not in fold(sql):
        return sql
    text = single_select(connection, sql, parameters)
    raw = text.encode()
    for reference in reversed(located(syntax_tree(connection, text), text)):
        relation = catalog_table(reference.name)
        written = _DOTTED.match(raw, reference.offset)
        if relation and written:
            raw = raw[: written.start()] + _replacement(reference, relation) + raw[written.end() :]
    changed = raw.decode(errors="replace")
    # DuckDB counts some blanks of Unicode as one byte, so that a replacement may have hit the wrong place.
    checked = single_select(connection, changed, parameters)
    for reference in located(syntax_tree(connection, checked), checked):
        if catalog_table(reference.name) and reference.parts > 1:
            raise invalid(f"write {reference.name} without comments, and with plain blanks around it.")
    return changed


def _replacement(reference: Reference, relation: str) -> bytes:
    alias = "" if reference.alias else f" AS {quoted(relation.rpartition('.')[2])}"
    return f"{quoted(relation)}{alias}".encode()
