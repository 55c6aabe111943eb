"""Views that are inlined into a run's query, and how large the query becomes by that."""

from collections.abc import Callable

import pytest

from orchestrator.model.errors import PlanTooLarge
from tests.engines.conftest import Run, WholeEngine, view

TWICE: dict[str, Callable[[str], str]] = {
    "join": lambda below: f"SELECT x.a FROM {below} x JOIN {below} y USING (a)",
    "union": lambda below: f"SELECT a FROM {below} UNION ALL SELECT a FROM {below}",
    "scalar": lambda below: f"SELECT a FROM {below} WHERE a <= (SELECT max(a) FROM {below})",
}


def tower(kind: str, height: int) -> dict[str, str]:
    return {"v0": "SELECT 1 AS a"} | {f"v{n}": TWICE[kind](f"v{n - 1}") for n in range(1, height)}


@pytest.mark.parametrize("kind", TWICE)
async def test_views_that_each_read_the_one_before_twice_are_refused_at_once(run: Run, kind: str) -> None:
    views = [view(name, sql) for name, sql in tower(kind, 25).items()]
    with pytest.raises(PlanTooLarge) as raised:
        await run(TWICE[kind]("v24"), views, timeout_seconds=20)
    assert raised.value.message == (
        "With every view that has no result of its own evaluated inside it, the query reads tables and views "
        "67,108,862 times; 1,000 are the most. Materialize some of the views that it reads."
    )


@pytest.mark.parametrize("kind", TWICE)
async def test_as_many_readings_as_there_may_be_are_run(run: Run, kind: str) -> None:
    views = [view(name, sql) for name, sql in tower(kind, 8).items()]
    result = await run(TWICE[kind]("v7"), views)
    assert result.written.rows == (256 if kind == "union" else 1)


async def test_a_long_chain_of_views_is_run(run: Run) -> None:
    views = [view("v0", "SELECT 1 AS a"), *(view(f"v{n}", f"SELECT a FROM v{n - 1}") for n in range(1, 60))]
    assert (await run("SELECT a FROM v59", views)).rows() == [(1,)]


async def test_every_reading_counts_wherever_it_stands(engine: WholeEngine) -> None:
    views = {"A": "SELECT * FROM t, t", "b.c": "SELECT (SELECT max(x) FROM a) FROM A"}
    for sql, weight in [
        ("SELECT 1", 0),
        ("SELECT * FROM t", 1),
        ("SELECT * FROM a", 3),
        ('SELECT * FROM a, A, "a"', 9),
        ("SELECT * FROM b.c", 7),
        ('WITH a AS (SELECT 1) SELECT * FROM a, "b.c"', 7),
        ('SELECT * FROM "Ä"', 1),
    ]:
        assert await engine.analyzer.weigh(sql, views) == weight, sql


async def test_a_billion_readings_are_counted_at_once(engine: WholeEngine) -> None:
    assert await engine.analyzer.weigh("SELECT * FROM v199", tower("join", 200)) == 2**200 - 1
