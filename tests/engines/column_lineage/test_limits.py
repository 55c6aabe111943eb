"""A lineage that cannot be known says so, also for statements that were written to do harm."""

import time
from pathlib import Path

import pytest

from orchestrator.engines.duckdb.sql.plan_columns import NotUnderstood
from orchestrator.engines.duckdb.sql.plan_lineage import Input, PlanReader
from orchestrator.model.errors import InvalidQuery
from orchestrator.model.snapshot import Column
from tests.engines.column_lineage.test_column_lineage import SHAPES
from tests.engines.conftest import WholeEngine, make_engine

WIDE = {"w": tuple(Column(name=f"c{n}", duckdb_type="INTEGER") for n in range(300))}


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("SELECT nothing FROM t", 'Referenced column "nothing" not found'),
        ("SELECT * FROM elsewhere", "elsewhere does not exist"),
        ('SELECT * FROM "input 0"', "input 0 does not exist"),
        ("SELECT rowid FROM t", "rowid"),
        ("SELECT * FROM read_csv('/etc/passwd')", "read_csv() is not allowed"),
        ("SELECT current_setting('threads')", "current_setting() is not allowed"),
        ("SELECT 1; SELECT 2", "exactly one statement"),
        ("SELECT 1) AS q; CREATE MACRO m(x) AS x; SELECT * FROM (SELECT 1", ""),
        ("CREATE MACRO m(x) AS x", "one SELECT statement"),
        ("SELECT json_serialize_plan('SELECT 1')", "json_serialize_plan() is not allowed"),
    ],
)
async def test_what_no_view_may_say_is_refused_here_too(engine: WholeEngine, sql: str, word: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        await engine.analyzer.lineage(sql, SHAPES)
    assert word in refused.value.message


@pytest.mark.parametrize(
    "node",
    [
        {"type": "LOGICAL_OF_LATER"},
        {
            "type": "LOGICAL_GET",
            "name": "seq_scan",
            "function_data": {"table": "of the system"},
            "column_indexes": [{}],
        },
        {"type": "LOGICAL_GET", "name": "read_csv", "column_indexes": [{}]},
        {"type": "LOGICAL_DUMMY_SCAN", "a_later_field": 1},
        {"type": "LOGICAL_DELIM_GET", "chunk_types": [{}]},
        {"type": "LOGICAL_CTE_REF", "chunk_types": [{}]},
        *(
            {"type": "LOGICAL_PROJECTION", "children": [{"type": "LOGICAL_DUMMY_SCAN"}], "expressions": [expression]}
            for expression in (
                {"expression_class": "BOUND_OF_LATER"},
                {"expression_class": "BOUND_REF", "index": 1},
                {"expression_class": "BOUND_COLUMN_REF", "binding": {"table_index": 9}},
                {"expression_class": "BOUND_CAST", "child": {"expression_class": "BOUND_SUBQUERY"}},
            )
        ),
        {"type": "LOGICAL_UNION", "children": []},
        {"type": "LOGICAL_FILTER", "children": [{"type": "LOGICAL_DUMMY_SCAN"}] * 2},
    ],
)
def test_what_a_later_duckdb_adds_to_a_plan_is_never_passed_over(node: dict[str, object]) -> None:
    with pytest.raises(NotUnderstood):
        PlanReader({"input 0": Input(0, 1)}).read(node)


async def test_a_lineage_of_too_many_columns_is_left_out_and_says_so(engine: WholeEngine) -> None:
    every = "+".join(column.name for column in WIDE["w"])
    sql = f"SELECT {', '.join(f'x + {n} AS y{n}' for n in range(300))} FROM (SELECT *, {every} AS x FROM w)"
    found = await engine.analyzer.lineage(sql, WIDE)
    assert len(found.columns) == 300
    assert {one.reason for _, one in found.columns} == {found.rows.reason}
    assert "that its columns are computed from so many" in str(found.rows.reason)
    assert not any(one.all for _, one in found.columns)


async def test_a_statement_that_takes_long_to_bind_is_given_up(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "spill", analysis_seconds=0.1)
    began = time.monotonic()
    try:
        with pytest.raises(InvalidQuery, match="too complex"):
            await engine.analyzer.lineage("SELECT 1" + " UNION ALL SELECT 1" * 9_000, {})
    finally:
        await engine.close()
    assert time.monotonic() - began < 10


async def test_a_deep_statement_breaks_nothing(engine: WholeEngine) -> None:
    sql = "SELECT " + "(" * 400 + "a" + " + 1)" * 400 + " AS x FROM t"
    (column,) = (await engine.analyzer.lineage(sql, SHAPES)).columns
    assert {ref.column for ref in column[1].sources} == {"a"}
