"""A change of a column that a lineage does not name leaves the values that it is the lineage of as they are.

No expectation is written down here: plain DuckDB runs each query before and after such a change.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from threading import Timer

import duckdb
import pytest

from orchestrator.model.column_lineage import ColumnRef, QueryLineage
from orchestrator.model.snapshot import Column
from tests.engines.column_lineage.test_column_lineage import SHAPES, TPCH_TABLES, Case, Tables, cases
from tests.engines.conftest import WholeEngine
from tests.fuzz.views import Chain, chains

ROWS = 40
CHAINS = 25
# Queries whose rows are a matter of chance.
BY_CHANCE = re.compile("USING SAMPLE")
Result = list[tuple[str | None, ...]] | None


class Data:
    """Tables in plain DuckDB, with few different values, so that joins and comparisons find something."""

    def __init__(self, tables: Tables, sql: str) -> None:
        self.connection = duckdb.connect()
        # Otherwise other data could change the order in which tables are joined, and so which row is the first.
        self.connection.execute(
            "SET threads = 1; SET temp_directory = ''; SET disabled_optimizers = 'join_order,build_side_probe_side'"
        )
        self._tables = tables
        self._words = [one.replace("%", "") for one in re.findall(r"'([^']*)'", sql)] or ["x", "y"]
        for name in tables:
            self.change(name, ())

    def change(self, table: str, columns: Iterable[str], salt: int = 1) -> None:
        """Give these columns of a table other values, and all others of it the first ones."""
        values = ", ".join(
            f'{self._value(one, salt if one.name in columns else 0)} AS "{one.name}"' for one in self._tables[table]
        )
        schema, _, name = table.rpartition(".")
        if schema:
            self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        named = f'{schema}."{name}"' if schema else f'"{name}"'
        self.connection.execute(f"CREATE OR REPLACE TABLE {named} AS SELECT {values} FROM range({ROWS}) AS r(i)")

    def run(self, sql: str) -> Result:
        return run(self.connection, sql)

    def _value(self, column: Column, salt: int) -> str:
        def number(part: str, below: int) -> str:
            return f"(hash(i, '{column.name}', '{part}', {salt}) % {below})::INTEGER"

        words = ", ".join(f"'{word}'" for word in self._words)
        forms = {
            "VARCHAR": f"([{words}])[1 + {number('', len(self._words))}]",
            "DATE": f"DATE '1993-01-01' + {number('', 2200)}",
            "STRUCT(x INTEGER, y INTEGER)": f"{{'x': {number('x', 4)}, 'y': {number('y', 4)}}}",
            "INTEGER[]": f"[{number('1', 4)}, {number('2', 4)}]",
            "JSON": f"json_array({number('1', 4)})",
            "INTEGER": f"nullif({number('', 5)}, 4)",
        }
        return forms.get(column.duckdb_type, f"{number('', 90)}::{column.duckdb_type}")


def run(connection: duckdb.DuckDBPyConnection, sql: str) -> Result:
    """The rows of a query as text; None if it fails, or takes too long: some data makes a recursion endless."""
    clock = Timer(5, connection.interrupt)
    clock.start()
    try:
        found = connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM (\n{sql}\n) AS q").fetchall()
    except duckdb.Error:
        return None
    finally:
        clock.cancel()
    return found


def of_column(result: Sequence[tuple[str | None, ...]], place: int) -> list[str | None]:
    return sorted((row[place] for row in result), key=lambda text: (text is None, text or ""))


def free_of(lineage: QueryLineage, ref: ColumnRef) -> Iterator[int]:
    """The places of the columns that this column has nothing to do with."""
    if ref not in lineage.rows.all:
        yield from (n for n, (_, one) in enumerate(lineage.columns) if ref not in one.all)


@pytest.mark.parametrize(
    ("case", "tables"),
    [
        pytest.param(case, known, id=case.name.partition(":")[0] if known is TPCH_TABLES else case.name)
        for file, known in (("tpch.sql", TPCH_TABLES), ("shapes.sql", SHAPES))
        for case in cases(file, known)
        if not BY_CHANCE.search(case.sql)
    ],
)
async def test_a_column_that_is_not_named_changes_nothing(engine: WholeEngine, case: Case, tables: Tables) -> None:
    lineage = await engine.analyzer.lineage(case.sql, tables)
    data = Data(tables, case.sql)
    before = data.run(case.sql)
    assert before is not None
    for table, columns in tables.items():
        for column in columns:
            free = list(free_of(lineage, ColumnRef(table, column.name)))
            if free:
                data.change(table, {column.name})
                after = data.run(case.sql)
                assert after is not None
                for place in free:
                    assert of_column(after, place) == of_column(before, place), (table, column.name, place)
                data.change(table, ())


async def test_a_column_that_is_named_does_change_something(engine: WholeEngine) -> None:
    """The data is such that the test above could fail. A few values stay, such as a maximum, or keys of few values."""
    followed: list[bool] = []
    for file, tables in (("tpch.sql", TPCH_TABLES), ("shapes.sql", SHAPES)):
        for case in cases(file, tables):
            lineage = await engine.analyzer.lineage(case.sql, tables)
            data = Data(tables, case.sql)
            before = data.run(case.sql)
            for place, (_, one) in enumerate(lineage.columns):
                if before and one.sources and not BY_CHANCE.search(case.sql):
                    followed.append(_follows(data, case.sql, one.sources, place, before))
    assert len(followed) > 100
    assert sum(followed) / len(followed) > 0.7


def _follows(
    data: Data, sql: str, sources: Iterable[ColumnRef], place: int, before: Sequence[tuple[str | None, ...]]
) -> bool:
    by_table: dict[str, set[str]] = {}
    for ref in sources:
        by_table.setdefault(ref.node, set()).add(str(ref.column))
    for table, columns in by_table.items():
        data.change(table, columns, salt=7)
    after = data.run(sql)
    for table in by_table:
        data.change(table, ())
    return after is None or of_column(after, place) != of_column(before, place)


@pytest.mark.parametrize("seed", range(5))
async def test_nor_does_it_in_random_views_over_random_views(engine: WholeEngine, seed: int) -> None:
    checked = 0
    for chain in chains(Random(f"lineage {seed}"), CHAINS):  # noqa: S311 - no secret
        try:
            tables = as_tables(chain)
            for sql in list(chain.views.values())[1:] if tables else ():
                checked += await _check(engine, chain.connection, sql, tables)
        finally:
            chain.close()
    assert checked > 20


def as_tables(chain: Chain) -> dict[str, tuple[Column, ...]]:
    """Make tables of the views of a chain, so that the data of each can be changed by itself; none if that fails."""
    try:
        for name in chain.views:
            chain.connection.execute(f'CREATE TABLE "{name} of before" AS FROM "{name}"')
    except duckdb.Error:  # there are no tables of some types
        return {}
    for name in chain.views:
        chain.connection.execute(f'DROP VIEW "{name}"; ALTER TABLE "{name} of before" RENAME TO "{name}"')
    return {
        name: tuple(Column(name=column, duckdb_type=kind) for column, kind in chain.columns(name))
        for name in chain.views
    }


async def _check(
    engine: WholeEngine, connection: duckdb.DuckDBPyConnection, sql: str, tables: Mapping[str, Sequence[Column]]
) -> int:
    """Change each column that the view reads and that a column of it does not depend on; returns how often."""
    read = {name: columns for name, columns in tables.items() if re.search(rf"\b{name}\b", sql)}
    lineage = await engine.analyzer.lineage(sql, read)
    assert lineage.rows.reason is None, (sql, lineage.rows.reason)
    before, checked = run(connection, sql), 0
    for table, columns in read.items():
        for column in columns:
            free = list(free_of(lineage, ColumnRef(table, column.name)))
            if before is None or not free:
                continue
            _turn(connection, table, column.name)
            after = run(connection, sql)
            connection.execute(f"DROP TABLE {table}; ALTER TABLE kept RENAME TO {table}")
            if after is None:  # another value has made it fail, as a cast may
                continue
            for place in free:
                checked += 1
                assert of_column(after, place) == of_column(before, place), (sql, table, column.name, place)
    return checked


def _turn(connection: duckdb.DuckDBPyConnection, table: str, column: str) -> None:
    """Give each row the column's value of another row. The table as it was is then called `kept`."""
    connection.execute(f"ALTER TABLE {table} RENAME TO kept")
    connection.execute(
        f"CREATE TABLE {table} AS SELECT * EXCLUDE (n, others) "
        f'REPLACE (others[1 + (n + 2) % len(others)] AS "{column}") '
        f'FROM (SELECT *, row_number() OVER () AS n FROM kept), (SELECT list("{column}") AS others FROM kept)'
    )
