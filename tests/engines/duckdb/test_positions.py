"""An error of a statement says where in the client's own text it is."""

from typing import Any

import pytest

from orchestrator.model.errors import InvalidQuery, OrchestratorError
from orchestrator.model.position import Position
from orchestrator.model.query_object import MAX_BYTES, check_query
from orchestrator.model.snapshot import Column
from tests.engines.conftest import Run, WholeEngine, view

ORDERS = {"orders": (Column(name="id", duckdb_type="INTEGER"), Column(name="amount", duckdb_type="VARCHAR"))}


async def saved(engine: WholeEngine, sql: str) -> tuple[Column, ...]:
    """The columns of a statement, checked in the order in which saving it checks it."""
    check_query({"query": sql})
    await engine.analyzer.references(sql)
    return await engine.analyzer.describe(sql, ORDERS)


async def refusal(engine: WholeEngine, sql: str) -> InvalidQuery:
    """The error that saving the statement ends with."""
    with pytest.raises(InvalidQuery) as raised:
        await saved(engine, sql)
    return raised.value


def word(position: Position | None) -> str:
    """The word of the excerpt that a position points at."""
    assert position is not None
    start = position.excerpt_column - 1
    return position.excerpt[start : start + position.length]


@pytest.mark.parametrize(
    ("sql", "line", "column", "at"),
    [
        ("SELECT id,\n  sum(amout) AS s\nFROM orders", 2, 7, "amout"),
        ("SELECT 'é', amout FROM orders", 1, 13, "amout"),
        ("SELECT\u00a0id,\u3000amout FROM orders", 1, 12, "amout"),
        ("SELECT id FRM orders x y", 1, 15, "orders"),
        ("SELECT (1", 1, 10, ""),
        ("SELECT 1\n\n  +  \n", 3, 4, ""),
        ("SELECT o.idd FROM orders o", 1, 8, "o"),
        ("SELECT nofun(id) FROM orders", 1, 8, "nofun"),
        ("SELECT 1\r\n  , nofun(id)\r\nFROM orders", 2, 5, "nofun"),
        ("SELECT *\nFROM orders, read_csv('x')", 2, 14, "read_csv"),
        ("SELECT\n  current_setting('x')", 2, 3, "current_setting"),
        ("SELECT 1;\n-- another\nSELECT 2", 2, 1, "-"),
        ("WITH a AS (\n  SELECT nope FROM orders\n)\nSELECT * FROM a", 2, 10, "nope"),
        ("SELECT id FROM orders;  -- nothing\n", None, None, None),
    ],
)
async def test_a_refused_statement_is_refused_at_its_place(
    engine: WholeEngine, sql: str, line: int | None, column: int | None, at: str | None
) -> None:
    if line is None:
        assert await engine.analyzer.describe(sql, ORDERS)
        return
    error = await refusal(engine, sql)
    assert error.position is not None, error.message
    assert (error.position.line, error.position.column, error.position.view) == (line, column, None)
    assert at == "" or word(error.position) == at


async def test_a_name_is_found_where_it_is_read(engine: WholeEngine) -> None:
    found = await engine.analyzer.find_name("WITH t AS (SELECT 1)\nSELECT * FROM t, Sales.orders", "sales.ORDERS")
    assert found is not None
    assert (found.line, found.column) == (2, 18)
    assert await engine.analyzer.find_name("SELECT 1", "t") is None


async def test_of_a_long_line_only_the_part_around_the_place_is_shown(engine: WholeEngine) -> None:
    error = await refusal(engine, f"SELECT '{'x' * 90_000}', amout, '{'y' * 90_000}' FROM orders")
    assert error.position is not None
    assert error.position.column == 90_012
    assert len(error.position.excerpt) <= 122
    assert word(error.position) == "amout"


async def failure(run: Run, sql: str, *relations: Any) -> str:
    with pytest.raises(OrchestratorError) as raised:
        await run(sql, relations)
    return raised.value.message


async def test_the_error_of_a_run_has_line_and_column_on_its_first_line(run: Run) -> None:
    message = await failure(run, "SELECT n,\n  CAST(t AS INTEGER) AS i\nFROM a", view("a", "SELECT 1 AS n, 'x' AS t"))
    assert message.split("\n")[0] == (
        "Conversion Error: Could not convert string 'x' to INT32 when casting from source column t (line 2, column 3)"
    )


async def test_an_error_in_a_view_inside_the_query_names_that_view_and_the_line_in_its_text(run: Run) -> None:
    inner = view("inner one".replace(" ", "_"), "SELECT t,\n\n       t::INTEGER AS i\nFROM base;  -- so")
    relations = (view("base", "SELECT 'x' AS t, 1 AS u"), inner, view("outer_one", "SELECT i + 1 AS j\nFROM inner_one"))
    message = await failure(run, "SELECT j,\n 2 AS two,\n 3 AS three\nFROM outer_one", *relations)
    assert message.startswith('In the view "inner_one": Conversion Error: Could not convert')
    assert message.endswith("(line 3, column 9)")


async def test_a_view_inside_the_query_that_no_longer_binds_is_named_with_its_line(run: Run) -> None:
    message = await failure(run, "SELECT * FROM v", view("b", "SELECT 1 AS n"), view("v", "SELECT 1,\n m\nFROM b"))
    first = message.split("\n")[0]
    assert first.startswith('In the view "v": Binder Error: Referenced column "m" not found')
    assert first.endswith("(line 2, column 2)")


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT '{'x' * 400_000}'",
        "SELECT " + "amout, " * 20_000 + "1 FROM orders",
        'SELECT "\x1b[31m\u202e" FROM orders',
        "SELECT " + "(" * 5_000,
        "\n" * 150_000 + "SELECT nofun(id) FROM orders",
    ],
)
async def test_a_hostile_statement_has_a_bounded_answer(engine: WholeEngine, sql: str) -> None:
    error = await refusal(engine, sql)
    assert len(error.message) <= 4_000
    assert error.position is None or len(str(error.position)) < 2_000
    assert len(sql) > MAX_BYTES or error.position is None or error.position.line <= sql.count("\n") + 1


async def test_a_place_is_the_right_one_or_none_however_the_texts_lie_beside_one_another(run: Run) -> None:
    relations = (view("base", "SELECT 'x' AS t, 1 AS u"), view("v", "SELECT u,\n t::INTEGER AS i\nFROM base"))
    placed = 0
    for blanks in range(0, 75, 3):
        message = await failure(run, f"SELECT{' ' * blanks} i, i + 1 AS j, u * 2 AS k\nFROM v", *relations)
        right = message.startswith('In the view "v": ') and message.endswith("(line 2, column 3)")
        assert right or "(line" not in message, message
        placed += right
    assert placed >= 15
