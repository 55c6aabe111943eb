"""Advice for what people write by habit of other tools, and none that they cannot follow."""

import duckdb
import pytest

from orchestrator.engines.duckdb.child.errors import clean_message
from orchestrator.model.errors import InvalidQuery
from tests.engines.conftest import WholeEngine
from tests.engines.duckdb.test_positions import ORDERS, saved

TEMPLATES = "Templates are not expanded: "
DBT = "`matview import-dbt` takes over a dbt project."


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELECT * FROM read_csv('x.csv')", "Files are read under a name: `matview table add NAME 'PATTERN'`"),
        ("SELECT * FROM read_parquet('a/*.parquet')", "then FROM NAME."),
        ("SELECT * FROM glob('*')", "`matview table add NAME 'PATTERN'`"),
        ("SELECT * FROM {{ ref('daily_sales') }}", "for ref(…) write the name of the view or table, daily_sales"),
        ("SELECT * FROM {{ source('raw', 'orders') }}", "write the name of the view or table, orders."),
        ("{% if x %} SELECT 1 {% endif %}", f"{TEMPLATES}write the name of the view or table. {DBT}"),
        ("SELECT * FROM t WHERE d > ${day}", "Variables of a shell or a template are not expanded"),
        ("SELECT * FROM @start", "Macros and variables with @ are not expanded"),
        ("SELECT @limit", "Macros and variables with @ are not expanded"),
        ("@daily\nSELECT 1", "Macros and variables with @ are not expanded"),
        ("SELECT 1; SELECT 2", "Save each statement as a view of its own"),
        ("CREATE VIEW sales AS SELECT 1", "Give only the SELECT; the name of a view stands beside it"),
        ("CREATE OR REPLACE TABLE a.b AS SELECT 1", "`matview view create a.b 'SELECT …'`"),
        ("INSERT INTO t SELECT 1", "A view only reads: give the SELECT whose rows it has."),
        ("INSTALL spatial", "Extensions of DuckDB cannot be loaded here."),
        ("SET threads = 4", "A view has no settings of its own; the operator sets its limits."),
        ("ATTACH 'x.db'", "Files are read under a name: `matview table add NAME 'PATTERN'`, then FROM NAME."),
        ("SELECT st_point(1, 2)", "Extensions of DuckDB cannot be loaded here."),
        ("SELECT o.idd FROM orders o", 'Did you mean "id"?'),
        ("SELECT amout FROM orders", 'Did you mean "amount"?'),
        ("SELECT summ(id) FROM orders", 'Did you mean "sum"?'),
    ],
)  # fmt: skip
async def test_a_habit_gets_its_sentence(engine: WholeEngine, sql: str, sentence: str) -> None:
    with pytest.raises(InvalidQuery) as raised:
        await saved(engine, sql)
    assert sentence in raised.value.message
    assert raised.value.message.count("matview plan") <= 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT @ id FROM orders",
        "SELECT '{{ ref(1) }} ${x} @y' FROM orders",
        "SELECT id FROM orders -- {{ ref('x') }} @y",
        "SELECT {'a': 1} AS s, 'a@b.c' AS mail FROM orders",
        'SELECT id AS "@x" FROM orders',
    ],
)
async def test_a_statement_that_only_looks_like_a_habit_is_accepted(engine: WholeEngine, sql: str) -> None:
    assert await saved(engine, sql)


async def test_advice_stands_behind_an_error_only_for_what_is_outside_of_strings(engine: WholeEngine) -> None:
    with pytest.raises(InvalidQuery) as raised:
        await engine.analyzer.references("SELECT '{{ ref(1) }} ${x} @y' FRM orders x y z")
    assert raised.value.message.endswith('syntax error at or near "orders"')


@pytest.mark.parametrize(
    ("sql", "proposed"),
    [
        ("SELECT * FROM nosuchfunc(1)", None),
        ("SELECT * FROM duckdb_functionz()", None),
        ("SELECT * FROM generate_serie(1, 2)", None),
        ("SELECT current_settin('x')", None),
        ("SELECT lenght('x')", "length"),
        ("SELECT CAST(1 AS INTEGR)", "INTEGER"),
    ],
)
async def test_only_what_a_view_may_use_is_proposed(engine: WholeEngine, sql: str, proposed: str | None) -> None:
    with pytest.raises(InvalidQuery) as raised:
        await saved(engine, sql)
    assert ("Did you mean" in raised.value.message) is (proposed is not None)
    assert proposed is None or f'Did you mean "{proposed}"?' in raised.value.message


SKIP = "The table's option on_bad_row (--on-bad-row skip, or quarantine) leaves such rows out."
SOLUTIONS = """CSV Error on Line: 3
Possible solutions:
* Disable the parser's strict mode (strict_mode=false) to allow reading rows that do not comply
* Enable ignore errors (ignore_errors=true) to skip this row
* Enable null padding (null_padding=true) to pad missing columns with NULL values"""
JSON = (
    "JSON transform error. Try setting 'auto_detect' to true, specifying 'format' manually, or 'ignore_errors' to true."
)
ROWS = """More than one row returned by a subquery used as an expression.

Use "SET scalar_subquery_error_on_multiple_rows=false" to revert to previous behavior of returning a random row."""
DEPTH = 'Max expression depth limit of 1000 exceeded. Use "SET max_expression_depth TO x" to increase it.'


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (SOLUTIONS, f"CSV Error on Line: 3 {SKIP}"),
        (JSON, "JSON transform error."),
        (ROWS, "More than one row returned by a subquery used as an expression. Aggregate its rows, or write LIMIT 1."),
        (DEPTH, "Max expression depth limit of 1000 exceeded."),
        ("a text of a person's own that says SET x = 1", "a text of a person's own that says SET x = 1"),
    ],
)
def test_advice_that_no_client_can_follow_is_left_out_or_translated(message: str, expected: str) -> None:
    found = clean_message(duckdb.InvalidInputException(f"Invalid Input Error: {message}"))
    assert found.removeprefix("Invalid Input Error: ") == expected


async def test_of_many_functions_only_the_first_are_listed(engine: WholeEngine) -> None:
    with pytest.raises(InvalidQuery) as raised:
        await engine.analyzer.describe("SELECT id + DATE '2020-01-01' + 'x' + 1.5::UUID FROM orders", ORDERS)
    assert len(raised.value.message) < 600
