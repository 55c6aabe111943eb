"""Values of every type that a snapshot can hold, and a DuckDB connection with the time zone of the engine's."""

import duckdb

NINES = "9" * 38
LARGEST = "170141183460469231731687303715884105727"
SMALLEST = "-170141183460469231731687303715884105728"
LARGEST_UNSIGNED = "340282366920938463463374607431768211455"

# The extreme values of every type of DuckDB's that a snapshot can hold, by the type that the files store.
VALUES = {
    "BOOLEAN": ["true", "NULL::BOOLEAN"],
    "TINYINT": ["(-128)::TINYINT"],
    "SMALLINT": ["(-32768)::SMALLINT"],
    "INTEGER": ["(-2147483648)::INTEGER"],
    "BIGINT": ["(-9223372036854775807 - 1)::BIGINT"],
    "UTINYINT": ["255::UTINYINT"],
    "USMALLINT": ["65535::USMALLINT"],
    "UINTEGER": ["4294967295::UINTEGER"],
    "UBIGINT": ["18446744073709551615::UBIGINT"],
    "DECIMAL(38,0)": [
        f"{NINES}::HUGEINT",
        f"-{NINES}::HUGEINT",
        "0::HUGEINT",
        "NULL::HUGEINT",
        f"{NINES}::DECIMAL(38)",
    ],
    "FLOAT": ["'nan'::FLOAT", "'-inf'::FLOAT", "-0.0::FLOAT", "1e-45::FLOAT", "3.4028235e38::FLOAT"],
    "DOUBLE": ["'nan'::DOUBLE", "'inf'::DOUBLE", "-0.0::DOUBLE", "5e-324::DOUBLE", "0.1::DOUBLE + 0.2"],
    "DECIMAL(4,1)": ["-999.9::DECIMAL(4,1)"],
    "DECIMAL(9,9)": ["-0.999999999::DECIMAL(9,9)"],
    "DECIMAL(18,3)": ["'999999999999999.999'::DECIMAL(18,3)"],
    "DECIMAL(38,38)": [f"'0.{NINES}'::DECIMAL(38,38)"],
    "VARCHAR": [
        "''",
        "chr(0) || 'é' || chr(128512)",
        f"{LARGEST_UNSIGNED}::UHUGEINT",
        "0::UHUGEINT",
        "md5_number('a')",
        "NULL::UHUGEINT",
        "repeat('9', 400)::BIGNUM",
        "('-' || repeat('9', 41))::BIGNUM",
        "'0'::BIT",
        "'1111111100000000101'::BIT",
        "'it''s'::ENUM('a,b', 'c)', 'it''s')",
        "NULL::ENUM('a')",
        "INTERVAL '1 year -30 days 25 hours 0.000001 seconds'",
        "to_months((-2147483648)::INTEGER)",
        "to_days(2147483647)",
        "to_microseconds(9223372036854775807)",
        "to_microseconds(-9223372036854775807 - 1) + to_months(-25) + to_days(-3)",
        "INTERVAL 0 SECONDS",
        "NULL::INTERVAL",
        "'24:00:00+15:59:59'::TIMETZ",
        "'00:00:00-15:59:59'::TIMETZ",
        "'10:00:00.000001+00:00:01'::TIMETZ",
        "'10:00:00-05:00:30'::TIMETZ",
        "'10:00:00+05:30'::TIMETZ",
        "NULL::TIMETZ",
        "'24:00:00'::TIME_NS",
        "'23:59:59.999999999'::TIME_NS",
    ],
    "JSON": ["'{\"a\": [1.10]}'::JSON", "'null'::JSON"],
    "UUID": ["'ffffffff-ffff-ffff-ffff-ffffffffffff'::UUID", "'00000000-0000-0000-0000-000000000000'::UUID"],
    "BLOB": ["''::BLOB", "'\\x00\\xFF'::BLOB"],
    "DATE": ["'infinity'::DATE", "'-infinity'::DATE", "'5877642-06-25 (BC)'::DATE", "'5881580-07-10'::DATE"],
    "TIME": ["'24:00:00'::TIME", "'00:00:00.000001'::TIME"],
    "TIMESTAMP": [
        "'-infinity'::TIMESTAMP",
        "'290309-12-22 (BC) 00:00:00'::TIMESTAMP",
        "'294247-01-10 04:00:54.775806'::TIMESTAMP",
        "'infinity'::TIMESTAMP_S",
        "'-infinity'::TIMESTAMP_S",
        "'290309-12-22 (BC) 00:00:00'::TIMESTAMP_S",
        "'294247-01-10 04:00:54'::TIMESTAMP_S",
        "NULL::TIMESTAMP_S",
        "'infinity'::TIMESTAMP_MS",
        "'-infinity'::TIMESTAMP_MS",
        "'294247-01-10 04:00:54.775'::TIMESTAMP_MS",
    ],
    "TIMESTAMP WITH TIME ZONE": ["'infinity'::TIMESTAMPTZ", "'290309-12-22 (BC) 00:00:00+00'::TIMESTAMPTZ"],
    "TIMESTAMP_NS": [
        "'infinity'::TIMESTAMP_NS",
        "'1677-09-22 00:00:00.000000001'::TIMESTAMP_NS",
        "'2262-04-11 23:47:16.854775806'::TIMESTAMP_NS",
    ],
    "GEOMETRY('OGC:CRS84')": ["'POINT (0.1 -1e-300)'::GEOMETRY", "'POLYGON EMPTY'::GEOMETRY('OGC:CRS84')"],
    "INTEGER[]": ["[]", "[NULL]", "NULL::INTEGER[]", "[1, NULL, 2]::INTEGER[3]", "NULL::INTEGER[3]"],
    "STRUCT(a INTEGER)": ["{'a': NULL}", "NULL::STRUCT(a INTEGER)"],
    "STRUCT(v1 INTEGER, v2 VARCHAR)": ["row(1, 'x')", "row(NULL, 'x')"],
    "STRUCT(v1 STRUCT(v1 DECIMAL(38,0)), v2 VARCHAR[])": ["row(row(1::HUGEINT), [to_days(1)])"],
    'STRUCT("a b" VARCHAR, "q""" STRUCT("time" VARCHAR))': [
        "{'a b': 'x'::ENUM('x'), 'q\"': {'time': '12:00:00+01'::TIMETZ}}"
    ],
    "MAP(INTEGER, INTEGER)": ["MAP {}", "MAP {1: NULL}", "NULL::MAP(INTEGER, INTEGER)"],
    "MAP(VARCHAR, STRUCT(v1 BIGINT)[])": ["MAP {'x'::ENUM('x'): [row(1::BIGINT), NULL]}"],
}
FLAT = [(stored, value) for stored, values in VALUES.items() for value in values]


def in_utc() -> duckdb.DuckDBPyConnection:
    """Plain DuckDB, in the time zone of the engine's sessions."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    return connection
