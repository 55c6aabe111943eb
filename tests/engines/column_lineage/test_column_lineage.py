"""The lineage of columns, compared with what a person reads in the query."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.model.column_lineage import ColumnRef, QueryLineage
from orchestrator.model.snapshot import Column
from tests.engines.conftest import WholeEngine

HERE = Path(__file__).parent
Tables = Mapping[str, Sequence[Column]]


def tables(**columns: str) -> dict[str, tuple[Column, ...]]:
    """Tables of columns that are written as `name TYPE`, separated by semicolons; `__` in a name stands for a dot."""
    return {
        name.replace("__", "."): tuple(
            Column(name=column.strip('"'), duckdb_type=kind)
            for column, kind in re.findall(r'\s*("[^"]+"|\w+) ([^;]+)', text)
        )
        for name, text in columns.items()
    }


SHAPES = tables(
    t='a INTEGER; b INTEGER; s VARCHAR; "Ünï" VARCHAR; st STRUCT(x INTEGER, y INTEGER); l INTEGER[]; j JSON',
    u="a INTEGER; k INTEGER; d INTEGER",
    core__v="id INTEGER; z DOUBLE",
    Mixed='"Name" VARCHAR; "two words" VARCHAR',
)
_KEY, _TEXT, _MONEY, _DAY = "INTEGER", "VARCHAR", "DECIMAL(15,2)", "DATE"
TPCH = {
    "lineitem": (
        {f"l_{n}": _KEY for n in ("orderkey", "partkey", "suppkey", "linenumber")}
        | {f"l_{n}": _MONEY for n in ("quantity", "extendedprice", "discount", "tax")}
        | {f"l_{n}": _TEXT for n in ("returnflag", "linestatus", "shipinstruct", "shipmode", "comment")}
        | {f"l_{n}": _DAY for n in ("shipdate", "commitdate", "receiptdate")}
    ),
    "orders": (
        {"o_orderkey": _KEY, "o_custkey": _KEY, "o_orderstatus": _TEXT, "o_totalprice": _MONEY, "o_orderdate": _DAY}
        | {"o_orderpriority": _TEXT, "o_clerk": _TEXT, "o_shippriority": _KEY, "o_comment": _TEXT}
    ),
    "customer": (
        {"c_custkey": _KEY, "c_name": _TEXT, "c_address": _TEXT, "c_nationkey": _KEY, "c_phone": _TEXT}
        | {"c_acctbal": _MONEY, "c_mktsegment": _TEXT, "c_comment": _TEXT}
    ),
    "part": (
        {"p_partkey": _KEY, "p_name": _TEXT, "p_mfgr": _TEXT, "p_brand": _TEXT, "p_type": _TEXT, "p_size": _KEY}
        | {"p_container": _TEXT, "p_retailprice": _MONEY, "p_comment": _TEXT}
    ),
    "supplier": (
        {"s_suppkey": _KEY, "s_name": _TEXT, "s_address": _TEXT, "s_nationkey": _KEY, "s_phone": _TEXT}
        | {"s_acctbal": _MONEY, "s_comment": _TEXT}
    ),
    "partsupp": {"ps_partkey": _KEY, "ps_suppkey": _KEY, "ps_availqty": _KEY, "ps_supplycost": _MONEY},
    "nation": {"n_nationkey": _KEY, "n_name": _TEXT, "n_regionkey": _KEY, "n_comment": _TEXT},
    "region": {"r_regionkey": _KEY, "r_name": _TEXT, "r_comment": _TEXT},
}
TPCH_TABLES = {
    table: tuple(Column(name=name, duckdb_type=kind) for name, kind in columns.items())
    for table, columns in TPCH.items()
}


class Case(NamedTuple):
    """A query, and what was written down of it: of each column its sources and others that decide it, and ROWS."""

    name: str
    sql: str
    columns: dict[str, tuple[set[ColumnRef], set[ColumnRef]]]
    rows: set[ColumnRef]


def cases(file: str, known: Tables) -> Iterator[Case]:
    for block in (HERE / file).read_text(encoding="utf-8").split("\n\n"):
        lines = block.strip().splitlines()
        if not any(line.startswith("--:") for line in lines):
            continue
        columns, rows = {}, set()
        for line in lines:
            if line.startswith("--: ROWS"):
                rows |= refs(line.removeprefix("--: ROWS"), known)
            elif line.startswith("--:"):
                name, _, text = line.removeprefix("--:").partition(" =")
                sources, _, also = text.partition(";")
                columns[name.strip()] = (refs(sources, known), refs(also, known))
        sql = "\n".join(line for line in lines if not line.startswith("--"))
        yield Case(lines[0].removeprefix("-- "), sql, columns, rows)


def refs(text: str, known: Tables) -> set[ColumnRef]:
    """The columns in a list like `t.a, b, u.*`."""
    return {_ref(one.strip().replace('"', ""), known) for one in text.split(",") if one.strip()}


def _ref(text: str, known: Tables) -> ColumnRef:
    table, _, column = text.rpartition(".")
    if column == "*":
        return ColumnRef(table, None)
    (owner,) = [name for name, columns in known.items() if table in {"", name} and column in {c.name for c in columns}]
    return ColumnRef(owner, column)


def shown(lineage: QueryLineage) -> tuple[dict[str, tuple[set[ColumnRef], set[ColumnRef]]], set[ColumnRef]]:
    assert lineage.rows.reason is None, lineage.rows.reason
    assert all(one.reason is None for _, one in lineage.columns)
    return {name: (set(one.sources), set(one.also)) for name, one in lineage.columns}, set(lineage.rows.all)


@pytest.mark.parametrize("case", list(cases("tpch.sql", TPCH_TABLES)), ids=lambda case: case.name.partition(":")[0])
async def test_the_queries_of_tpch_have_the_lineage_that_a_person_reads_in_them(
    engine: WholeEngine, case: Case
) -> None:
    assert shown(await engine.analyzer.lineage(case.sql, TPCH_TABLES)) == (case.columns, case.rows)


@pytest.mark.parametrize("case", list(cases("shapes.sql", SHAPES)), ids=lambda case: case.name)
async def test_every_shape_of_a_query_has_the_lineage_that_a_person_reads_in_it(
    engine: WholeEngine, case: Case
) -> None:
    assert shown(await engine.analyzer.lineage(case.sql, SHAPES)) == (case.columns, case.rows)


def test_there_are_as_many_cases_as_were_written_down() -> None:
    assert len(list(cases("tpch.sql", TPCH_TABLES))) == 22
    assert len(list(cases("shapes.sql", SHAPES))) >= 60
