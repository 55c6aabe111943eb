"""CSV files are read by fixed rules: only types are detected from the content of a file."""

import gzip
from pathlib import Path

import duckdb
import pytest

from orchestrator.model.errors import InvalidSource, QueryFailed
from tests.engines.conftest import Run, WholeEngine, source
from tests.engines.sources.test_discovery import CSV, NAMED, pairs

MANY = 60_000  # rows: more than DuckDB samples to detect the dialect


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("kind", [CSV, NAMED])
async def test_a_quote_that_comes_late_is_still_a_quote(
    engine: WholeEngine, data: Path, run: Run, kind: object, ending: str
) -> None:
    lines = [*(["n,s"] if kind is NAMED else []), *(f"{n},plain" for n in range(MANY)), f'{MANY},"a, ""b""\nc;\'d"', ""]
    (data / "1.csv").write_text(ending.join(lines), newline="")
    columns = await engine.analyzer.describe_source(f"{data}/1.csv", NAMED if kind is NAMED else CSV)
    n, s = (column.name for column in columns)
    table = source("t", NAMED if kind is NAMED else CSV, f"{data}/1.csv", columns)
    result = await run(f"SELECT {n} AS n, {s} AS s FROM t WHERE {n} = {MANY}", [table])
    assert result.rows() == [(MANY, 'a, "b"\nc;\'d')]
    assert (await run(f"SELECT count(*), sum({n}) FROM t", [table])).rows() == [(MANY + 1, sum(range(MANY + 1)))]


async def test_what_looks_like_another_dialect_is_text(engine: WholeEngine, data: Path, run: Run) -> None:
    (data / "1.csv").write_text("a,b\n" + "'1;2|3','x'\n" * 3 + "# no, comment\n" + '5" pipe,its\n')
    columns = await engine.analyzer.describe_source(f"{data}/1.csv", NAMED)
    result = await run("SELECT * FROM t", [source("t", NAMED, f"{data}/1.csv", columns)])
    assert sorted(result.rows()) == [("# no", " comment"), *[("'1;2|3'", "'x'")] * 3, ('5" pipe', "its")]


@pytest.mark.parametrize(("line", "what"), [("a;b", "semicolons"), ("a\tb", "tabs"), ("a|b", "bars")])
@pytest.mark.parametrize("kind", [CSV, NAMED])
async def test_another_separator_is_named(engine: WholeEngine, data: Path, kind: object, line: str, what: str) -> None:
    (data / "1.csv").write_text(f"{line}\n1;2\n")
    with pytest.raises(InvalidSource) as raised:
        await engine.analyzer.describe_source(f"{data}/1.csv", NAMED if kind is NAMED else CSV)
    assert f"{data}/1.csv seems to have {what} between its columns. State the delimiter" in raised.value.message
    (data / "1.csv").write_text(f'"{line}"\n"1;2"\n')
    assert len(await engine.analyzer.describe_source(f"{data}/1.csv", NAMED if kind is NAMED else CSV)) == 1


async def test_an_empty_field_is_null(engine: WholeEngine, data: Path, run: Run) -> None:
    (data / "1.csv").write_text('a,b,c\n1,,NULL\n,"",null\n"3",z,N/A\n')
    columns = await engine.analyzer.describe_source(f"{data}/1.csv", NAMED)
    assert pairs(columns) == [("a", "BIGINT"), ("b", "VARCHAR"), ("c", "VARCHAR")]
    result = await run("SELECT * FROM t ORDER BY a", [source("t", NAMED, f"{data}/1.csv", columns)])
    assert result.rows() == [(1, None, "NULL"), (3, "z", "N/A"), (None, None, "null")]


TYPES = [
    (["true", "false"], "BOOLEAN"),
    (["true", "FALSE"], "VARCHAR"),
    (["true", "t"], "VARCHAR"),
    (["true", "1"], "VARCHAR"),
    (["1", "-20", "0"], "BIGINT"),
    (["1", " 3 "], "VARCHAR"),
    (["007"], "VARCHAR"),
    (["0", "00"], "VARCHAR"),
    (["-0"], "VARCHAR"),
    (["1e5"], "VARCHAR"),
    (["9223372036854775807", "-9223372036854775808"], "BIGINT"),
    (["9223372036854775808", "1"], "HUGEINT"),
    (["12345678901234567890", "12345678901234567891"], "HUGEINT"),
    (["-170141183460469231731687303715884105727"], "HUGEINT"),
    (["170141183460469231731687303715884105728"], "VARCHAR"),
    (["1", "1.5", "-0.5", "1.50", "1.5e-3", "0.21742142649769908"], "DOUBLE"),
    (["1", "1.5", "nan"], "VARCHAR"),
    (["1.5", ".5"], "VARCHAR"),
    (["1.5", "1."], "VARCHAR"),
    (["01.5"], "VARCHAR"),
    (["12345678901234567.89", "1"], "DECIMAL(38,2)"),
    (["1.5", "1234567890123456789"], "DECIMAL(38,1)"),
    (["12345678901234567890123456789012345678.9"], "VARCHAR"),
    (["1.5e400"], "VARCHAR"),
    (["+49123"], "VARCHAR"),
    (["1_000"], "VARCHAR"),
    (["0x1F"], "VARCHAR"),
    (["12:30:00", "23:59:59.123456"], "TIME"),
    (["25:00:00"], "VARCHAR"),
    (["2020-01-02", "1999-12-31"], "DATE"),
    (["2020-02-30"], "VARCHAR"),
    (["2020-01-02", "2020-01-02 03:04:05"], "TIMESTAMP"),
    (["2020-01-02T03:04:05.123456"], "TIMESTAMP"),
    (["2020-01-02T03:04:05Z", "2020-01-02 03:04:05+00", "2020-01-02 03:04:05.1+00:00"], "TIMESTAMP WITH TIME ZONE"),
    # Another zone would be lost, and a text without a zone beside it would get one.
    (["2020-01-02 03:04:05+02:00"], "VARCHAR"),
    (["2020-01-02 03:04:05Z", "2020-01-02 03:04:05"], "VARCHAR"),
    (["2020-01-02 03:04:05.123456789"], "VARCHAR"),
    (["12:30:00.1234567"], "VARCHAR"),
    (["12:30:00+03"], "VARCHAR"),
    (["2020-1-2"], "VARCHAR"),
    (["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"], "VARCHAR"),
    # Dates whose order of day and month is ambiguous, or that are not in ISO format.
    (["13/01/2020"], "VARCHAR"),
    (["01-13-2020"], "VARCHAR"),
    (["20-01-02"], "VARCHAR"),
    (["2020/01/02"], "VARCHAR"),
    (["01/13/2020 10:00:00"], "VARCHAR"),
    (["2020-01-02 03:04:05 PM"], "VARCHAR"),
    (["", ""], "VARCHAR"),
    (["1", "", "2"], "BIGINT"),
]


@pytest.mark.parametrize(("values", "kind"), TYPES)
async def test_a_type_is_detected_from_all_values_and_read_by_the_same_rules(
    engine: WholeEngine, data: Path, run: Run, values: list[str], kind: str
) -> None:
    (data / "1.csv").write_text("a,b\n" + "".join(f"{value},x\n" for value in values))
    columns = await engine.analyzer.describe_source(f"{data}/1.csv", NAMED)
    assert pairs(columns) == [("a", kind), ("b", "VARCHAR")]
    result = await run("SELECT a FROM t", [source("t", NAMED, f"{data}/1.csv", columns)])
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        texts = [
            connection.execute(f"SELECT CAST(nullif(?, '') AS {kind})::VARCHAR", [v]).fetchall()[0] for v in values
        ]
    assert sorted(result.rows("a::VARCHAR"), key=str) == sorted(texts, key=str)


async def test_a_date_means_the_same_whatever_stands_beside_it(engine: WholeEngine, data: Path, run: Run) -> None:
    (data / "1.csv").write_text("d,s\n2020-03-04,13/01/2020\n")
    columns = await engine.analyzer.describe_source(f"{data}/1.csv", NAMED)
    assert pairs(columns) == [("d", "DATE"), ("s", "VARCHAR")]
    (data / "1.csv").write_text("d,s\n03/04/2020,13/01/2020\n")
    with pytest.raises(QueryFailed, match='"03/04/2020"'):
        await run("SELECT d FROM t", [source("t", NAMED, f"{data}/1.csv", columns)])


async def test_a_type_that_only_a_late_value_rules_out_is_ruled_out(engine: WholeEngine, data: Path) -> None:
    (data / "1.csv").write_text("a,b,c\n" + "1,1,2020-01-01\n" * MANY + "x,1.5,2020-01-01 10:00:00\n")
    columns = await engine.analyzer.describe_source(f"{data}/1.csv", NAMED)
    assert pairs(columns) == [("a", "VARCHAR"), ("b", "DOUBLE"), ("c", "TIMESTAMP")]


async def test_a_header_is_completed_in_the_same_way_each_time(engine: WholeEngine, data: Path, run: Run) -> None:
    (data / "1.csv").write_text('\ufeff,b, c ,"b",B,"d\n""e"""\n1,2,3,4,5,6\n', encoding="utf-8")
    columns = await engine.analyzer.describe_source(f"{data}/1.csv", NAMED)
    assert [column.name for column in columns] == ["column0", "b", "c", "b_1", "B_2", 'd\n"e"']
    result = await run("SELECT * FROM t", [source("t", NAMED, f"{data}/1.csv", columns)])
    assert result.rows() == [(1, 2, 3, 4, 5, 6)]


async def test_columns_without_names_are_numbered_as_duckdb_numbers_them(engine: WholeEngine, data: Path) -> None:
    (data / "1.csv").write_text(",".join(map(str, range(11))) + "\n")
    names = [column.name for column in await engine.analyzer.describe_source(f"{data}/1.csv", CSV)]
    assert (names[0], names[10]) == ("column00", "column10")


async def test_a_header_that_cannot_be_detected_is_refused(engine: WholeEngine, data: Path, run: Run) -> None:
    (data / "1.csv").write_text("a\n1\n")
    columns = await engine.analyzer.describe_source(f"{data}/1.csv", NAMED)
    (data / "1.csv").write_text("\na\n1\n")
    with pytest.raises(InvalidSource, match=r"1\.csv begins with an empty line"):
        await engine.analyzer.describe_source(f"{data}/1.csv", NAMED)
    with pytest.raises(QueryFailed, match=r'Reading "t": .*1\.csv begins with an empty line'):
        await run("SELECT * FROM t", [source("t", NAMED, f"{data}/1.csv", columns)])


async def test_a_file_without_rows_beside_others_holds_none(engine: WholeEngine, data: Path, run: Run) -> None:
    (data / "0.csv").write_text("")
    (data / "1.csv").write_text("a\n")
    (data / "2.csv").write_text("a\n1\n")
    columns = await engine.analyzer.describe_source(f"{data}/*.csv", NAMED)
    assert pairs(columns) == [("a", "BIGINT")]
    assert (await run("SELECT * FROM t", [source("t", NAMED, f"{data}/*.csv", columns)])).rows() == [(1,)]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
@pytest.mark.parametrize("kind", [CSV, NAMED])
async def test_compressed_files_are_read_and_may_be_empty(
    engine: WholeEngine, data: Path, run: Run, kind: object, suffix: str
) -> None:
    form = NAMED if kind is NAMED else CSV
    with duckdb.connect() as connection:
        for name, select in (("0", "SELECT 1 WHERE false"), ("1", "SELECT 7 AS x, 'y' AS z")):
            header = kind is NAMED and name == "1"
            connection.execute(f"COPY ({select}) TO '{data}/{name}.csv.{suffix}' (FORMAT csv, HEADER {header})")
    (data / "2.csv").write_text("x,z\n8,y\n" if kind is NAMED else "8,y\n")
    columns = await engine.analyzer.describe_source(f"{data}/*.csv*", form)
    assert [column.duckdb_type for column in columns] == ["BIGINT", "VARCHAR"]
    result = await run("SELECT * FROM t", [source("t", form, f"{data}/*", columns)])
    assert sorted(result.rows()) == [(7, "y"), (8, "y")]


async def test_a_link_that_says_how_its_target_is_compressed_is_believed(
    engine: WholeEngine, data: Path, run: Run
) -> None:
    (data / "blob").write_bytes(gzip.compress(b"a,b\n1,x\n"))
    (data / "1.csv.gz").symlink_to("blob")
    (data / "2.csv.gz").write_bytes(gzip.compress(b"a,b\n2,y\n"))
    (data / "3.csv").symlink_to("2.csv.gz")
    columns = await engine.analyzer.describe_source(f"{data}/*.csv*", NAMED)
    assert pairs(columns) == [("a", "BIGINT"), ("b", "VARCHAR")]
    result = await run("SELECT * FROM t ORDER BY a", [source("t", NAMED, f"{data}/*.csv*", columns)])
    assert result.rows() == [(1, "x"), (2, "y"), (2, "y")]


async def test_a_damaged_compressed_file_is_named(engine: WholeEngine, data: Path) -> None:
    (data / "1.csv.gz").write_bytes(gzip.compress(b"a,b\n1,x\n")[:-12])
    for name in ("2.csv.gz", "3.csv.zst"):
        (data / name).write_bytes(b"not packed at all")
    for name in ("1.csv.gz", "2.csv.gz", "3.csv.zst"):
        with pytest.raises(InvalidSource, match=f"{data}/{name} is (damaged|cut off)"):
            await engine.analyzer.describe_source(f"{data}/{name}", NAMED)
