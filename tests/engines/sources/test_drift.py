"""Parquet files that no longer have, or never had, the columns that were recorded for their table."""

from pathlib import Path

import duckdb
import pytest

from orchestrator.model.errors import InputReplaced, InvalidSource, QueryFailed
from orchestrator.model.run import Progress
from orchestrator.model.snapshot import Column
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import LIMITS, Run, WholeEngine, file_url, make_plan, source
from tests.engines.duckdb.test_sandbox import needs_landlock
from tests.engines.sources.test_discovery import PARQUET, pairs, write_parquet

RECORDED = [Column(name="a", duckdb_type="BIGINT"), Column(name="b", duckdb_type="VARCHAR")]
NORMAL = "SELECT {}::BIGINT AS a, 'x' AS b"


def write_many(folder: Path, count: int, *, odd: int, select: str) -> Path:
    """Write `count` files, of which number `odd` holds `select`. Returns that one."""
    with duckdb.connect() as connection:
        for n in range(count):
            sql = select if n == odd else NORMAL.format(n)
            connection.execute(f"COPY ({sql}) TO '{folder}/{n:03}.parquet' (FORMAT parquet)")
    return folder / f"{odd:03}.parquet"


async def total(run: Run, data: Path, sql: str = "SELECT sum(a)::BIGINT AS s FROM t") -> list[tuple[object, ...]]:
    result = await run(sql, [source("t", PARQUET, f"{data}/*.parquet", RECORDED)])
    return result.rows()


@pytest.mark.parametrize(("count", "odd"), [(1, 0), (2, 0), (2, 1), (200, 0), (200, 73), (200, 199)])
async def test_a_file_with_another_type_is_never_cast(run: Run, data: Path, count: int, odd: int) -> None:
    path = write_many(data, count, odd=odd, select="SELECT 1.5::DOUBLE AS a, 'x' AS b")
    with pytest.raises(QueryFailed) as raised:
        await total(run, data)
    assert raised.value.message == (
        f'Reading "t": the column "a" is DOUBLE in {path}, but was recorded as BIGINT. '
        "If that is meant to be so, refresh the schema of the source table."
    )


@pytest.mark.parametrize(("count", "odd"), [(1, 0), (2, 0), (2, 1), (200, 0), (200, 73)])
async def test_a_file_without_a_recorded_column_is_named(run: Run, data: Path, count: int, odd: int) -> None:
    path = write_many(data, count, odd=odd, select="SELECT 1::BIGINT AS a")
    with pytest.raises(QueryFailed) as raised:
        await total(run, data)
    assert raised.value.message == (
        f'Reading "t": the column "b" is missing in {path}, but was recorded as VARCHAR. '
        "If that is meant to be so, refresh the schema of the source table."
    )


@pytest.mark.parametrize(("count", "odd"), [(1, 0), (2, 0), (2, 1), (200, 0), (200, 73)])
async def test_a_column_that_came_later_is_skipped(run: Run, data: Path, count: int, odd: int) -> None:
    write_many(data, count, odd=odd, select=f"SELECT 7 AS z, 'y' AS B, {odd}::BIGINT AS A")
    assert await total(run, data) == [(sum(range(count)),)]
    assert await total(run, data, "SELECT count(COLUMNS(*)) FROM t") == [(count, count)]
    with pytest.raises(QueryFailed, match='"z" not found'):
        await total(run, data, "SELECT z FROM t")


@pytest.mark.parametrize(
    ("recorded", "now", "kind"),
    [
        ("BIGINT", "1::INTEGER", "INTEGER"),
        ("INTEGER", "1::BIGINT", "BIGINT"),
        ("BIGINT", "'1'", "VARCHAR"),
        ("VARCHAR", "1::BIGINT", "BIGINT"),
        ("DECIMAL(9,2)", "1::DECIMAL(9,3)", "DECIMAL(9,3)"),
        ("TIMESTAMP", "TIMESTAMPTZ '2020-01-01 00:00:00+00'", "TIMESTAMP WITH TIME ZONE"),
        ("TIMESTAMP", "DATE '2020-01-01'", "DATE"),
        ("VARCHAR", "'x'::BLOB", "BLOB"),
        ("VARCHAR", "'{}'::JSON", "JSON"),
        ("INTEGER[]", "[1::BIGINT]", "BIGINT[]"),
        ("INTEGER[]", "1", "INTEGER"),
        ("STRUCT(k INTEGER)", "{'k': 1, 'l': 2}", "STRUCT(k INTEGER, l INTEGER)"),
        ("STRUCT(k INTEGER, l INTEGER)", "{'k': 1}", "STRUCT(k INTEGER)"),
        ("STRUCT(k INTEGER, l INTEGER)", "{'l': 1, 'k': 2}", "STRUCT(l INTEGER, k INTEGER)"),
        ("STRUCT(k STRUCT(x INTEGER[]))", "{'k': {'x': [1.5::DOUBLE]}}", "STRUCT(k STRUCT(x DOUBLE[]))"),
        ("MAP(VARCHAR, INTEGER)", "MAP {'a': 1.5::DOUBLE}", "MAP(VARCHAR, DOUBLE)"),
        ("BLOB", "'POINT (1 2)'::GEOMETRY", "GEOMETRY('OGC:CRS84')"),
    ],
)
async def test_every_change_of_a_type_is_seen(run: Run, data: Path, recorded: str, now: str, kind: str) -> None:
    write_parquet(data / "1.parquet", f"SELECT CAST(NULL AS {recorded}) AS a")
    write_parquet(data / "2.parquet", f"SELECT {now} AS a")
    with pytest.raises(QueryFailed) as raised:
        await run(
            "SELECT count(*) FROM t",
            [source("t", PARQUET, f"{data}/*.parquet", [Column(name="a", duckdb_type=recorded)])],
        )
    assert f'the column "a" is {kind} in {data}/2.parquet, but was recorded as {recorded}.' in raised.value.message


async def test_whether_values_may_be_null_and_who_wrote_a_file_are_no_change(run: Run, data: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415 - takes long to import
    from pyarrow import parquet  # noqa: PLC0415

    write_parquet(data / "1.parquet", NORMAL.format(1))
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("b", pa.string(), nullable=False)])
    parquet.write_table(pa.table({"a": [2], "b": ["y"]}, schema=schema), data / "2.parquet")
    assert await total(run, data) == [(3,)]


@needs_landlock
async def test_a_file_that_is_replaced_during_a_run_is_not_read_unseen(
    engine: WholeEngine, data: Path, tmp_path: Path
) -> None:
    write_many(data, 30, odd=0, select="SELECT i AS a, 'x' AS b FROM range(600000) r(i)")
    write_parquet(tmp_path / "new.parquet", "SELECT 1.5::DOUBLE AS a, 'x' AS b")
    (tmp_path / "target").mkdir()
    limits = LIMITS.model_copy(update={"threads": 1})
    sql = "SELECT max(sha256(sha256(sha256(a::VARCHAR)))) AS s FROM t"
    plan = make_plan(sql, [source("t", PARQUET, f"{data}/*.parquet", RECORDED)], limits=limits)
    replaced = False

    def replace(_: Progress) -> None:
        nonlocal replaced
        if not replaced:
            (tmp_path / "new.parquet").replace(data / "029.parquet")
        replaced = True

    with pytest.raises(InputReplaced) as raised:
        await engine.write(plan, file_url, WriteTarget.local(tmp_path / "target"), replace)
    assert raised.value.message == f'A file of "t" was changed or replaced while it was read: {data}/029.parquet.'


async def test_a_damaged_footer_among_many_is_named(run: Run, data: Path) -> None:
    write_many(data, 20, odd=0, select=NORMAL.format(0))
    (data / "013.parquet").write_bytes(b"x" * 500)
    with pytest.raises(QueryFailed, match=r'Reading "t": .*013\.parquet'):
        await total(run, data)


@pytest.mark.parametrize(("count", "odd"), [(2, 1), (200, 73)])
async def test_files_that_disagree_are_not_registered(engine: WholeEngine, data: Path, count: int, odd: int) -> None:
    path = write_many(data, count, odd=odd, select="SELECT 1.5::DOUBLE AS a, 'x' AS b")
    pattern = f"{data}/*.parquet"
    with pytest.raises(InvalidSource) as raised:
        await engine.analyzer.describe_source(pattern, PARQUET)
    first = data / "000.parquet"
    assert raised.value.message == (
        f'{pattern} cannot be read as Parquet: the column "a" is DOUBLE in {path}, but BIGINT in {first}.'
    )
    write_parquet(path, "SELECT 'x' AS b")
    with pytest.raises(InvalidSource) as raised:
        await engine.analyzer.describe_source(pattern, PARQUET)
    assert f'the column "a" is missing in {path}, but BIGINT in {first}.' in raised.value.message
    write_parquet(path, "SELECT 'x' AS b, 2 AS c, 1::BIGINT AS a")
    assert pairs(await engine.analyzer.describe_source(pattern, PARQUET)) == [("a", "BIGINT"), ("b", "VARCHAR")]
