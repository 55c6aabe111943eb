"""The result of each of DuckDB's functions keeps its value and type, or the view is refused when it is saved.

`MATVIEW_FUZZ_PAIRS` says how many of the two thousand signatures are tried, and `MATVIEW_FUZZ_SEED` which.
"""

import re
from pathlib import Path
from random import Random

import duckdb
import pytest

from orchestrator.engines.duckdb.sql.allowed_functions import check_function
from orchestrator.model.errors import InvalidQuery
from tests.engines.conftest import WholeEngine, snapshot, view
from tests.engines.duckdb.values import in_utc
from tests.fuzz.test_views_over_views import PAIRS, SEED, observed, written
from tests.fuzz.views import is_untyped

ARGUMENTS = [
    *(
        "3",
        "'a'",
        "'2020-02-29'",
        "1.5::DOUBLE",
        "2.5",
        "true",
        "7::HUGEINT",
        "9::UHUGEINT",
        "5::BIGNUM",
        "2::UTINYINT",
    ),
    *("'{\"a\": [1, 2]}'::JSON", "'$.a'", "'%Y'", "'day'", "'101'::BIT", "'ab'::BLOB", "[3, 1, 2]", "['b', 'a']"),
    *("[1.5::DOUBLE, 2]::DOUBLE[2]", "{'a': 1, 'b': 'x'}", "row(1, 'x')", "MAP {'a': 1}", "'b'::ENUM('a', 'b')"),
    *("DATE '2020-02-29'", "TIME '01:02:03'", "'01:02:03+01'::TIMETZ", "'01:02:03.000000004'::TIME_NS"),
    *("TIMESTAMP '2020-02-29 01:02:03'", "'2020-02-29 01:02:03'::TIMESTAMPTZ", "'2020-02-29 01:02:03'::TIMESTAMP_S"),
    *("'2020-02-29 01:02:03.004'::TIMESTAMP_MS", "'2020-02-29 01:02:03.000000004'::TIMESTAMP_NS", "INTERVAL '1 month'"),
    *(
        "'OGC:CRS84'",
        "'9e107d9d-372b-4b6c-8a1d-000000000000'::UUID",
        "'POINT (1 2)'::GEOMETRY",
        "[[1::HUGEINT], []]",
        "1::TINYINT",
    ),
    *("4::UBIGINT", "4::USMALLINT", "4::UINTEGER", "4::SMALLINT", "4::BIGINT", "1.5::FLOAT", "[true]", "[5::HUGEINT]"),
]
# These depend on time, on chance or on the session, or only wait.
_PASSED_OVER = (
    "random",
    "uuid",
    "now",
    "current",
    "time_",
    "age",
    "txid",
    "nextval",
    "currval",
    "sleep",
    "error",
    "local",
)
_TRIES, _AT_ONCE = 4, 60
_REFUSED = re.compile(r"UNION|VARIANT|TYPE|GEOMETRY\('(?!OGC:CRS84)")


def calls(connection: duckdb.DuckDBPyConnection, random: Random) -> list[str]:
    """Calls of every function that plain DuckDB can run, for each kind of arguments that it is listed with."""
    by_type: dict[str, list[str]] = {}
    for value in ARGUMENTS:
        by_type.setdefault(str(connection.sql(f"SELECT {value} AS x").types[0]), []).append(value)
    listed = connection.execute(
        "SELECT DISTINCT function_name, parameter_types FROM duckdb_functions() WHERE function_type IN ('scalar',"
        " 'aggregate', 'macro') AND len(parameters) <= 4 AND function_name ~ '^[a-z_0-9]+$' ORDER BY ALL"
    ).fetchall()
    listed = random.sample(listed, min(PAIRS, len(listed)))
    found: list[str] = []
    for name, types in listed:
        if not name.startswith(_PASSED_OVER) and _is_allowed(name):
            choices = [by_type.get(kind or "", ARGUMENTS) for kind in types]
            tries = (f'"{name}"({", ".join(map(random.choice, choices))})' for _ in range(_TRIES))
            found += [call for call in tries if _always_the_same(connection, call)][:2]
    return list(dict.fromkeys(found))


def _is_allowed(name: str) -> bool:
    try:
        check_function(name)
    except InvalidQuery:
        return False
    return True


def _always_the_same(connection: duckdb.DuckDBPyConnection, call: str) -> bool:
    try:
        first, second = (connection.execute(f"SELECT {call}::VARCHAR").fetchall() for _ in range(2))
        return first == second and not is_untyped(connection, f"SELECT {call} AS x")
    except duckdb.Error:
        return False


async def taken(engine: WholeEngine, connection: duckdb.DuckDBPyConnection, tried: list[str]) -> list[str]:
    """The calls whose result a view may have: all but those of a type that is refused."""
    found: list[str] = []
    for start in range(0, len(tried), _AT_ONCE):
        batch = tried[start : start + _AT_ONCE]
        views = [(f"c{n}", f"SELECT {call} AS x", ()) for n, call in enumerate(batch)]
        described = await engine.analyzer.describe_each(views, {})
        for call, columns in zip(batch, described, strict=True):
            kind = str(connection.sql(f"SELECT {call} AS x").types[0])
            assert isinstance(columns, InvalidQuery) == bool(_REFUSED.search(kind)), (call, kind)
            found += [] if isinstance(columns, InvalidQuery) else [call]
    return found


async def _both_ways(engine: WholeEngine, folder: Path, sql: str, seen: str) -> list[tuple[object, ...]]:
    stored = await written(engine, folder, sql, [])
    relations = (view("v", sql), snapshot("v", stored.folder, stored.written))
    return [(await written(engine, folder, f"SELECT {seen} FROM v", [one])).rows()[0] for one in relations]


@pytest.mark.timeout(900)
async def test_what_every_function_gives_is_kept_or_refused(engine: WholeEngine, tmp_path: Path) -> None:
    differing: list[str] = []
    with in_utc() as connection:
        storable = await taken(engine, connection, calls(connection, Random(SEED)))  # noqa: S311 - no secret
        for start in range(0, len(storable), _AT_ONCE):
            batch = storable[start : start + _AT_ONCE]
            names = [f"c{n}" for n in range(len(batch))]
            sql = "SELECT " + ", ".join(f"{call} AS {name}" for call, name in zip(batch, names, strict=True))
            connection.execute(f"CREATE OR REPLACE VIEW v AS {sql}")
            expected = connection.execute(f"SELECT {observed(names)} FROM v").fetchone() or ()
            for found in await _both_ways(engine, tmp_path, sql, observed(names)):
                differing += [
                    f"{batch[n // 3]}: {a} instead of {b}"
                    for n, (a, b) in enumerate(zip(found, expected, strict=True))
                    if a != b
                ]
    assert len(storable) > min(PAIRS, 1500) // 2
    assert not differing, "\n".join(differing)
