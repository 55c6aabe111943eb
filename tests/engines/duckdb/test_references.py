import pytest

from orchestrator.model.errors import InvalidQuery
from tests.engines.conftest import WholeEngine

READS = [
    ("SELECT 1", ()),
    ("select 1;", ()),
    ("select * from t; -- done", ("t",)),
    ("select ';' from t;; /* ; */", ("t",)),
    ("SELECT * FROM t", ("t",)),
    ("SELECT * FROM T, t, u, T", ("T", "u")),
    ("SELECT * FROM a.b, a.b.c", ("a.b", "a.b.c")),
    ('SELECT * FROM "a.b", "c d"."e"', ("a.b", "c d.e")),
    ('SELECT * FROM a."b.c.d"', ("a.b.c.d",)),
    ("FROM t", ("t",)),
    ("FROM t SELECT x", ("t",)),
    ("TABLE t", ("t",)),
    ("VALUES (1), ((SELECT max(x) FROM t))", ("t",)),
    ("SELECT * FROM x : t", ("t",)),
    ("SELECT * FROM 'x.parquet'", ("x.parquet",)),
    ("WITH c AS (SELECT * FROM t) SELECT * FROM c", ("t",)),
    ("WITH c AS (SELECT * FROM t) SELECT * FROM C", ("t",)),
    ("WITH t AS (SELECT * FROM t) SELECT * FROM t", ("t",)),
    ("WITH t AS (SELECT 1) SELECT * FROM t", ()),
    ("WITH t AS (SELECT 1) SELECT * FROM s.t", ("s.t",)),
    ('WITH "s.t" AS (SELECT 1) SELECT * FROM s.t, "s.t"', ("s.t",)),
    ("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a, b", ("b",)),
    ("WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b", ()),
    ("WITH a AS MATERIALIZED (FROM t) FROM a", ("t",)),
    ("SELECT * FROM t UNION ALL (WITH t AS (SELECT 1) SELECT * FROM t)", ("t",)),
    ("(WITH u AS (SELECT 1) FROM u) UNION ALL FROM u", ("u",)),
    ("WITH u AS (SELECT 1) FROM u UNION ALL FROM u", ()),
    ("SELECT * FROM (WITH u AS (SELECT 1) FROM u), u", ("u",)),
    ("WITH RECURSIVE r AS (SELECT 1 x UNION ALL SELECT x + 1 FROM r, s WHERE x < 9) FROM r", ("s",)),
    ("WITH RECURSIVE r AS (FROM r UNION ALL FROM r) FROM r", ("r",)),
    (
        "WITH RECURSIVE r(a, b) USING KEY (a) AS (SELECT 1, 1 UNION SELECT a, b FROM recurring.r) FROM r",
        (),
    ),
    ("SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.x = t.x)", ("t", "u")),
    ("SELECT (SELECT max(x) FROM u) FROM t ORDER BY (SELECT min(y) FROM w)", ("u", "t", "w")),
    ("SELECT * FROM t WHERE (x, y) IN (SELECT a, b FROM u)", ("t", "u")),
    ("SELECT [x FOR x IN (SELECT list(y) FROM u)] FROM t", ("u", "t")),
    ("SELECT x FROM t GROUP BY x HAVING sum(y) > (SELECT max(z) FROM u)", ("t", "u")),
    ("SELECT x FROM t QUALIFY row_number() OVER (ORDER BY (SELECT max(y) FROM u)) = 1", ("t", "u")),
    ("SELECT x FROM t LIMIT (SELECT n FROM u)", ("t", "u")),
    ("SELECT * FROM a JOIN b USING (x) LEFT JOIN c ON b.y = c.y", ("a", "b", "c")),
    ("SELECT * FROM a ASOF JOIN b ON a.t >= b.t", ("a", "b")),
    ("SELECT * FROM a POSITIONAL JOIN b, c SEMI JOIN d USING (x)", ("a", "b", "c", "d")),
    ("SELECT * FROM a, LATERAL (SELECT * FROM b WHERE b.x = a.x)", ("a", "b")),
    ("SELECT * FROM t, unnest(t.items) AS i(x)", ("t",)),
    ("SELECT * FROM range(3), generate_series(1, 3), repeat(1, 2)", ()),
    ("SELECT * FROM t, json_each(t.j), json_tree(t.j)", ("t",)),
    ("SELECT * FROM range((SELECT max(x) FROM t))", ("t",)),
    ("SELECT * FROM a UNION SELECT * FROM b EXCEPT SELECT * FROM c INTERSECT FROM d", ("a", "b", "c", "d")),
    ("SELECT * FROM a UNION BY NAME SELECT * FROM b", ("a", "b")),
    ("SELECT * FROM t TABLESAMPLE 10%", ("t",)),
    ("SELECT * EXCLUDE (x) REPLACE ((SELECT 1 FROM u) AS y) FROM t", ("u", "t")),
    ("SELECT COLUMNS(c -> c LIKE 'a%') FROM t", ("t",)),
    ("SELECT list_transform([1], lambda x: x + (SELECT max(y) FROM u))", ("u",)),
    ("SELECT CASE WHEN x THEN (SELECT 1 FROM a) ELSE (SELECT 2 FROM b) END FROM t", ("a", "b", "t")),
    ("SELECT count(*) FILTER (x > (SELECT 1 FROM u)) FROM t", ("u", "t")),
    ("SUMMARIZE t", ("t",)),
    ("DESCRIBE a.b", ("a.b",)),
    ("SELECT * FROM (SUMMARIZE SELECT * FROM t)", ("t",)),
    ("SELECT * FROM t PIVOT (sum(x) FOR y IN (1, 2))", ("t",)),
    ("PIVOT t ON y IN (1, 2) USING sum(x)", ("t",)),
    ("UNPIVOT t ON a, b", ("t",)),
    ("SELECT 't' AS u, \"from\" FROM t /* FROM w */ -- FROM z", ("t",)),
    ("SELECT * FROM schön.tür", ("schön.tür",)),
    ("WITH p AS (PIVOT t ON y IN (1) USING sum(x)) SELECT * FROM p JOIN u USING (k)", ("t", "u")),
    ("PIVOT (FROM t, LATERAL range(t.a) r(i)) ON y IN (1) USING sum((SELECT max(z) FROM u))", ("t", "u")),
    # DuckDB folds only A to Z: a CTE does not hide a name that differs from its own in the case of another letter.
    ('WITH "duc\u212adb_views" AS (SELECT 1) SELECT sql FROM duckdb_views', ("duckdb_views",)),
    ('WITH "ä" AS (SELECT 1) SELECT * FROM "Ä"', ("Ä",)),
    ('WITH "ä" AS (SELECT 1) SELECT * FROM "ä"', ()),
    ('WITH "i\u0307" AS (SELECT 1) SELECT * FROM "İ"', ("İ",)),
    ('WITH RECURSIVE "K" AS (SELECT 1 a UNION ALL SELECT a FROM "\u212a") FROM k', ("\u212a",)),
    ('WITH RECURSIVE "\u212a" AS (SELECT 1 a UNION ALL FROM recurring.k) FROM "\u212a"', ("recurring.k",)),
    ('SELECT * FROM "ä", "Ä", a, A', ("ä", "Ä", "a")),
    # Only the second half of a recursive CTE sees its rows so far as `recurring`; elsewhere that is a namespace.
    ("WITH x AS (SELECT 1) SELECT * FROM recurring.x", ("recurring.x",)),
    ("WITH RECURSIVE x AS (SELECT 1 a UNION ALL SELECT a + 1 FROM x WHERE a < 3) FROM recurring.x", ("recurring.x",)),
    ("WITH RECURSIVE x(a, b) USING KEY (a) AS (FROM recurring.x UNION FROM x) FROM x", ("recurring.x",)),
    ("WITH RECURSIVE x(a, b) USING KEY (a) AS (SELECT 1, 1 UNION FROM r.recurring.x) FROM x", ("r.recurring.x",)),
]


@pytest.mark.parametrize(("sql", "names"), READS)
async def test_every_table_that_a_statement_reads_is_found(
    engine: WholeEngine, sql: str, names: tuple[str, ...]
) -> None:
    found = await engine.analyzer.references(sql)
    assert sorted(found) == sorted(names)
    if "PIVOT" not in sql:
        assert found == names


ONE_SELECT = "Invalid query: a view is one SELECT statement; this is "
FROM_DATA = "this PIVOT takes its columns from the data. List the values: PIVOT ... ON column IN (...)."
REFUSED = [
    ("INSERT INTO t VALUES (1)", ONE_SELECT + "INSERT."),
    ("UPDATE t SET x = 1", ONE_SELECT + "UPDATE."),
    ("DELETE FROM t", ONE_SELECT + "DELETE."),
    ("CREATE TABLE t AS SELECT 1", ONE_SELECT + "CREATE."),
    ("CREATE OR REPLACE VIEW v AS SELECT 1", ONE_SELECT + "CREATE."),
    ("CREATE SECRET s (TYPE s3)", ONE_SELECT + "CREATE."),
    ("DROP TABLE t", ONE_SELECT + "DROP."),
    ("ALTER TABLE t ADD COLUMN x INT", ONE_SELECT + "ALTER."),
    ("COPY (SELECT 1) TO '/tmp/x'", ONE_SELECT + "COPY."),
    ("EXPORT DATABASE '/tmp/x'", ONE_SELECT + "EXPORT."),
    ("ATTACH '/tmp/x'", ONE_SELECT + "ATTACH."),
    ("DETACH x", ONE_SELECT + "DETACH."),
    ("USE x", ONE_SELECT),
    ("SET threads = 1", ONE_SELECT),
    ("RESET threads", ONE_SELECT),
    ("SET VARIABLE x = 1", ONE_SELECT),
    ("PRAGMA table_info('t')", ONE_SELECT + "PRAGMA."),
    ("PRAGMA database_size", ONE_SELECT),
    ("CALL pragma_version()", ONE_SELECT + "CALL."),
    ("LOAD httpfs", ONE_SELECT + "LOAD."),
    ("INSTALL httpfs", ONE_SELECT + "LOAD."),
    ("EXPLAIN SELECT 1", ONE_SELECT + "EXPLAIN."),
    ("EXPLAIN ANALYZE SELECT 1", ONE_SELECT + "EXPLAIN."),
    ("PREPARE p AS SELECT 1", ONE_SELECT + "PREPARE."),
    ("EXECUTE p", ONE_SELECT + "EXECUTE."),
    ("BEGIN", ONE_SELECT + "TRANSACTION."),
    ("VACUUM", ONE_SELECT + "VACUUM."),
    ("CHECKPOINT", ONE_SELECT),
    ("SELECT 1; SELECT 2", "Invalid query: a view is exactly one statement; this text has 2."),
    ("SELECT 1; DROP VIEW v;", "this text has 2."),
    ("CREATE TYPE e AS ENUM ('a'); SELECT 1", "this text has 2."),
    ("PIVOT t ON x USING sum(y); SELECT 1", "this text has 2."),
    ("SELECT 1) AS a; COPY (SELECT 2", 'Invalid query: Parser Error: syntax error at or near ")"'),
    ("SELECT 1) AS a, (SELECT 2", "Parser Error"),
    ("SELECT 1 /*", "Invalid query: "),
    ("SELEC 1", 'Invalid query: Parser Error: syntax error at or near "SELEC"'),
    ("SELECT * FROM a.b.c.d", "Parser Error"),
    ("WITH x AS (INSERT INTO t VALUES (1)) SELECT 1", "Parser Error: A CTE needs a SELECT"),
    ("WITH x AS (COPY (SELECT 1) TO '/tmp/x') SELECT 1", "Parser Error"),
    ("SELECT 1 INTO t", "SELECT INTO not supported"),
    ("", "Invalid query: the text holds no statement."),
    ("-- nothing", "Invalid query: the text holds no statement."),
    ("SELECT ?", "Invalid query: a view has no parameters; write the values themselves."),
    ("SELECT $1", "parameters"),
    ("SELECT $name", "parameters"),
    ("SELECT '\0'", "NUL"),
    ("SELECT '\ud800'", "not valid Unicode"),
    ("SELECT '" + "x" * 200_000 + "'", "the text is longer than 200,000 bytes."),
    ("SHOW TABLES", "SHOW and DESCRIBE of the catalog are not allowed in a view."),
    ("SHOW DATABASES", "not allowed in a view"),
    ("SHOW ALL TABLES", "not allowed in a view"),
    ("SHOW TABLES FROM main", "not allowed in a view"),
    ("DESCRIBE", "not allowed in a view"),
    ("SELECT * FROM (SHOW TABLES)", "not allowed in a view"),
    (
        "SELECT * FROM read_parquet('/etc/passwd')",
        "read_parquet() is not allowed in a view. Files are read under a name: `matview table add NAME 'PATTERN'`",
    ),
    ("SELECT * FROM read_csv('/etc/passwd')", "read_csv() is not allowed"),
    ("SELECT * FROM READ_TEXT('/etc/passwd')", "is not allowed"),
    ("SELECT * FROM parquet_metadata('x')", "parquet_metadata() is not allowed in a view."),
    ("SELECT * FROM glob('/*')", "glob() is not allowed"),
    ("SELECT * FROM query('SELECT 1')", "query() is not allowed"),
    ("SELECT * FROM query_table('t')", "query_table() is not allowed"),
    ("SELECT * FROM histogram('t', x)", "histogram() is not allowed"),
    ("SELECT * FROM duckdb_settings()", "duckdb_settings() is not allowed"),
    ("SELECT * FROM duckdb_secrets()", "is not allowed"),
    ("SELECT * FROM sniff_csv('x')", "is not allowed"),
    ("SELECT * FROM json_execute_serialized_sql('{}')", "is not allowed"),
    ("SELECT (SELECT content FROM read_text('/etc/passwd'))", "read_text() is not allowed"),
    ("WITH x AS (FROM read_blob('x')) SELECT 1", "read_blob() is not allowed"),
    ("PIVOT (FROM read_csv('x')) ON a IN (1) USING sum(b)", "read_csv() is not allowed"),
    ("PIVOT (FROM LATERAL duckdb_settings() x) ON name IN ('a') USING max(value)", "duckdb_settings() is not allowed"),
    ("SELECT * FROM t, LATERAL duckdb_settings() x", "duckdb_settings() is not allowed"),
    ("PIVOT t ON a IN (1) USING max(current_setting('x'))", "current_setting() is not allowed"),
    ("PIVOT t ON y USING sum(x)", FROM_DATA),
    ("PIVOT a.b.c ON y USING sum(x) GROUP BY g;", FROM_DATA),
    ('FROM (PIVOT "a.b" ON y USING sum(x)) ORDER BY 1', FROM_DATA),
    ("WITH p AS (PIVOT t ON y USING sum(x)) SELECT * FROM p JOIN u USING (k)", FROM_DATA),
    ("PIVOT t ON y IN (SELECT a FROM u) USING sum(x)", FROM_DATA),
    ("PIVOT (FROM LATERAL duckdb_settings() x) ON name USING max(value)", FROM_DATA),
    ("SELECT current_setting('temp_directory')", "the function current_setting() is not allowed in a view."),
    ("SELECT write_log('x')", "write_log() is not allowed"),
]


@pytest.mark.parametrize(("sql", "message"), REFUSED, ids=[sql[:60] for sql, _ in REFUSED])
async def test_whatever_is_not_one_harmless_select_is_refused(engine: WholeEngine, sql: str, message: str) -> None:
    with pytest.raises(InvalidQuery) as raised:
        await engine.analyzer.references(sql)
    assert message in raised.value.message
    assert raised.value.message.startswith("Invalid query: ")
    assert "LINE" not in raised.value.message
    assert raised.value.attr == "query"


UNFIT = [
    "current_query",
    "current_setting",
    "format_type",
    "get_block_size",
    "getvariable",
    "json_deserialize_sql",
    "json_execute_serialized_sql",
    "json_serialize_plan",
    "pg_get_constraintdef",
    "pg_get_viewdef",
    "pg_sleep",
    "sleep_ms",
    "which_secret",
    "write_log",
]


@pytest.mark.parametrize("place", [
    "SELECT {}(x) FROM t",
    "SELECT main.{}(x) FROM t",
    "SELECT system.main.{}(x) FROM t",
    "SELECT pg_catalog.{}(x) FROM t",
    "SELECT x.{}() FROM t",
    "SELECT list_transform([1], lambda x: {}(x))",
    "SELECT [{}(x) FOR x IN [1]]",
    "SELECT {}(x) OVER () FROM t",
    "SELECT sum({}(x)) FILTER ({}(x)) OVER (ORDER BY {}(x)) FROM t",
    "SELECT * REPLACE ({}(x) AS x) FROM t",
    "SELECT COLUMNS(lambda c: {}(c)) FROM t",
    "FROM t JOIN u ON {}(x)",
    "FROM t ORDER BY {}(x)",
    "SELECT 1 LIMIT {}(x)",
    "FROM range({}(x))",
    "VALUES ({}(x))",
    "SUMMARIZE SELECT {}(x) FROM t",
    "PIVOT t ON {}(x) IN (1) USING sum(x)",
])  # fmt: skip
async def test_a_function_that_tells_about_the_server_or_only_waits_is_refused_wherever_it_stands(
    engine: WholeEngine, place: str
) -> None:
    for name in UNFIT:
        for spelled in (name, f'"{name.upper()}"'):
            with pytest.raises(InvalidQuery) as raised:
                await engine.analyzer.references(place.replace("{}", spelled))
            assert raised.value.message == f"Invalid query: the function {name}() is not allowed in a view."


async def test_deep_nesting_is_analysed(engine: WholeEngine) -> None:
    assert await engine.analyzer.references("SELECT " + "+".join(["x"] * 900) + " FROM t") == ("t",)
    unions = " UNION ALL ".join(f"SELECT * FROM t{n}" for n in range(300))
    assert await engine.analyzer.references(unions) == tuple(f"t{n}" for n in range(300))


async def test_absurdly_deep_nesting_is_an_invalid_query(engine: WholeEngine) -> None:
    with pytest.raises(InvalidQuery):
        await engine.analyzer.references("SELECT " + "(" * 50_000 + "1" + ")" * 50_000)
