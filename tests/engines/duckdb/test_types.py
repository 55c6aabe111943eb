"""A view sees the values and types of another view as if both were one query."""

import duckdb
import pytest

from orchestrator.model.errors import InvalidQuery, QueryFailed
from orchestrator.model.snapshot import Column
from tests.engines.conftest import Run, WholeEngine, snapshot, view
from tests.engines.duckdb.values import FLAT, LARGEST, SMALLEST, in_utc

# Each nests a value in another one. The CASE is there because NULL cannot be a key of a MAP.
NESTINGS = [
    "[{0}, NULL]",
    "{{'f': {0}, 'g': [{{'h': {0}}}]}}",
    "row({0}, 1)",
    "MAP {{'k': {0}}}",
    "array_value({0}, NULL)",
    "[[MAP {{1: row({0})}}]]",
    "CASE WHEN {0} IS NOT NULL THEN MAP([{0}], [1]) END",
]
NESTED = [nesting.format(value) for nesting in NESTINGS for _, value in FLAT]


def chunks(expressions: list[str], size: int) -> list[list[str]]:
    return [expressions[start : start + size] for start in range(0, len(expressions), size)]


def selected(expressions: list[str]) -> str:
    return "SELECT " + ", ".join(f"{expression} AS c{n}" for n, expression in enumerate(expressions))


def in_plain_duckdb(inner: str, outer: str) -> list[tuple[object, ...]]:
    """The rows of `outer` in plain DuckDB, where `inner_view` is a view."""
    with in_utc() as connection:
        connection.execute(f"CREATE VIEW inner_view AS {inner}")
        return connection.execute(outer).fetchall()


async def agrees(run: Run, engine: WholeEngine, expressions: list[str]) -> None:
    """Assert that the next view sees each expression as one query does, whether stored, inlined or described."""
    inner = selected(expressions)
    stored = await run(inner)
    assert await engine.analyzer.describe(inner, {}) == tuple(
        Column(name=column.name, duckdb_type=column.duckdb_type) for column in stored.written.columns
    )
    seen = (
        f"typeof(c{n}) AS t{n}, c{n}::VARCHAR AS v{n}, (c{n} IS NOT DISTINCT FROM ({e})) AS s{n}"
        for n, e in enumerate(expressions)
    )
    outer = f"SELECT {', '.join(seen)} FROM inner_view"
    (expected,) = in_plain_duckdb(inner, outer)
    for relation in (view("inner_view", inner), snapshot("inner_view", stored.folder, stored.written)):
        (found,) = (await run(outer, [relation])).rows()
        for position, (got, right) in enumerate(zip(found, expected, strict=True)):
            # A bare NULL has no type of its own: see `logical`.
            meant = right.replace('"NULL"', "INTEGER") if isinstance(right, str) else right
            assert got == meant, (relation.kind, expressions[position // 3])


@pytest.mark.parametrize("expressions", chunks([value for _, value in FLAT], 30))
async def test_every_value_of_every_type_is_the_same_for_the_next_view(
    run: Run, engine: WholeEngine, expressions: list[str]
) -> None:
    await agrees(run, engine, expressions)


async def test_files_hold_what_the_documentation_says(run: Run) -> None:
    written = (await run(selected([value for _, value in FLAT]))).written
    for (stored, value), column in zip(FLAT, written.columns, strict=True):
        assert (column.stored_type or column.duckdb_type) == stored, value
        assert column.stored_type != column.duckdb_type


@pytest.mark.parametrize("expressions", chunks(NESTED, 80))
async def test_so_it_is_inside_of_other_values(run: Run, engine: WholeEngine, expressions: list[str]) -> None:
    await agrees(run, engine, expressions)


@pytest.mark.parametrize("value", ["['x']", "MAP {'x': 1}", "MAP {1: 'x'}", "{'a': ['x', 'y']}", "[MAP {'a': 'b'}]"])
async def test_few_rows_with_the_same_texts_inside_of_values_are_written(run: Run, value: str) -> None:
    for rows in range(1, 6):
        result = await run(f"SELECT {value} AS v FROM range({rows})")
        assert len(result.rows()) == rows


@pytest.mark.parametrize("materialized", [True, False])
async def test_a_sum_of_integers_is_divided_as_in_one_query(run: Run, engine: WholeEngine, materialized: bool) -> None:
    inner = "SELECT k, sum(n) AS total FROM (VALUES ('a', 10), ('a', 20), ('b', 5)) t(k, n) GROUP BY k"
    outer = (
        "SELECT k, total // 4 AS q, total // 4 * 4 AS r, total & 1 AS odd, total << 1 AS twice, gcd(total, 4) AS g,"
        " bin(total) AS b, printf('%d', total) AS p FROM sums ORDER BY k"
    )
    stored = await run(inner)
    relation = snapshot("sums", stored.folder, stored.written) if materialized else view("sums", inner)
    result = await run(outer, [relation])
    assert result.types == ["VARCHAR", *["HUGEINT"] * 5, "VARCHAR", "VARCHAR"]
    assert result.rows() == [("a", 7, 28, 0, 60, 2, "11110", "30"), ("b", 1, 4, 1, 10, 1, "101", "5")]
    assert await engine.analyzer.describe(outer, {"sums": stored.written.columns}) == tuple(
        column.model_copy(update={"stored_type": None}) for column in result.written.columns
    )


@pytest.mark.parametrize("nested", ["{}", "[{}]", "{{'a': {}}}", "MAP {{1: {}}}", "row({})"])
async def test_a_hugeint_of_39_digits_is_stored_as_text_and_read_as_the_number(run: Run, nested: str) -> None:
    values = f"(VALUES ({LARGEST}::HUGEINT), ('{SMALLEST}'::HUGEINT), (1::HUGEINT), (NULL)) t(n)"
    inner = f"SELECT n, {nested.format('n')} AS x, n // 3 AS other FROM {values}"
    stored = await run(inner)
    assert [column.stored_type for column in stored.written.columns][0::2] == ["VARCHAR", "VARCHAR"]
    outer = f"SELECT n, other FROM wide WHERE x IS NOT DISTINCT FROM {nested.format('n')} AND n < 0 OR n > 1"
    for relation in (snapshot("wide", stored.folder, stored.written), view("wide", inner)):
        result = await run(f"SELECT n::VARCHAR AS n, other::VARCHAR AS o FROM ({outer}) ORDER BY other", [relation])
        assert result.rows() == [
            (SMALLEST, "-56713727820156410577229101238628035242"),
            (LARGEST, "56713727820156410577229101238628035242"),
        ]


async def test_what_was_written_before_a_number_of_39_digits_was_met_is_gone(run: Run) -> None:
    hashes = ", ".join(f"hash(i + {n}) AS h{n}" for n in range(20))
    sql = f"SELECT CASE WHEN i = 1899999 THEN {LARGEST} ELSE i END::HUGEINT AS n, {hashes} FROM range(1900000) r(i)"
    result = await run(sql)
    assert result.written.rows == result.rows("count(n)")[0][0] == 1_900_000
    assert len(result.written.files) > 1
    assert sorted(f.name for f in result.written.files) == sorted(path.name for path in result.folder.iterdir())


async def test_a_cast_that_the_author_wrote_still_fails(run: Run) -> None:
    with pytest.raises(QueryFailed, match=r"Could not cast value 1000.* to DECIMAL\(38,0\)"):
        await run(f"SELECT 1{'0' * 38}::DECIMAL(38,0) AS a, 1::HUGEINT AS b")


async def test_a_number_that_is_a_hash_is_a_key(run: Run) -> None:
    words = "SELECT w, md5_number(w) AS key FROM (SELECT 'w' || i AS w FROM range(300) r(i))"
    left = await run(words)
    assert left.types == ["VARCHAR", "UHUGEINT"]
    joined = "SELECT count(*) AS n FROM a JOIN b USING (key) WHERE a.key = md5_number(b.w) AND a.w = b.w"
    relations = [snapshot("a", left.folder, left.written), view("b", words)]
    assert (await run(joined, relations)).rows() == [(300,)]
    ordered = await run("SELECT w FROM a ORDER BY key", relations[:1])
    with duckdb.connect() as connection:
        assert ordered.rows() == connection.execute(f"SELECT w FROM ({words}) ORDER BY key").fetchall()


async def test_a_snapshot_of_an_earlier_release_is_read_as_it_was_recorded(run: Run) -> None:
    stored = await run("SELECT sum(i) AS n, 'x'::ENUM('x') AS e, row(1) AS r FROM range(4) t(i)")
    types = ["DECIMAL(38,0)", "VARCHAR", "STRUCT(v1 INTEGER)"]
    assert [column.stored_type for column in stored.written.columns] == types
    recorded = tuple(
        Column(name=column.name, duckdb_type=kind) for column, kind in zip(stored.written.columns, types, strict=True)
    )
    written = stored.written.model_copy(update={"columns": recorded})
    result = await run("SELECT typeof(COLUMNS(*)) FROM old", [snapshot("old", stored.folder, written)])
    assert result.rows() == [tuple(types)]


REFUSED = {
    "union_value(n := 1)": "is a UNION, which a snapshot cannot hold",
    "{'a': [union_value(n := 1)]}": "is a UNION, which a snapshot cannot hold",
    "1::VARIANT": "is a VARIANT, which a snapshot cannot hold without loss",
    "MAP {1: [2::VARIANT]}": "is a VARIANT, which a snapshot cannot hold without loss",
    "ST_SetCRS('POINT (1 2)'::GEOMETRY, 'EPSG:1')": "has a coordinate system that a snapshot cannot hold",
    "[ST_SetCRS('POINT (1 2)'::GEOMETRY, 'GEOGCRS[\"x\"]')]": "has a coordinate system that a snapshot cannot hold",
    "get_type(1)": "is of the type TYPE, which a snapshot cannot hold",
    "[get_type(1)]": "is of the type TYPE, which a snapshot cannot hold",
}


@pytest.mark.parametrize(("expression", "reason"), REFUSED.items())
async def test_what_cannot_be_stored_is_refused_when_saved(
    run: Run, engine: WholeEngine, expression: str, reason: str
) -> None:
    sql = f"SELECT {expression} AS u"
    with pytest.raises(InvalidQuery, match=f'Invalid query: The column "u" {reason}'):
        await engine.analyzer.describe(sql, {})
    with pytest.raises(QueryFailed, match=f'The column "u" {reason}'):
        await run(sql)
    assert (await run(f"SELECT typeof(u) AS t FROM ({sql})")).written.rows == 1


@pytest.mark.parametrize("collation", ["NOCASE", "NOCASE.NOACCENT", "de"])
async def test_a_collation_holds_for_the_next_views_too(run: Run, engine: WholeEngine, collation: str) -> None:
    first = f"SELECT x COLLATE {collation} AS x, 'é' AS plain FROM (VALUES ('a'), ('É'), ('B'), ('A'), ('ä')) t(x)"
    second = "SELECT x, x || '' AS y FROM a"
    outer = "SELECT x, count(*) OVER (PARTITION BY x) AS n, x = 'A' AS is_a, y = 'e' AS is_e FROM b ORDER BY x, is_a"
    one = await run(first)
    two = await run(second, [snapshot("a", one.folder, one.written)])
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW a AS {first}; CREATE VIEW b AS {second}")
        expected = connection.execute(outer).fetchall()
    for relations in (
        [snapshot("b", two.folder, two.written)],
        [view("a", first), view("b", second)],
        [snapshot("a", one.folder, one.written), view("b", second)],
    ):
        assert sorted((await run(outer, relations)).rows()) == sorted(expected)
    assert [column.duckdb_type for column in one.written.columns] == [f"VARCHAR COLLATE {collation}", "VARCHAR"]
    described = await engine.analyzer.describe(second, {"a": one.written.columns})
    assert described[0].duckdb_type == f"VARCHAR COLLATE {collation}"


@pytest.mark.parametrize("kind", ["GEOMETRY", "GEOMETRY('OGC:CRS84')", "GEOMETRY('OGC:CRS83')"])
async def test_geometries_of_a_snapshot_are_joined_by_what_they_are(run: Run, kind: str) -> None:
    values = "(VALUES ('POINT (1 2)'), ('POLYGON EMPTY'), (NULL)) t(x)"
    stored = await run(f"SELECT x::{kind} AS g, [x::{kind}] AS n FROM {values}")
    both = [snapshot(name, stored.folder, stored.written) for name in ("a", "b")]
    for condition in ("a.g = b.g", "a.n = b.n AND a.g IS NOT NULL"):
        assert (await run(f"SELECT count(*) AS n FROM a JOIN b ON {condition}", both)).rows() == [(2,)]


@pytest.mark.parametrize("nested", ["{}", "[{}]", "{{'a': [{}], 'b': INTERVAL 1 DAY}}", "MAP {{1: {}}}"])
async def test_what_is_called_json_and_is_none_fails_the_run_that_would_store_it(run: Run, nested: str) -> None:
    value = "least('0.99999999999999999999999999999999999999'::DECIMAL(38,38), NULL::JSON)"
    with pytest.raises(QueryFailed, match="Malformed JSON"):
        await run(f"SELECT {nested.format(value)} AS j")


async def test_a_type_that_is_nested_in_another_can_be_named(run: Run, engine: WholeEngine) -> None:
    sql = "SELECT {'a': 'x'}::STRUCT(a ENUM('x', 'y')) AS s, MAP {1: 'y'}::MAP(INTEGER, ENUM('x', 'y')) AS m"
    assert await engine.analyzer.references(sql) == ()
    assert (await run(sql)).types == ["STRUCT(a ENUM('x', 'y'))", "MAP(INTEGER, ENUM('x', 'y'))"]
