import pytest

from orchestrator.model.run import ViewRelation
from orchestrator.model.snapshot import Column
from tests.engines.conftest import Run, WholeEngine, view

NAMES = [
    "a",
    "b",
    "a.b",
    "b.b",
    "a.b.c",
    "a.c.b",
    "b.a",
    "w.x.y.z",
    "$d.select",
    "a.main.q",
    "duckdb_tables",
    "main",
    "S.T",
]


def relations() -> list[ViewRelation]:
    return [view(name, f"SELECT '{name}' AS me") for name in NAMES]


SPELLINGS = [
    ("a", "a"),
    ("A", "a"),
    ("a.b", "a.b"),
    ("A.b", "a.b"),
    ('"a.b"', "a.b"),
    ('"a"."B"', "a.b"),
    ("'a.b'", "a.b"),
    ("b.b", "b.b"),
    ("a.b.c", "a.b.c"),
    ('"a.b.c"', "a.b.c"),
    ('"a.b".c', "a.b.c"),
    ('a."b.c"', "a.b.c"),
    ("a.c.b", "a.c.b"),
    ("b.a", "b.a"),
    ('"w.x.y.z"', "w.x.y.z"),
    ('w.x."y.z"', "w.x.y.z"),
    ('"w.x".y.z', "w.x.y.z"),
    ('w."x.y.z"', "w.x.y.z"),
    ('"$d"."select"', "$d.select"),
    ("a.main.q", "a.main.q"),
    ("duckdb_tables", "duckdb_tables"),
    ("main", "main"),
    ("s.t", "S.T"),
]


async def test_a_name_is_found_in_every_spelling(run: Run) -> None:
    sql = " UNION ALL ".join(f"SELECT {n} AS n, me FROM {spelling}" for n, (spelling, _) in enumerate(SPELLINGS))
    result = await run(sql, relations())
    assert sorted(result.rows()) == [(n, name) for n, (_, name) in enumerate(SPELLINGS)]


async def test_names_of_one_two_and_three_parts_are_used_together(run: Run) -> None:
    sql = "SELECT a.me, a.b.me, a.b.c.me, x.me FROM a, a.b, a.b.c, b.b AS x"
    result = await run(sql, relations())
    assert result.rows() == [("a", "a.b", "a.b.c", "b.b")]


async def test_views_read_other_views_across_namespaces(run: Run) -> None:
    chain = [
        view("t", "SELECT 'right' AS v"),
        view("a.t", "SELECT 'wrong' AS v"),
        view("a.u", "SELECT v || '!' AS v FROM t"),
        view("b.c.d", "SELECT v || '?' AS v FROM \"a.u\""),
        view("e", "SELECT x.v || y.v AS v FROM b.c.d AS x JOIN a.u AS y ON true"),
    ]
    result = await run("SELECT v FROM e", chain)
    assert result.rows() == [("right!?right!",)]


async def test_a_cte_hides_a_view_of_the_same_name(run: Run) -> None:
    result = await run("WITH a AS (SELECT me || '!' AS me FROM a) SELECT * FROM a", relations())
    assert result.rows() == [("a!",)]


async def test_a_view_may_pivot_over_the_values_that_it_lists(run: Run) -> None:
    inner = view("n.p", "PIVOT (SELECT i % 2 AS k, i AS v FROM range(4) r(i)) ON k IN (0, 1) USING sum(v)")
    result = await run('SELECT "0" + "1" AS s, * FROM n.p', [inner])
    assert result.rows() == [(6, 2, 4)]


@pytest.mark.parametrize(("spelling", "name"), SPELLINGS)
async def test_a_reference_is_given_as_the_name_that_is_found(engine: WholeEngine, spelling: str, name: str) -> None:
    (found,) = await engine.analyzer.references(f"SELECT * FROM {spelling}")
    assert found.lower() == name.lower()
    columns = await engine.analyzer.describe(
        f"SELECT * FROM {spelling}", {name: [Column(name="me", duckdb_type="VARCHAR")]}
    )
    assert columns == (Column(name="me", duckdb_type="VARCHAR"),)
