"""The same texts on both engines give the same rows and types: all that a translation may use is here."""

# ruff: noqa: E501 - a text a line

import pytest

from orchestrator.engines.spark.allowed import FUNCTIONS
from orchestrator.engines.spark.translation import parse
from orchestrator.model.errors import InvalidQuery
from orchestrator.model.run import SnapshotRelation
from tests.engines.conftest import Run
from tests.engines.spark.conftest import OnSpark

EXPRESSIONS = {
    "numbers": "i, n + 1 AS a, n - i AS b, i * 3 AS c, n / 4 AS e, d / 3 AS g, -n AS h, abs(n) AS j, sign(d) AS k",
    "whole": "i, i // 2 AS a, i % 3 AS b, -7 // 2 AS c, -7 % 3 AS e, i::SMALLINT AS g, d::INTEGER AS h",
    "rounded": "i, round(d, 1) AS a, ceil(d) AS b, floor(d) AS c, round(f) AS e",
    "floats": "i, sqrt(i) AS a, pow(i, 2) AS b, exp(0) AS c, ln(i) AS e, round(i / 4)::INTEGER AS g",
    "texts": "i, upper(s) AS a, lower(s) AS b, length(s) AS c, trim('  x ') AS e, left(s, 2) AS g, right(s, 2) AS h",
    "parts": "i, substring(s, 2, 2) AS a, replace(s, 'b', 'x') AS b, reverse(s) AS c, s || '!' AS e, concat(s, i) AS g",
    "found": "i, starts_with(s, 'a') AS a, contains(s, 'b') AS b, s LIKE '%b%' AS c, s ILIKE 'A%' AS e, s LIKE 'it''s%' AS g",
    "patterns": "i, regexp_matches(s, '^[a-z]+$') AS a",
    "quoted": "i, 'a\\b''c\"d`e' AS a, s = 'it''s a \\ \"b\" %' AS b",
    "dates": "i, year(day) AS a, month(day) AS b, day(day) AS c, quarter(day) AS e, extract(week FROM day) AS g, hour(ts) AS h",
    "minutes": "i, minute(ts) AS a, extract(doy FROM day) AS b, date_trunc('month', ts) AS c, date_trunc('hour', tz) AS e",
    "later": "i, day + INTERVAL 1 DAY AS a, ts + INTERVAL 1 MONTH AS b, day - DATE '2000-01-01' AS c",
    "between": "i, date_diff('day', ts, TIMESTAMP '2024-03-01 00:00:00') AS a, ts::DATE AS b, day::TIMESTAMP AS c",
    "zones": "i, tz AS a, tz > TIMESTAMPTZ '2000-01-01 00:00:00Z' AS b, tz::DATE AS c",
    "cases": "i, CASE WHEN n > 0 THEN 'x' ELSE 'y' END AS a, if(b, 1, 2) AS b2, coalesce(n, 0) AS c, nullif(i, 1) AS e",
    "compared": "i, greatest(i, 3) AS a, least(n, 3) AS b2, n BETWEEN 0 AND 20 AS c, i IN (1, 2) AS e, n IS NULL AS g",
    "nulls": "i, n IS NOT DISTINCT FROM NULL AS a, b AND NULL AS c, NOT b AS e, n IN (1, NULL) AS g",
    "casts": "i, n::VARCHAR AS a, '12'::INTEGER AS b2, d::VARCHAR AS c, day::VARCHAR AS e, TRY_CAST(s AS INTEGER) AS g",
    "types": "i::TINYINT AS a, i::UTINYINT AS b2, i::UBIGINT AS c, n::HUGEINT AS e, d::DECIMAL(18,4) AS g, i::FLOAT AS h",
}
QUERIES = {
    "sums": "SELECT count(*) AS c, count(n) AS m, sum(n) AS s, sum(d) AS t, avg(i) AS a, round(avg(d), 4) AS e, min(s) AS g FROM t",
    "groups": "SELECT b, count(DISTINCT n) AS c, max(day) AS m, bool_and(b) AS x, bool_or(b) AS y FROM t GROUP BY ALL",
    "spread": "SELECT round(stddev(i), 6) AS a, round(stddev_samp(i), 6) AS a2, round(stddev_pop(i), 6) AS b, round(variance(i), 6) AS c, "
    "round(var_pop(i), 6) AS e, count_if(i > 2) AS g, count(*) FILTER (i > 2) AS h FROM t",
    "having": "SELECT b, sum(i) AS s FROM t GROUP BY b HAVING sum(i) > 2",
    "windows": "SELECT i, row_number() OVER (ORDER BY i) AS a, rank() OVER (ORDER BY b) AS c, lag(i) OVER (ORDER BY i) AS e, "
    "sum(i) OVER (ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS g, ntile(2) OVER (ORDER BY i) AS h FROM t",
    "more windows": "SELECT i, dense_rank() OVER (ORDER BY b) AS a, percent_rank() OVER (ORDER BY i) AS c, "
    "cume_dist() OVER (ORDER BY i) AS e, lead(i, 2) OVER (ORDER BY i) AS g, first_value(i) OVER (ORDER BY i) AS h, "
    "last_value(i) OVER (ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS j FROM t",
    "qualify": "SELECT i, n FROM t QUALIFY row_number() OVER (PARTITION BY n ORDER BY i DESC) = 1",
    "null order": "SELECT n FROM t ORDER BY n LIMIT 4",
    "null order, descending": "SELECT n FROM t ORDER BY n DESC LIMIT 3",
    "joins": "SELECT a.i, b.i AS j FROM t a LEFT JOIN t b ON a.i = b.i + 1",
    "semi": "SELECT i FROM t a WHERE EXISTS (SELECT 1 FROM t b WHERE b.n = a.n AND b.i <> a.i)",
    "anti": "SELECT i FROM t a ANTI JOIN t b ON b.i = a.i + 1",
    "using": "SELECT i, a.n, b.s FROM t a JOIN t b USING (i)",
    "sets": "SELECT i FROM t EXCEPT SELECT 3 UNION ALL SELECT 7",
    "intersect": "SELECT n FROM t INTERSECT SELECT n FROM t WHERE i > 2",
    "with": "WITH x AS (SELECT i, n FROM t WHERE i > 1), y AS (SELECT max(i) AS m FROM x) SELECT x.i FROM x, y WHERE x.i < y.m",
    "distinct": "SELECT DISTINCT n FROM t",
    "values": "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(x, y)",
    "from first": "FROM t SELECT i, n WHERE i < 3",
    "star": "SELECT * EXCLUDE (f, tz) FROM t",
    "alias": "SELECT i + 1 AS k, k * 2 AS l FROM t WHERE k > 2",
    "scalar": "SELECT i, (SELECT max(n) FROM t) AS m FROM t",
    "nothing": "SELECT i, s FROM t WHERE false",
}
AS_TEXT = "COLUMNS(*)::VARCHAR"
ALL = {name: f"SELECT {some} FROM t" for name, some in EXPRESSIONS.items()} | QUERIES


@pytest.mark.parametrize("name", ALL)
async def test_both_engines_give_the_same(name: str, run: Run, on_spark: OnSpark, values: SnapshotRelation) -> None:
    ours, theirs = await run(ALL[name], [values]), await on_spark(ALL[name], [values])
    assert theirs.names == ours.names
    assert theirs.types == ours.types
    assert sorted(map(repr, theirs.rows(AS_TEXT))) == sorted(map(repr, ours.rows(AS_TEXT)))


def test_every_function_that_translates_is_tried() -> None:
    tried = {type(node) for sql in ALL.values() for node in parse(sql, "duckdb").walk()}
    # They give the moment of the query.
    moments = {"CurrentDate", "CurrentTimestamp"}
    assert {one.__name__ for one in FUNCTIONS if one not in tried} == moments


async def test_a_sum_of_more_than_64_bits_is_no_other_number(on_spark: OnSpark, values: SnapshotRelation) -> None:
    found = await on_spark("SELECT sum(n) AS s FROM t", [values])
    assert found.types == ["HUGEINT"]
    assert [int(row[0]) for row in found.rows()] == [18_000_000_000_000_000_003]


@pytest.mark.parametrize("name", ["cancelled", "an id"])
async def test_the_names_of_columns_stay(name: str, on_spark: OnSpark, values: SnapshotRelation) -> None:
    found = await on_spark(f'SELECT i AS "{name}", n AS "Größe" FROM t', [values])
    assert found.names == [name, "Größe"]


async def test_what_differs_is_refused_or_known(on_spark: OnSpark, values: SnapshotRelation) -> None:
    for sql in ("SELECT any_value(n) FROM t", "SELECT strftime(day, '%x') FROM t", "SELECT f::VARCHAR FROM t"):
        with pytest.raises(InvalidQuery, match="Spark has no equal"):
            await on_spark(sql, [values])
