"""Every type of PostgreSQL as views read it, with the values that are easily lost."""

import json

import pytest

from tests.database_sources.conftest import Schema, add, rows_of
from tests.support.tenants import Tenant

# The type, a value as SQL, the type in DuckDB, and the value as DuckDB writes it as text.
VALUES = [
    ("boolean", "true", "BOOLEAN", "true"),
    ("smallint", "-32768", "SMALLINT", "-32768"),
    ("integer", "2147483647", "INTEGER", "2147483647"),
    ("bigint", "-9223372036854775808", "BIGINT", "-9223372036854775808"),
    ("oid", "4294967295", "BIGINT", "4294967295"),
    ("real", "1.5", "FLOAT", "1.5"),
    ("real", "'NaN'", "FLOAT", "nan"),
    ("double precision", "'-Infinity'", "DOUBLE", "-inf"),
    ("double precision", "0.1", "DOUBLE", "0.1"),
    ("numeric(10,2)", "-12345678.90", "DECIMAL(10,2)", "-12345678.90"),
    ("numeric(38,0)", "'99999999999999999999999999999999999999'", "DECIMAL(38,0)", "9" * 38),
    ("numeric", "'123456789012345678901234567890123456789012345.678'", "VARCHAR", f"{'1234567890' * 4}12345.678"),
    ("numeric", "'NaN'", "VARCHAR", "NaN"),
    ("numeric(50,2)", "1.5", "VARCHAR", "1.50"),
    ("text", "E'a\\nb''c\"\\\\ü€😀'", "VARCHAR", "a\nb'c\"\\ü€😀"),
    ("varchar(5)", "''", "VARCHAR", ""),
    ("char(5)", "'ab'", "VARCHAR", "ab"),
    ("bytea", "'\\x00ff41'", "BLOB", "\\x00\\xFFA"),
    ("date", "'0044-03-15 BC'", "DATE", "0044-03-15 (BC)"),
    ("date", "'infinity'", "DATE", "infinity"),
    ("date", "'-infinity'", "DATE", "-infinity"),
    ("time", "'24:00:00'", "TIME", "24:00:00"),
    ("time", "'01:02:03.456789'", "TIME", "01:02:03.456789"),
    ("timetz", "'01:02:03+05'", "VARCHAR", "01:02:03+05"),
    ("timestamp", "'2024-02-29 23:59:59.999999'", "TIMESTAMP", "2024-02-29 23:59:59.999999"),
    ("timestamp", "'infinity'", "TIMESTAMP", "infinity"),
    ("timestamp", "'-infinity'", "TIMESTAMP", "-infinity"),
    ("timestamp", "'4713-01-01 00:00:00 BC'", "TIMESTAMP", "4713-01-01 (BC) 00:00:00"),
    ("timestamptz", "'2024-07-01 12:00:00+02'", "TIMESTAMP WITH TIME ZONE", "2024-07-01 10:00:00+00"),
    ("timestamptz", "'infinity'", "TIMESTAMP WITH TIME ZONE", "infinity"),
    ("interval", "'1 mon 2 days 03:04:05.6'", "VARCHAR", "1 mon 2 days 03:04:05.6"),
    ("uuid", "'6ecd8c99-4036-403d-bf84-cf8400f67836'", "UUID", "6ecd8c99-4036-403d-bf84-cf8400f67836"),
    ("json", "'{\"a\": [1, null]}'", "VARCHAR", '{"a": [1, null]}'),
    ("jsonb", '\'{"b":1,"a":"ü"}\'', "VARCHAR", '{"a": "ü", "b": 1}'),
    ("integer[]", "'{{1,2},{3,NULL}}'", "VARCHAR", "[[1,2],[3,null]]"),
    ("text[]", "array['a,b', '\"']", "VARCHAR", '["a,b","\\""]'),
    ("inet", "'192.168.0.1/24'", "VARCHAR", "192.168.0.1/24"),
    ("int4range", "'[1,5)'", "VARCHAR", "[1,5)"),
    ("money", "'12.34'", "VARCHAR", "$12.34"),
    ("bit(3)", "B'101'", "VARCHAR", "101"),
    ("point", "'(1,2)'", "VARCHAR", "(1,2)"),
    ("mood", "'happy'", "VARCHAR", "happy"),
    ("positive", "7", "INTEGER", "7"),
    ("price", "1.5", "DECIMAL(6,2)", "1.50"),
    ("pair", "ROW(1, 'x')", "VARCHAR", '{"a":1,"b":"x"}'),
]


async def test_values_of_every_type_are_read_as_they_are(tenant: Tenant, schema: Schema) -> None:
    await schema.run(
        "CREATE TYPE mood AS ENUM ('sad', 'happy')",
        "CREATE DOMAIN positive AS integer CHECK (value > 0)",
        "CREATE DOMAIN price AS numeric(6,2)",
        "CREATE TYPE pair AS (a integer, b text)",
    )
    columns = ", ".join(f"c{number} {kind}" for number, (kind, *_) in enumerate(VALUES))
    values = ", ".join(f"CAST({value} AS {kind})" for kind, value, *_ in VALUES)
    await schema.create("t", f"n integer, {columns}")
    await schema.run(f"INSERT INTO t SELECT 1, {values}", "INSERT INTO t VALUES (2)")
    table = await add(tenant, schema, "t")
    found = {column["name"]: column["duckdb_type"] for column in table["columns"]}
    assert found == {"n": "INTEGER", **{f"c{number}": kind for number, (_, _, kind, _) in enumerate(VALUES)}}
    chosen = ", ".join(f"c{number}::VARCHAR AS c{number}" for number in range(len(VALUES)))
    view = await tenant.materialized("v", f"SELECT n, {chosen} FROM t")
    assert (await tenant.history(view["id"]))[0]["error"] is None
    first, second = await rows_of(tenant, "SELECT * FROM v ORDER BY n")
    expected = [shown for *_, shown in VALUES]
    assert dict(zip(VALUES, first[1:], strict=True)) == dict(zip(VALUES, expected, strict=True))
    assert second == [2, *([None] * len(VALUES))]


async def test_a_type_may_be_stated_for_what_comes_as_text(tenant: Tenant, schema: Schema) -> None:
    await schema.create("t", "n numeric, m numeric(6,2), i interval, a integer[]", "(1.25, 'NaN', '2 days', '{1,2}')")
    stated = [("n", "DECIMAL(18,4)"), ("m", "DOUBLE"), ("i", "INTERVAL"), ("a", "INTEGER[]")]
    columns = [{"name": name, "type": kind, "stated": True} for name, kind in stated]
    await add(tenant, schema, "t", columns=columns)
    view = await tenant.materialized("v", "SELECT n + 1 AS n, m, i * 2 AS i, a[2] AS a FROM t")
    assert (await tenant.history(view["id"]))[0]["error"] is None
    found = await rows_of(tenant, "SELECT n::VARCHAR, m::VARCHAR, i::VARCHAR, a FROM v")
    assert found == [["2.2500", "nan", "4 days", 2]]
    wrong = {"columns": [{"name": "nope", "type": "INTEGER", "stated": True}]}
    table = (await tenant.call("GET", "/warehouse_tables/"))["results"][0]
    refused = await tenant.error("PATCH", f"/warehouse_tables/{table['id']}/", wrong, status=400)
    assert (refused["attr"], "nope" in refused["detail"]) == ("columns", True)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("numeric(6,2)", "'NaN'", "State another type for it"),
        ("timestamp", "'294276-12-31'", "has a time after the year 294246"),
    ],
)
async def test_a_value_that_no_type_holds_fails_the_run_and_names_the_column(
    tenant: Tenant, schema: Schema, kind: str, value: str, said: str
) -> None:
    await schema.create("t", f"n integer, x {kind}", f"(1, {value})")
    await add(tenant, schema, "t")
    view = await tenant.materialized("v", "SELECT * FROM t")
    (run,) = await tenant.history(view["id"])
    assert run["status"] == "Failed"
    assert 'Source table "t": the column "x" has a' in run["error"]
    assert said in run["error"]


async def test_names_that_need_quotes_are_read(tenant: Tenant, schema: Schema) -> None:
    await schema.run(
        'CREATE TABLE "Odd ""name""; DROP" ("select" integer, "a b" text, "ü" text, "it\'s \\" text)',
        """INSERT INTO "Odd ""name""; DROP" VALUES (1, 'x', 'y', 'z')""",
        'GRANT SELECT ON "Odd ""name""; DROP" TO reader',
    )
    await add(tenant, schema, "odd", "Odd%20%22name%22%3B%20DROP")
    view = await tenant.materialized("v", 'SELECT "select", "a b", "ü", "it\'s \\" FROM odd')
    assert (await tenant.history(view["id"]))[0]["error"] is None
    assert await rows_of(tenant, "SELECT * FROM v") == [[1, "x", "y", "z"]]
    assert json.dumps((await tenant.history(view["id"]))[0])
