"""The rules of a view's columns: the name of each of DuckDB's types, and the order of the columns."""

from tests.support.tenants import Tenant

# An expression, PostHog's name for its type, and DuckDB's own, which the next view sees however the files store it.
TYPES = [
    *[(f"1::{name}", "integer", name) for name in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")],
    *[
        (f"1::{name}", "integer", name)
        for name in ("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT", "UHUGEINT")
    ],
    *[(f"1::{name}", "float", name) for name in ("FLOAT", "DOUBLE")],
    *[(f"1::{name}", "decimal", name) for name in ("DECIMAL(4,1)", "DECIMAL(38,10)")],
    ("'a'", "string", "VARCHAR"),
    ("'a'::BLOB", "string", "BLOB"),
    ("'101'::BIT", "string", "BIT"),
    ("'a'::ENUM('a', 'b]')", "string", "ENUM('a', 'b]')"),
    ("true", "boolean", "BOOLEAN"),
    ("DATE '2020-01-02'", "date", "DATE"),
    ("TIMESTAMP '2020-01-02 03:04:05'", "datetime", "TIMESTAMP"),
    ("'2020-01-02 03:04:05'::TIMESTAMPTZ", "datetime", "TIMESTAMP WITH TIME ZONE"),
    ("'2020-01-02 03:04:05'::TIMESTAMP_NS", "datetime", "TIMESTAMP_NS"),
    ("'2020-01-02 03:04:05'::TIMESTAMP_S", "datetime", "TIMESTAMP_S"),
    ("TIME '03:04:05'", "time", "TIME"),
    ("TIMETZ '03:04:05+01'", "time", "TIME WITH TIME ZONE"),
    ("INTERVAL 1 DAY", "interval", "INTERVAL"),
    ("'9e107d9d-372b-4b6c-8a1d-000000000000'::UUID", "uuid", "UUID"),
    ("'{}'::JSON", "json", "JSON"),
    ("[1]", "array", "INTEGER[]"),
    ("[['a']]", "array", "VARCHAR[][]"),
    ("[1, 2]::INTEGER[2]", "array", "INTEGER[2]"),
    ("[{'a': 1}]", "array", "STRUCT(a INTEGER)[]"),
    ("{'a': [1]}", "tuple", "STRUCT(a INTEGER[])"),
    ("MAP {'a': 1}", "map", "MAP(VARCHAR, INTEGER)"),
    ("row(1, 'x')", "tuple", "STRUCT(INTEGER, VARCHAR)"),
    ("'POINT (1 2)'::GEOMETRY", "unknown", "GEOMETRY"),
]


async def test_every_type_has_posthogs_word_and_duckdbs_own_beside_it(tenant: Tenant) -> None:
    sql = "SELECT " + ", ".join(f"{sql} AS c{number}" for number, (sql, _, _) in enumerate(TYPES))
    view = await tenant.create_view("v", sql)
    reported = [(column["type"], column["duckdb_type"]) for column in view["columns"]]
    assert reported == [(word, own) for _, word, own in TYPES]


async def test_no_type_changes_when_the_view_is_materialized(tenant: Tenant) -> None:
    sql = "SELECT " + ", ".join(f"{sql} AS c{number}" for number, (sql, _, _) in enumerate(TYPES))
    before = await tenant.create_view("v", sql)
    await tenant.act(before["id"], "materialize")
    assert (await tenant.ended(before["id"]))["status"] == "Completed"
    assert (await tenant.view(before["id"]))["columns"] == before["columns"]
    over = await tenant.create_view("over", "SELECT * FROM v")
    assert over["columns"] == before["columns"]


async def test_columns_stand_in_select_order_with_every_field_of_the_contract(tenant: Tenant) -> None:
    view = await tenant.create_view("v", 'SELECT 1 AS zebra, \'x\' AS "Mäuse", NULL AS a, 2 AS "sp ace"')
    fixed = {"schema_valid": True, "fields": None, "table": None, "chain": None, "description": None}
    expected = [("zebra", "integer"), ("Mäuse", "string"), ("a", "integer"), ("sp ace", "integer")]
    assert [(column["name"], column["type"]) for column in view["columns"]] == expected
    for column in view["columns"]:
        reported = {field: value for field, value in column.items() if field not in {"type", "duckdb_type"}}
        assert reported == {"key": column["name"], "name": column["name"]} | fixed


async def test_columns_are_inferred_without_running_the_query(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT error('it was run') AS e, 1 AS n FROM range(1000000000000)")
    assert [column["name"] for column in view["columns"]] == ["e", "n"]
    assert await tenant.history(view["id"]) == []
