from pathlib import Path

import duckdb
import pytest

from orchestrator.model.errors import (
    EngineCrashed,
    InputMissing,
    InvalidQuery,
    OutOfMemory,
    QueryFailed,
    QueryRefused,
    QueryTimedOut,
)
from orchestrator.model.run import Progress
from orchestrator.model.snapshot import Column
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import ID, Run, WholeEngine, file_url, make_plan, snapshot, view


async def test_a_query_becomes_parquet_files_that_name_their_run(run: Run) -> None:
    result = await run("SELECT i AS a, 'x' || i AS b FROM range(1000) r(i)")
    assert result.written.rows == 1000
    assert result.names == ["a", "b"]
    assert result.types == ["BIGINT", "VARCHAR"]
    assert result.written.engine_version == "duckdb 1.5.5"
    (file,) = result.written.files
    assert (file.rows, file.bytes) == (1000, (result.folder / file.name).stat().st_size)
    assert result.written.bytes == file.bytes
    with duckdb.connect() as connection:
        parquet_metadata = connection.execute(f"FROM parquet_kv_metadata('{result.folder}/{file.name}')").fetchall()
    assert {(key, value) for _, key, value in parquet_metadata} == {
        (key, str(ID).encode()) for key in (b"run_id", b"saved_query_id", b"revision_id")
    }


async def test_a_result_of_several_files_is_counted_file_by_file(run: Run) -> None:
    result = await run("SELECT hash(i) AS a, hash(i + 1) AS b FROM range(18000000) r(i)")
    assert sum(f.rows for f in result.written.files) == result.written.rows == 18_000_000
    assert len(result.written.files) > 1
    assert sorted(f.name for f in result.written.files) == sorted(path.name for path in result.folder.iterdir())
    for file in result.written.files:
        assert (result.folder / file.name).stat().st_size == file.bytes


async def test_an_empty_result_is_one_file_with_the_columns(run: Run) -> None:
    result = await run("SELECT i, sum(i) AS s FROM range(10) r(i) WHERE i > 99 GROUP BY i")
    assert (result.written.rows, len(result.written.files)) == (0, 1)
    assert result.types == ["BIGINT", "HUGEINT"]
    assert result.rows() == []


@pytest.mark.parametrize("value", ["i", "i::HUGEINT"])
async def test_the_order_of_the_rows_is_kept(run: Run, value: str) -> None:
    result = await run(
        f"SELECT {value} AS a FROM range(400000) r(i) ORDER BY i * 7919 % 1000, i DESC;  -- newest first"
    )
    values = [int(a) for (a,) in result.rows("a::BIGINT")]
    assert len(values) == 400_000
    assert values == sorted(values, key=lambda a: (a * 7919 % 1000, -a))


async def test_columns_of_the_same_name_are_kept_apart(run: Run) -> None:
    result = await run("SELECT 1 AS a, 2 AS a, 3::HUGEINT AS A")
    assert result.names == ["a", "a_1", "A_2"]
    assert result.rows() == [(1, 2, 3)]


async def test_a_pivot_over_listed_values_is_written(run: Run) -> None:
    result = await run("PIVOT (SELECT i % 3 AS k, i AS v FROM range(9) r(i)) ON k IN (0, 1, 2) USING sum(v)")
    assert result.names == ["0", "1", "2"]
    assert result.types == ["HUGEINT"] * 3
    assert result.written.rows == 1
    assert result.rows() == [(9, 12, 15)]


FAILING = [
    (
        "SELECT nope FROM t",
        'Binder Error: Referenced column "nope" not found in FROM clause! (line 1, column 8)\nCandidate bindings: "x"',
    ),
    ("SELECT * FROM nope", "Catalog Error: Table with name nope does not exist!"),
    ("SELECT 'x'::INTEGER", "Conversion Error: Could not convert string 'x' to INT32"),
    ("SELECT error('boo') AS e FROM range(9) r(i)", "Invalid Input Error: boo"),
    # A SELECT * gets the columns that its input gets after the view was saved.
    (f"SELECT {', '.join(['*'] * 4097)} FROM t", "there are 4,097 columns; 4,096 are the most."),
    ("SELECT (9223372036854775807 + x) AS y FROM t", "Out of Range Error: Overflow in addition of INT64"),
]


@pytest.mark.parametrize(("sql", "message"), FAILING)
async def test_a_failing_query_says_why(run: Run, sql: str, message: str) -> None:
    with pytest.raises(QueryFailed) as raised:
        await run(sql, [view("t", "SELECT 1::BIGINT AS x")])
    assert raised.value.message.startswith(message)
    assert "LINE" not in raised.value.message


async def test_a_failing_inlined_view_is_named(run: Run) -> None:
    with pytest.raises(QueryFailed, match='In the view "b": Binder Error: Referenced column "nope"'):
        await run("SELECT * FROM b", [view("a", "SELECT 1 AS x"), view("b", "SELECT nope FROM a")])


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('{folder}/secret.csv')",
        "SELECT * FROM '{folder}/secret.csv'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM query('FROM read_text(''/etc/passwd'')')",
        "COPY (SELECT 1) TO '/tmp/x'",
        "SELECT 1; SELECT 2",
        "PIVOT (SELECT 1 AS k, 2 AS v) ON k USING sum(v)",
        "SELECT 1) AS a; COPY (SELECT 1) TO 'x'; SELECT * FROM (SELECT 1",
    ],
)
async def test_a_run_refuses_by_itself_what_should_never_have_been_saved(run: Run, tmp_path: Path, sql: str) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    # A file's name is read as the name of a table, which the plan does not have.
    with pytest.raises(QueryFailed if "FROM '" in sql else QueryRefused) as raised:
        await run(sql.format(folder=tmp_path))
    assert "root:" not in raised.value.message


async def test_out_of_memory_is_an_error_that_names_the_limit(run: Run) -> None:
    with pytest.raises(OutOfMemory, match="more memory than it may use \\(500 MiB\\)") as raised:
        await run("SELECT list(i) AS a FROM range(200000000) r(i)")
    assert "Possible solutions" not in raised.value.message


async def test_memory_that_duckdb_does_not_count_is_limited_too(run: Run) -> None:
    with pytest.raises((OutOfMemory, EngineCrashed)):
        await run("SELECT list(i) OVER () AS a FROM range(20000) r(i)")


async def test_a_query_that_runs_too_long_says_the_limit(run: Run) -> None:
    with pytest.raises(QueryTimedOut, match=r"The query ran longer than 0\.5 seconds\."):
        await run("SELECT sum(random()) FROM range(1000000000000)", timeout_seconds=0.5)


async def test_progress_is_reported_while_a_query_runs(engine: WholeEngine, tmp_path: Path, run: Run) -> None:
    big = await run("SELECT i, random() AS x FROM range(1200000) r(i)")
    reported: list[Progress] = []
    (tmp_path / "target").mkdir()
    sql = "SELECT i, md5(md5(md5(md5(md5(x::VARCHAR))))) AS m FROM big ORDER BY m"
    plan = make_plan(sql, [snapshot("big", big.folder, big.written)])
    await engine.write(plan, file_url, WriteTarget.local(tmp_path / "target"), reported.append)
    assert reported
    assert [p.elapsed_seconds for p in reported] == sorted(p.elapsed_seconds for p in reported)
    assert any(p.percent is not None for p in reported)
    assert all(p.percent is None or 0 <= p.percent <= 100 for p in reported)


async def test_a_snapshot_is_read_from_exactly_its_files(run: Run) -> None:
    parent = await run("SELECT i AS a FROM range(10) r(i)")
    (parent.folder / "stray.parquet").write_bytes(b"not part of it")
    result = await run("SELECT sum(a) AS s FROM p", [snapshot("p", parent.folder, parent.written)])
    assert result.rows() == [(45,)]


async def test_a_lost_file_of_a_snapshot_names_the_view_and_not_its_path(run: Run) -> None:
    parent = await run("SELECT 1 AS a")
    (parent.folder / parent.written.files[0].name).unlink()
    with pytest.raises(InputMissing) as raised:
        await run("SELECT * FROM p", [snapshot("p", parent.folder, parent.written)])
    assert '"p"' in raised.value.message
    assert str(parent.folder) not in raised.value.message


async def test_a_damaged_file_of_a_snapshot_names_the_view_and_not_its_path(run: Run) -> None:
    parent = await run("SELECT 1 AS a")
    (parent.folder / parent.written.files[0].name).write_bytes(b"x" * 500)
    with pytest.raises(QueryFailed) as raised:
        await run("SELECT * FROM p", [snapshot("p", parent.folder, parent.written)])
    assert 'the snapshot of "p"' in raised.value.message
    assert str(parent.folder) not in raised.value.message


async def test_columns_are_described_without_reading_anything(engine: WholeEngine) -> None:
    tables = {
        "a": [Column(name="x", duckdb_type="INTEGER"), Column(name="j", duckdb_type="STRUCT(k VARCHAR[])")],
        "a.b": [Column(name="y", duckdb_type="TIMESTAMP WITH TIME ZONE")],
    }
    columns = await engine.analyzer.describe(
        "SELECT sum(x) AS s, any_value(j.k), max(y) m FROM a, a.b GROUP BY ALL;", tables
    )
    assert [c.duckdb_type for c in columns] == ["HUGEINT", "VARCHAR[]", "TIMESTAMP WITH TIME ZONE"]
    assert columns[0].name == "s"
    for wrong in (
        "SELECT nope FROM a",
        "SELECT rowid FROM a",
        "SELECT * FROM nope",
        "SELECT 1; SELECT 2",
        "DROP VIEW a",
    ):
        with pytest.raises(InvalidQuery, match="Invalid query: ") as raised:
            await engine.analyzer.describe(wrong, tables)
        assert raised.value.attr == "query"


async def test_the_files_of_a_result_of_several_have_names_of_their_own_in_each_version(run: Run) -> None:
    """A path that leads to the current version may move between two files: no reader may find some of each."""
    columns = ", ".join(f"hash(i + {n}) AS h{n}" for n in range(20))
    result = await run(f"SELECT {columns} FROM range(1900000) r(i)")
    names = [file.name for file in result.written.files]
    assert len(names) > 1
    suffix = f"_{ID.hex[:8]}.parquet"
    assert all(name.startswith("data_") and name.endswith(suffix) for name in names)
    assert sorted(names) == sorted(path.name for path in result.folder.iterdir())
    assert [file.name for file in (await run("SELECT 1 AS a")).written.files] == ["data_0.parquet"]
