"""Which queries give the same rows again, and the digest of their rows."""

import re
import time
from pathlib import Path

import duckdb
import pytest

from orchestrator.engines.duckdb.sql.allowed_functions import check_function
from orchestrator.engines.duckdb.sql.content import content_digest
from orchestrator.engines.duckdb.sql.determinism import UNSTABLE, is_deterministic, names_no_moment
from orchestrator.engines.duckdb.sql.references import syntax_tree
from orchestrator.engines.spark import own_dialect
from orchestrator.model.errors import InvalidQuery


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a, sum(b) FROM t GROUP BY ALL ORDER BY 1 LIMIT 3", True),
        ("SELECT json_group_object(a, b) FROM t", True),
        ("SELECT * FROM t TABLESAMPLE reservoir(10) REPEATABLE (7)", True),
        ("SELECT * FROM t TABLESAMPLE 10%", False),
        ("SELECT * FROM t USING SAMPLE 5", False),
        ("SELECT (SELECT now()) FROM t", False),
        ("WITH w AS (SELECT Random() AS r) SELECT 1 FROM w", False),
        ("SELECT CURRENT_TIMESTAMP", False),
        ("SELECT t.a FROM t WHERE d > current_date - 7", False),
        ("SELECT list_transform([1, 2], lambda x: x + random())", False),
        ("SELECT ago(INTERVAL 1 day)", False),
        ("SELECT age(d) FROM t", False),
        ("SELECT age(d, DATE '2020-01-01') FROM t", True),
        ("SELECT d.age() FROM t", False),
        ("SELECT t.d.age() FROM t", False),
        ("SELECT current_localtimestamp()", False),
        ("SELECT a FROM t ORDER BY random()", False),
        ("SELECT * FROM range(3) t(i) UNION ALL SELECT uuid()::INT", False),
    ],
)
def test_a_query_is_deterministic_unless_it_uses_the_moment_or_chance(sql: str, expected: bool) -> None:
    with duckdb.connect() as connection:
        assert is_deterministic(syntax_tree(connection, sql)) is expected


def test_the_list_of_unstable_functions_is_that_of_this_duckdb() -> None:
    """Also of macros, whose bodies may use such functions through other macros."""
    with duckdb.connect() as connection:
        functions = connection.execute(
            "SELECT lower(function_name), stability, function_type, macro_definition FROM duckdb_functions()"
        ).fetchall()
        # Its only result is an error, which ends the run.
        unstable = {name for name, stability, _, _ in functions if stability not in {None, "CONSISTENT"}} - {"error"}
        bodies = [(name, body) for name, _, kind, body in functions if kind == "macro"]
        for _ in range(5):
            for name, body in bodies:
                if any(one != name and _uses(body, one) for one in unstable | {"current_timestamp"}):
                    unstable.add(name)
    unstable |= {"current_localtime", "current_localtimestamp"}  # see the next test
    assert unstable - {name for name in unstable if _is_refused(name)} <= UNSTABLE
    assert unstable >= UNSTABLE


def test_every_function_without_arguments_that_changes_with_time_is_unstable() -> None:
    """Some of DuckDB's functions claim to be consistent, and are not."""
    with duckdb.connect() as connection:
        query = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type IN ('scalar', 'macro')"
        names = [name for (name,) in connection.execute(f"{query} AND len(parameters) = 0").fetchall()]

        def value(name: str) -> object:
            try:
                return connection.execute(f"SELECT {name}()::VARCHAR").fetchone()
            except duckdb.Error:
                return None

        before = {name: value(name) for name in names}
        time.sleep(1.1)
        changing = {name for name in names if value(name) != before[name]}
    assert {"now", "random"} <= changing
    assert changing <= UNSTABLE


def _uses(body: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", body.lower()) is not None


def _is_refused(name: str) -> bool:
    try:
        check_function(name)
    except InvalidQuery:
        return True
    return False


def test_the_digest_of_rows_is_that_of_their_multiset(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("rows")
    statements = {
        "a": "SELECT * FROM (VALUES (1, 'x', [1.5]), (2, NULL, []), (2, NULL, [])) t(n, s, l)",
        "b": "SELECT * FROM (VALUES (2, NULL, []), (1, 'x', [1.5]), (2, NULL, [])) t(n, s, l)",
        "c": "SELECT * FROM (VALUES (1, 'x', [1.5]), (1, 'x', [1.5]), (2, NULL, [])) t(n, s, l)",
        "d": "SELECT * FROM (VALUES (1, 'x', [1.5]), (2, '', []), (2, NULL, [])) t(n, s, l)",
        "e": "SELECT * FROM (VALUES (1, 'x', [1.5]), (3, NULL, []), (3, NULL, [])) t(n, s, l)",
        "empty": "SELECT 1 AS n, 'x' AS s, [1.5] AS l LIMIT 0",
    }
    with duckdb.connect() as connection:
        found = {}
        for name, sql in statements.items():
            path = str(folder / f"{name}.parquet")
            connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet)")
            found[name] = content_digest(connection, [path], ["n", "s", "l"])
        halves = [str(folder / f"half{n}.parquet") for n in (1, 2)]
        connection.execute(f"COPY (SELECT 2 AS n, NULL::VARCHAR AS s, []::DECIMAL(2,1)[] AS l) TO '{halves[0]}'")
        connection.execute(f"COPY (FROM '{folder}/a.parquet' LIMIT 2) TO '{halves[1]}' (FORMAT parquet)")
        assert content_digest(connection, halves, ["n", "s", "l"]) == found["a"]
    assert found["a"] == found["b"]
    assert len(set(found.values())) == len(found) - 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0::HUGEINT AS c", "-1::HUGEINT AS c"),
        ("0::DECIMAL(38,0) AS c", "-1::DECIMAL(38,0) AS c"),
        ("NULL::INT[] AS c", "[]::INT[] AS c"),
        ("[1, 2] AS c, [3] AS d", "[1] AS c, [2, 3] AS d"),
        ("['a, b'] AS c", "['a', 'b'] AS c"),
        ("[NULL] AS c", "['NULL'] AS c"),
        ("0.0::DOUBLE AS c", "-0.0::DOUBLE AS c"),
        ("NULL::STRUCT(a INT) AS c", "{'a': NULL::INT} AS c"),
        ("'' AS c, 'x' AS d", "'x' AS c, '' AS d"),
        ("NULL AS c, '' AS d", "'' AS c, NULL AS d"),
        ("1.0::DOUBLE AS c", "1.0000000000000002::DOUBLE AS c"),
        ("TIMESTAMP '2020-01-01 00:00:00.000001' AS c", "TIMESTAMP '2020-01-01' AS c"),
        ("'\\x41'::BLOB AS c", "'\\x5Cx41'::BLOB AS c"),
        ("[]::DECIMAL(9,2)[] AS c", "[0]::DECIMAL(9,2)[] AS c"),
        ("[1, 0]::DECIMAL(9,2)[] AS c, 7 AS d", "[1]::DECIMAL(9,2)[] AS c, 7 AS d"),
        ("[[1], [2]]::DECIMAL(9,2)[][] AS c", "[[1, 2]]::DECIMAL(9,2)[][] AS c"),
        ("0::DECIMAL(18,2) AS c", "-0.01::DECIMAL(18,2) AS c"),
        ("0::DECIMAL(19,2) AS c", "-0.01::DECIMAL(19,2) AS c"),
        ("'NaN'::FLOAT AS c", "NULL::FLOAT AS c"),
        ("INTERVAL '1 month' AS c", "INTERVAL '30 days' AS c"),
        ("0::UBIGINT AS c", "18446744073709551615::UBIGINT AS c"),
        ("TIMESTAMP_NS '2020-01-01 00:00:00.000000001' AS c", "TIMESTAMP_NS '2020-01-01' AS c"),
        ("TIMESTAMPTZ '2020-01-01 00:00:00+00' AS c", "TIMESTAMPTZ '2020-01-01 00:00:00+01' AS c"),
        ("1 AS c, 2 AS d UNION ALL SELECT 3, 4", "1 AS c, 4 AS d UNION ALL SELECT 3, 2"),
    ],
)
def test_rows_that_differ_have_other_digests(tmp_path: Path, one: str, other: str) -> None:
    digests = set()
    with duckdb.connect() as connection:
        for number, columns in enumerate((one, other)):
            path = f"{tmp_path}/{number}.parquet"
            connection.execute(f"COPY (SELECT {columns}) TO '{path}' (FORMAT parquet)")
            names = [name for name, *_ in connection.execute(f"DESCRIBE FROM '{path}'").fetchall()]
            digests.add(content_digest(connection, [path], names))
    assert len(digests) == 2


def test_both_signs_of_nan_have_one_digest_since_no_reader_tells_them_apart(tmp_path: Path) -> None:
    path = f"{tmp_path}/n.parquet"
    found = set()
    with duckdb.connect() as connection:
        for value in ("'nan'::DOUBLE", "'inf'::DOUBLE - 'inf'::DOUBLE"):
            connection.execute(f"COPY (SELECT {value} AS c) TO '{path}' (FORMAT parquet)")
            found.add(content_digest(connection, [path], ["c"]))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today", True),
        (" Yesterday Europe/Berlin", True),
        ("now+01:00", True),
        ("todays", False),
        ("2026-01-01", False),
    ],
)
def test_spark_reads_some_texts_as_a_moment(text: str, expected: bool) -> None:
    with duckdb.connect() as connection:
        tree = syntax_tree(connection, f"SELECT a AS today FROM t WHERE d >= '{text}'")
    assert names_no_moment(tree) is not expected
    assert own_dialect.is_deterministic(f"SELECT a AS today FROM t WHERE d >= CAST('{text}' AS DATE)") is not expected


def test_a_column_is_found_by_its_name_in_small_or_capital_letters(tmp_path: Path) -> None:
    """A database may have renamed it so since the table was recorded."""
    path = f"{tmp_path}/n.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1 AS id) TO '{path}' (FORMAT parquet)")
        assert content_digest(connection, [path], ["Id"]) == content_digest(connection, [path], ["id"])
