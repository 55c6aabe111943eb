"""Every type in every format: a reader gets the value that the query gave, or the query is refused."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.engines.duckdb.reader import DuckDBReader
from orchestrator.engines.duckdb.sql.parquet_casts import decoded
from orchestrator.model.errors import QueryFailed
from orchestrator.model.reading import ReadPlan, ResultFormat, ResultSummary
from tests.engines.conftest import LIMITS, file_url
from tests.engines.duckdb.test_types import NESTED, NESTINGS, chunks, selected
from tests.engines.duckdb.values import FLAT, LARGEST, in_utc

SCALARS = [value for _, value in FLAT]
# The JSON of each nesting, of which `{0}` is the JSON of the value inside. The last has the value's text as a key.
NESTED_JSON = [
    "[{0}, null]",
    '{{"f": {0}, "g": [{{"h": {0}}}]}}',
    '{{"v1": {0}, "v2": 1}}',
    '{{"k": {0}}}',
    "[{0}, null]",
    '[[{{"1": {{"v1": {0}}}}}]]',
    None,
]


@pytest.fixture(scope="module")
async def reader(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DuckDBReader]:
    reader = DuckDBReader(
        source_roots=[], private=[], temp_dir=tmp_path_factory.mktemp("types"), queries=2, of_project=1
    )
    yield reader
    await reader.close()


async def read(reader: DuckDBReader, sql: str, result_format: ResultFormat, **more: Any) -> tuple[bytes, ResultSummary]:
    plan = ReadPlan(sql=sql, relations=(), format=result_format, limits=LIMITS, timeout_seconds=60, **more)
    async with reader.session(1, None, LIMITS) as session, session.read(plan, file_url) as stream:
        found = b"".join([chunk async for chunk in stream.chunks()])
        assert stream.summary is not None
        return found, stream.summary


def assert_same(table: pa.Table, expressions: list[str], summary: ResultSummary) -> None:
    """Assert that each column, cast back to the type of its expression, has the expression's value."""
    with in_utc() as connection:
        connection.register("found", table)
        # A geometry is held, or at least read by pyarrow, as its well-known binary.
        kinds = [(c.name, c.duckdb_type) for c in summary.columns]
        geometries = [name for name, kind in kinds if kind.startswith("GEOMETRY") and not kind.endswith("]")]
        source = f"SELECT * REPLACE ({', '.join(f'ST_GeomFromWKB({n}) AS {n}' for n in geometries)}) FROM found"
        source = source if geometries else "FROM found"
        columns = [(c.name, c.duckdb_type, "as stored") for c in summary.columns]
        checks = ", ".join(f"c{n} IS NOT DISTINCT FROM ({e})" for n, e in enumerate(expressions))
        row = connection.execute(f"SELECT {checks} FROM ({decoded(source, columns)})").fetchone()
        assert row is not None
        wrong = [e for e, is_same in zip(expressions, row, strict=True) if not is_same]
        assert wrong == []


@pytest.mark.parametrize("expressions", chunks(SCALARS, 40) + chunks(NESTED, 120))
@pytest.mark.parametrize("result_format", [ResultFormat.ARROW, ResultFormat.PARQUET])
async def test_arrow_and_parquet_hold_every_value(
    reader: DuckDBReader, expressions: list[str], result_format: ResultFormat
) -> None:
    found, summary = await read(reader, selected(expressions), result_format)
    is_arrow = result_format is ResultFormat.ARROW
    table = pa.ipc.open_stream(found).read_all() if is_arrow else pq.read_table(io.BytesIO(found))
    assert table.num_rows == summary.rows == 1
    assert_same(table, expressions, summary)


def assert_same_text(connection: duckdb.DuckDBPyConnection, expression: str, text: Any, kind: str) -> None:
    """Assert that a text is the value of the expression, read as its type. Values inside of others are tested below."""
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP")):
        return
    value = f"CAST(? AS {kind})" if kind != "BLOB" else "from_base64(?)"
    sql = f"SELECT {value} IS NOT DISTINCT FROM ({expression}), ({expression})::VARCHAR"
    row = connection.execute(sql, [text]).fetchone()
    assert row is not None
    assert row[0], f"{expression}: {row[1]} became {text}"


@pytest.mark.parametrize("expressions", chunks(SCALARS, 40))
async def test_csv_holds_every_value(reader: DuckDBReader, tmp_path: Path, expressions: list[str]) -> None:
    found, summary = await read(reader, selected(expressions), ResultFormat.CSV)
    (tmp_path / "found.csv").write_bytes(found)
    with in_utc() as connection:
        read_csv = f"read_csv('{tmp_path}/found.csv', all_varchar = true, header = true, allow_quoted_nulls = false)"
        row = connection.execute(f"SELECT * FROM {read_csv}").fetchone()
        assert row is not None
        for expression, text, column in zip(expressions, row, summary.columns, strict=True):
            assert_same_text(connection, expression, text, column.duckdb_type)


def scalar(token: Any) -> str | None:
    """A JSON value as the text that DuckDB reads. Numbers were parsed as texts, with all of their digits."""
    return json.dumps(token) if isinstance(token, bool) else token


async def json_values(reader: DuckDBReader, expressions: list[str], **more: Any) -> tuple[list[Any], ResultSummary]:
    found, summary = await read(reader, selected(expressions), ResultFormat.JSON, **more)
    (row,) = json.loads(b"[" + found + b"]", parse_int=str, parse_float=str, parse_constant=pytest.fail)
    return row, summary


@pytest.mark.parametrize("expressions", chunks(SCALARS, 40))
async def test_json_holds_every_value_and_null_for_what_is_no_number(
    reader: DuckDBReader, expressions: list[str]
) -> None:
    row, summary = await json_values(reader, expressions)
    with in_utc() as connection:
        for expression, token, column in zip(expressions, row, summary.columns, strict=True):
            if token is None and column.duckdb_type in {"FLOAT", "DOUBLE"}:
                finite = connection.execute(f"SELECT isfinite({expression})").fetchone()
                assert finite in {(False,), (None,)}
            else:
                assert_same_text(connection, expression, scalar(token), column.duckdb_type)


@pytest.mark.parametrize("nesting", range(len(NESTINGS)))
async def test_json_holds_the_same_inside_of_other_values(reader: DuckDBReader, nesting: int) -> None:
    pattern, wanted = NESTINGS[nesting], NESTED_JSON[nesting]
    for expressions in chunks(SCALARS, 40):
        plain, _ = await json_values(reader, expressions)
        nested, _ = await json_values(reader, [pattern.format(e) for e in expressions])
        for expression, inner, outer in zip(expressions, plain, nested, strict=True):
            if wanted is None:
                assert outer is None or (len(outer) == 1 and [*outer.values()] == ["1"]), expression
            else:
                expected = json.loads(wanted.format(json.dumps(inner)), parse_int=str)
                assert outer == expected, expression


async def test_ndjson_is_the_same_as_json_with_names(reader: DuckDBReader) -> None:
    for expressions in chunks(SCALARS, 40):
        row, _ = await json_values(reader, expressions)
        found, _ = await read(reader, selected(expressions), ResultFormat.NDJSON)
        (line,) = found.splitlines()
        assert [*json.loads(line, parse_int=str, parse_float=str).values()] == row


async def test_large_numbers_are_texts_if_asked_for(reader: DuckDBReader) -> None:
    numbers = ["9007199254740993::BIGINT", "18446744073709551615::UBIGINT", f"{LARGEST}::HUGEINT", "1.10::DECIMAL(4,2)"]
    found, _ = await read(
        reader, selected([*numbers, "1::INTEGER", "[1::BIGINT]"]), ResultFormat.JSON, large_as_text=True
    )
    assert json.loads(found) == ["9007199254740993", "18446744073709551615", LARGEST, "1.10", 1, ["1"]]


async def test_a_number_that_neither_arrow_nor_parquet_holds_is_refused(reader: DuckDBReader) -> None:
    for result_format in (ResultFormat.ARROW, ResultFormat.PARQUET):
        with pytest.raises(QueryFailed, match=r"to DECIMAL\(38,0\)"):
            await read(reader, f"SELECT {LARGEST}::HUGEINT AS n", result_format)
        found, _ = await read(reader, f"SELECT {LARGEST}::HUGEINT AS n", result_format, wide=True)
        assert LARGEST.encode() in found


@pytest.mark.parametrize("result_format", list(ResultFormat))
async def test_a_type_that_no_format_holds_is_refused_by_name(
    reader: DuckDBReader, result_format: ResultFormat
) -> None:
    for value, name in [("union_value(a := 1)", "UNION"), ("1::VARIANT", "VARIANT")]:
        with pytest.raises(QueryFailed, match=f'The column "c" is a {name}'):
            await read(reader, f"SELECT {value} AS c", result_format)


@pytest.mark.parametrize("result_format", list(ResultFormat))
async def test_columns_of_one_name_stay_apart(reader: DuckDBReader, result_format: ResultFormat) -> None:
    found, summary = await read(reader, "SELECT 1 AS a, 2 AS a, 3 AS A", result_format)
    assert [column.name for column in summary.columns] == ["a", "a_1", "A_2"]
    if result_format is ResultFormat.NDJSON:
        assert sorted(json.loads(found).values()) == [1, 2, 3]
    if result_format is ResultFormat.CSV:
        header, values = found.decode().splitlines()
        assert (len(set(header.lower().split(","))), values) == (3, "1,2,3")


async def test_pyarrow_reads_integers_of_32_bits_that_are_far_apart(reader: DuckDBReader) -> None:
    sql = "SELECT (hash(i) % 4294967296)::UINTEGER AS u, ((hash(i) % 4294967296)::BIGINT - 2147483648)::INTEGER AS s"
    found, _ = await read(reader, f"{sql} FROM range(100000) t(i)", ResultFormat.PARQUET)
    table = pq.read_table(io.BytesIO(found))
    assert [u - 2**31 for u in table.column("u").to_pylist()] == table.column("s").to_pylist()
