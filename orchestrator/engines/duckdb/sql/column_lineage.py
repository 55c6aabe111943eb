"""Which columns of its inputs each column of a query is computed from, as DuckDB binds the query to these inputs."""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

import json
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from orchestrator.engines.duckdb.child.session import RelationBinder
from orchestrator.engines.duckdb.sql.parquet_casts import literal, quoted, typed_null
from orchestrator.engines.duckdb.sql.plan_columns import NotUnderstood, Relation
from orchestrator.engines.duckdb.sql.plan_lineage import Input, PlanReader
from orchestrator.engines.duckdb.sql.references import references
from orchestrator.engines.duckdb.sql.statement import invalid, single_select
from orchestrator.model.names import fold

Columns = Sequence[tuple[str, str]]

# As JSON. A plan repeats the types of all columns at each of its operators.
_LONGEST_PLAN = 16_000_000
# The columns from which those of one query are computed, in all.
_MOST_SOURCES = 50_000


def column_lineage(connection: duckdb.DuckDBPyConnection, sql: str, tables: Mapping[str, Columns]) -> dict[str, Any]:
    """The columns of `sql` over empty `tables` (name and DuckDB type), and the places of those that decide them.

    A place is (number of the table, number of the column); the number after the last column stands for the table's
    rows. `unknown` says what was not understood: then no place is known. Raises InvalidQuery, or duckdb.Error if `sql`
    does not bind.
    """
    text = single_select(connection, sql)
    known = set(map(fold, tables))
    strange = next((name for name in references(connection, text) if fold(name) not in known), None)
    if strange is not None:
        raise invalid(f"Catalog Error: Table with name {strange} does not exist!")
    inputs = _create(connection, text, tables)
    select = f"SELECT * FROM (\n{text}\n) AS q"
    names = connection.sql(select).columns
    try:
        return _report(names, PlanReader(inputs).read(_bound_plan(connection, select)), list(inputs.values()))
    except NotUnderstood as error:
        return {"names": names, "unknown": str(error)}


def _create(connection: duckdb.DuckDBPyConnection, text: str, tables: Mapping[str, Columns]) -> dict[str, Input]:
    """Create the tables, which no query can name, and views of them, which queries read.

    The columns of the tables are BOOLEAN, since DuckDB has no tables of some types. The views give them their types.
    """
    binder = RelationBinder(connection, [text])
    inputs: dict[str, Input] = {}
    first = 0
    for number, (table, columns) in enumerate(tables.items()):
        stub = f"input {number}"
        plain = ", ".join(f"c{n} BOOLEAN" for n in range(len(columns)))
        connection.execute(f"CREATE TABLE memory.main.{quoted(stub)} ({plain})")
        typed = (
            f"CASE WHEN c{n} THEN {typed_null(kind)} END AS {quoted(name)}" for n, (name, kind) in enumerate(columns)
        )
        binder.create(table, f"SELECT {', '.join(typed)} FROM memory.main.{quoted(stub)}")
        inputs[stub] = Input(first, len(columns))
        first += len(columns) + 1
    return inputs


def _bound_plan(connection: duckdb.DuckDBPyConnection, select: str) -> dict[str, Any]:
    call = f"json_serialize_plan({literal(select)}, skip_null := true, skip_empty := true)"
    row = connection.execute(f"SELECT {call}").fetchone()
    text = str(row[0] if row else "")
    if len(text) > _LONGEST_PLAN:
        raise NotUnderstood("a plan of that size")
    answer = json.loads(text)
    if answer.get("error", True) or len(answer["plans"]) != 1:
        raise NotUnderstood(f"the plan: {answer.get('error_message')}")
    plan: dict[str, Any] = answer["plans"][0]
    return plan


def _report(names: Sequence[str], found: Relation, inputs: Sequence[Input]) -> dict[str, Any]:
    if len(found.columns) != len(names):
        raise NotUnderstood("the number of columns of the query")
    count = found.rows.bit_count() + sum(one.values.bit_count() + one.also.bit_count() for one in found.columns)
    if count > _MOST_SOURCES:
        raise NotUnderstood("that its columns are computed from so many")
    places = [(number, n) for number, one in enumerate(inputs) for n in range(one.columns + 1)]
    return {
        "names": list(names),
        "rows": _chosen(found.rows, places),
        "columns": [(_chosen(one.values, places), _chosen(one.also & ~one.values, places)) for one in found.columns],
    }


def _chosen(bits: int, places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    chosen = []
    while bits:
        lowest = bits & -bits
        chosen.append(places[lowest.bit_length() - 1])
        bits ^= lowest
    return chosen
