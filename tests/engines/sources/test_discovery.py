import os
from pathlib import Path

import duckdb
import pytest

from orchestrator.engines.duckdb.sources.discovery import find_source_files
from orchestrator.model.errors import InputMissing, InvalidSource, QueryFailed
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import SourceFormat
from tests.engines.conftest import Run, WholeEngine, make_engine, source

CSV, NAMED, JSON, PARQUET = (
    SourceFormat.CSV,
    SourceFormat.CSV_WITH_NAMES,
    SourceFormat.JSON_EACH_ROW,
    SourceFormat.PARQUET,
)


def write_parquet(path: Path, select: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")


def pairs(columns: tuple[Column, ...]) -> list[tuple[str, str]]:
    return [(c.name, c.duckdb_type) for c in columns]


async def test_parquet_files_are_described_and_read(engine: WholeEngine, data: Path, run: Run) -> None:
    write_parquet(data / "year=2020" / "1.parquet", "SELECT 1 AS a, 'x' AS b")
    write_parquet(data / "year=2021" / "2.parquet", "SELECT 2 AS a, 'y' AS b")
    pattern = f"{data}/year=*/?.parquet"
    columns = await engine.analyzer.describe_source(pattern, PARQUET)
    assert pairs(columns) == [("a", "INTEGER"), ("b", "VARCHAR")]
    result = await run("SELECT * FROM ns.t ORDER BY a", [source("ns.t", PARQUET, f"file://{pattern}", columns)])
    assert result.rows() == [(1, "x"), (2, "y")]


async def test_csv_files_with_names_are_described_and_read(engine: WholeEngine, data: Path, run: Run) -> None:
    (data / "1.csv").write_text("a,b,c\n1,x,2020-01-01\n")
    columns = await engine.analyzer.describe_source(f"{data}/*.csv", NAMED)
    assert pairs(columns) == [("a", "BIGINT"), ("b", "VARCHAR"), ("c", "DATE")]
    # Another order, one column more, no rows at all: columns are matched by name.
    (data / "2.csv").write_text("C,b,a,d\n2020-01-02,y,2,9\n")
    (data / "3.csv").write_text("")
    result = await run("SELECT * FROM t ORDER BY a", [source("t", NAMED, f"{data}/*.csv", columns)])
    assert result.types == ["BIGINT", "VARCHAR", "DATE"]
    assert result.rows("a, b, c::VARCHAR") == [(1, "x", "2020-01-01"), (2, "y", "2020-01-02")]


async def test_csv_files_without_names_are_described_and_read(engine: WholeEngine, data: Path, run: Run) -> None:
    (data / "1.csv").write_text("1,x\n2,y\n")
    columns = await engine.analyzer.describe_source(f"{data}/1.csv", CSV)
    assert pairs(columns) == [("column0", "BIGINT"), ("column1", "VARCHAR")]
    (data / "1.csv").write_text("3,4\n")
    result = await run("SELECT * FROM t", [source("t", CSV, f"{data}/1.csv", columns)])
    assert result.types == ["BIGINT", "VARCHAR"]
    assert result.rows() == [(3, "4")]


async def test_json_lines_are_described_and_read(engine: WholeEngine, data: Path, run: Run) -> None:
    (data / "1.json").write_text('{"a": 1, "b": {"c": ["x"]}}\n{"a": null}\n')
    columns = await engine.analyzer.describe_source(f"{data}/1.json", JSON)
    assert pairs(columns) == [("a", "BIGINT"), ("b", "STRUCT(c VARCHAR[])")]
    (data / "1.json").write_text('{"b": {"c": ["y"]}, "z": 1}\n')
    result = await run("SELECT * FROM t", [source("t", JSON, f"{data}/1.json", columns)])
    assert result.rows() == [(None, {"c": ["y"]})]


async def test_types_do_not_drift_with_the_data(engine: WholeEngine, data: Path, run: Run) -> None:
    (data / "1.csv").write_text("a,b\n1,007x\n")
    columns = await engine.analyzer.describe_source(f"{data}/*.csv", NAMED)
    (data / "1.csv").write_text("a,b\n2,008\n")
    result = await run("SELECT * FROM t", [source("t", NAMED, f"{data}/*.csv", columns)])
    assert result.rows() == [(2, "008")]
    (data / "1.csv").write_text("a,b\n1,x\ntwo,y\n")
    with pytest.raises(QueryFailed) as raised:
        await run("SELECT * FROM t", [source("t", NAMED, f"{data}/*.csv", columns)])
    assert '"a"' in raised.value.message
    assert f"{data}/1.csv" in raised.value.message
    assert "delimiter" not in raised.value.message


async def test_a_vanished_column_is_named(engine: WholeEngine, data: Path, run: Run) -> None:
    write_parquet(data / "1.parquet", "SELECT 1 AS kept, 2 AS dep_delay")
    (data / "1.csv").write_text("kept,dep_delay\n1,2\n")
    of_parquet = await engine.analyzer.describe_source(f"{data}/*.parquet", PARQUET)
    of_csv = await engine.analyzer.describe_source(f"{data}/*.csv", NAMED)
    write_parquet(data / "1.parquet", "SELECT 1 AS kept")
    (data / "1.csv").write_text("kept\n1\n")
    with pytest.raises(QueryFailed, match=r'Reading "t": the column "dep_delay" is missing in .*1\.parquet'):
        await run("SELECT dep_delay FROM t", [source("t", PARQUET, f"{data}/*.parquet", of_parquet)])
    with pytest.raises(QueryFailed, match=r'Reading "t":.*"dep_delay"'):
        await run("SELECT dep_delay FROM t", [source("t", NAMED, f"{data}/*.csv", of_csv)])


async def test_a_source_without_files_is_a_missing_input(run: Run, data: Path) -> None:
    with pytest.raises(InputMissing) as raised:
        await run("SELECT * FROM flights", [source("flights", PARQUET, f"{data}/*.parquet")])
    assert raised.value.message == f'Source table "flights" has no files that match {data}/*.parquet.'


async def test_a_source_outside_the_roots_is_not_read_even_if_it_was_saved(run: Run, tmp_path: Path) -> None:
    write_parquet(tmp_path / "1.parquet", "SELECT 1 AS a")
    with pytest.raises(InputMissing, match="outside the folders"):
        await run("SELECT * FROM t", [source("t", PARQUET, f"{tmp_path}/1.parquet")])


@pytest.mark.parametrize("kind", [CSV, NAMED, JSON, PARQUET])
async def test_a_damaged_file_is_named(engine: WholeEngine, data: Path, kind: SourceFormat) -> None:
    if kind is PARQUET:
        write_parquet(data / "1.file", "SELECT 1 AS a")
    (data / "2.file").write_bytes(bytes(range(128, 256)) * 50)
    with pytest.raises(InvalidSource) as raised:
        await engine.analyzer.describe_source(f"{data}/*.file", kind)
    assert f"{data}/2.file" in raised.value.message
    assert raised.value.attr == "url_pattern"


@pytest.mark.parametrize("kind", [CSV, NAMED, JSON])
async def test_empty_files_have_no_columns_to_tell(engine: WholeEngine, data: Path, kind: SourceFormat) -> None:
    (data / "1.file").write_text("")
    with pytest.raises(InvalidSource, match="holds no data"):
        await engine.analyzer.describe_source(f"{data}/*.file", kind)


async def test_a_pattern_that_matches_nothing_is_named(engine: WholeEngine, data: Path) -> None:
    for pattern in (f"{data}/none*.csv", f"{data}/none/x.csv", f"{data}/none/*/x.csv"):
        with pytest.raises(InvalidSource) as raised:
            await engine.analyzer.describe_source(pattern, NAMED)
        assert raised.value.message == f"No file matches {pattern}."
        assert raised.value.attr == "url_pattern"


async def test_without_roots_the_setting_is_named(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    try:
        with pytest.raises(InvalidSource, match="MATVIEW_SOURCE_ROOTS"):
            await engine.analyzer.describe_source(f"{tmp_path}/*.parquet", PARQUET)
    finally:
        await engine.close()


def shown(pattern: object, *roots: Path) -> list[str]:
    return [file.shown for file in find_source_files(str(pattern), roots)]


def test_wildcards_match_within_one_segment(tmp_path: Path) -> None:
    for name in ("a1.csv", "a2.csv", "b[1].csv", "deep/a3.csv", ".hidden.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a9.csv").mkdir()
    assert shown(tmp_path / "a?.csv", tmp_path) == [f"{tmp_path}/a1.csv", f"{tmp_path}/a2.csv"]
    assert shown(f"file://{tmp_path}/*.csv", tmp_path) == [f"{tmp_path}/{n}" for n in ("a1.csv", "a2.csv", "b[1].csv")]
    assert shown(tmp_path / "b[1].csv", tmp_path) == [f"{tmp_path}/b[1].csv"]
    assert shown(tmp_path / "*" / "*.csv", tmp_path) == [f"{tmp_path}/deep/a3.csv"]
    assert shown(f"{tmp_path}//./deep/a3.csv", tmp_path) == [f"{tmp_path}/deep/a3.csv"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("http://example.com/x.csv", "Only local files"),
        ("s3://bucket/x.csv", "Only local files"),
        ("data/x.csv", "Only local files"),
        ("", "Only local files"),
        ("file://data/x.csv", "Only local files"),
        ("{root}/x\n.csv", "Only local files"),
        ("{root}/x\0.csv", "Only local files"),
        ("{root}/../x.csv", "may not contain '..'"),
        ("{root}/**/x.csv", "is not supported"),
        ("{root}/" + "x" * 500, "no more than 500 characters"),
        ("/etc/passwd", "/etc/passwd lies outside"),
        ("/proc/self/environ", "lies outside"),
        ("{root}bis/x.csv", "lies outside"),
        ("/*/x.csv", "lies outside"),
        ("{root}", "{root} lies outside"),
        ("{root}/folder", "is not a file"),
        ("{root}/pipe", "is not a file"),
        ("{root}/p*", "is not a file"),
        ("{root}/out.csv", "out.csv leads outside"),
        ("{root}/*.csv", "out.csv leads outside"),
        ("{root}/outdir/x.csv", "leads outside"),
        ("{root}/" + "y" * 300, "cannot be read"),
    ],
)
def test_a_pattern_that_breaks_a_rule_says_which(tmp_path: Path, pattern: str, message: str) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    os.mkfifo(root / "pipe")
    (tmp_path / "x.csv").touch()
    (root / "out.csv").symlink_to(tmp_path / "x.csv")
    (root / "outdir").symlink_to(tmp_path)
    with pytest.raises(InvalidSource) as raised:
        find_source_files(pattern.replace("{root}", str(root)), [root])
    assert message.replace("{root}", str(root)) in raised.value.message
    assert raised.value.attr == "url_pattern"


def test_links_inside_the_roots_are_followed_and_a_root_may_be_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.csv").touch()
    (tmp_path / "real" / "link.csv").symlink_to("x.csv")
    (tmp_path / "root").symlink_to("real")
    (file,) = find_source_files(f"{tmp_path}/root/l*.csv", [tmp_path / "root"])
    assert file.shown == f"{tmp_path}/root/link.csv"
    assert file.real == os.path.realpath(tmp_path / "real" / "x.csv")


def test_the_windows_into_the_machine_are_never_files() -> None:
    for path in ("/proc/self/environ", "/proc/1/cmdline", "/sys/kernel/uevent_seqnum", "/dev/null"):
        with pytest.raises(InvalidSource, match="private to this installation"):
            find_source_files(path, [Path("/")])
