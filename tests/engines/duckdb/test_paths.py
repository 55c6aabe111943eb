"""Paths that DuckDB would take for patterns, and links."""

import os
from pathlib import Path

import pytest

from orchestrator.engines.duckdb.sources.discovery import find_source_files
from orchestrator.model.errors import InputMissing, InvalidSource, QueryFailed
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import SourceFormat
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import Run, WholeEngine, file_url, make_engine, make_plan, snapshot, source
from tests.engines.sources.test_discovery import CSV, JSON, NAMED, PARQUET, write_parquet

COLUMN = Column(name="a", duckdb_type="INTEGER")


def write_number(path: Path, kind: SourceFormat, number: int) -> None:
    if kind is PARQUET:
        write_parquet(path, f"SELECT {number} AS a")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text({CSV: f"{number}\n", NAMED: f"a\n{number}\n", JSON: f'{{"a": {number}}}\n'}[kind])


@pytest.mark.parametrize("kind", [PARQUET, CSV, NAMED, JSON])
@pytest.mark.parametrize("name", ["f[1]", "f[!2-9]", "f*", "f?", "f[", "f[[]1[]]", "f\\1"])
async def test_a_file_name_is_never_taken_for_a_pattern(
    engine: WholeEngine, data: Path, run: Run, kind: SourceFormat, name: str
) -> None:
    for other in ("f1", "fx", "f"):
        write_number(data / f"{other}.data", kind, 1)
    write_number(data / f"{name}.data", kind, 2)
    (data / "links").mkdir()
    (data / "links" / "1.data").symlink_to(f"../{name}.data")
    pattern = f"{data}/links/*.data"
    (column,) = await engine.analyzer.describe_source(pattern, kind)
    result = await run("SELECT * FROM t", [source("t", kind, pattern, [column])])
    assert result.rows() == [(2,)]


async def test_a_path_that_duckdb_cannot_be_given_is_refused(engine: WholeEngine, data: Path, run: Run) -> None:
    (data / "a\\b[1].csv").write_text("1\n")
    with pytest.raises(InvalidSource, match="cannot be read: its path has a backslash"):
        await engine.analyzer.describe_source(f"{data}/*.csv", CSV)
    with pytest.raises(InputMissing, match=r'Source table "t": .* its path has a backslash'):
        await run("SELECT * FROM t", [source("t", CSV, f"{data}/*.csv", [COLUMN])])


@pytest.mark.parametrize("name", ["home[1]", "home*", "home?"])
async def test_every_folder_of_an_installation_may_look_like_a_pattern(tmp_path: Path, name: str) -> None:
    home, decoy = tmp_path / name, tmp_path / "home1"
    for folder in (home, decoy):
        for child in ("out", "out2", "sources"):
            (folder / child).mkdir(parents=True)
    write_parquet(home / "sources" / "x.parquet", "SELECT 2 AS a")
    write_parquet(decoy / "sources" / "x.parquet", "SELECT 1 AS a")
    (decoy / "out" / "data_0.parquet").write_text("not ours")
    engine = make_engine(home / "temp", roots=[home / "sources"], memory_mb=100)
    try:
        pattern = f"{home}/sources/*.parquet"
        columns = await engine.analyzer.describe_source(pattern, PARQUET)
        plan = make_plan("SELECT a FROM t", [source("t", PARQUET, pattern, columns)])
        first = await engine.write(plan, file_url, WriteTarget.local(home / "out"), lambda _: None)
        # Sorted so that it spills: the temporary folder is below the same path.
        sql = "SELECT a, i, md5(i::VARCHAR) AS m FROM s, range(2500000) r(i) ORDER BY m"
        plan = make_plan(sql, [snapshot("s", home / "out", first)])
        second = await engine.write(plan, file_url, WriteTarget.local(home / "out2"), lambda _: None)
    finally:
        await engine.close()
    assert (first.rows, second.rows) == (1, 2_500_000)
    assert first.columns == (COLUMN,)
    assert (decoy / "out" / "data_0.parquet").read_text() == "not ours"


async def test_messages_do_not_show_how_a_path_is_written_for_duckdb(data: Path, run: Run) -> None:
    (data / "x[1]").mkdir()
    (data / "x[1]" / "1.parquet").write_bytes(b"x" * 500)
    (data / "link").symlink_to("x[1]")
    with pytest.raises(QueryFailed) as raised:
        await run("SELECT * FROM t", [source("t", PARQUET, f"{data}/link/*.parquet", [COLUMN])])
    assert f"{data}/link/1.parquet" in raised.value.message
    assert "x[" not in raised.value.message


def test_a_pattern_may_go_through_a_link_to_a_root_and_a_root_may_be_given_as_one(tmp_path: Path) -> None:
    (tmp_path / "real" / "root" / "sub").mkdir(parents=True)
    (tmp_path / "real" / "root" / "sub" / "x.csv").touch()
    (tmp_path / "logical").symlink_to("real")
    (tmp_path / "deep").symlink_to("real/root/sub")
    real = tmp_path / "real" / "root"
    for root in (real, tmp_path / "logical" / "root"):
        for pattern in ("real/root/*/x.csv", "logical/root/s*/*.csv", "logical/root/sub/x.csv", "deep/x.csv"):
            (file,) = find_source_files(f"{tmp_path}/{pattern}", [root])
            assert file.real == os.path.realpath(real / "sub" / "x.csv")
            assert Path(file.shown).exists()
            assert file.shown.startswith(f"{tmp_path}/{pattern.split('/')[0]}/")


def test_a_link_does_not_lead_out_of_the_roots(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.csv").touch()
    (tmp_path / "inside").symlink_to("root")
    (tmp_path / "root" / "away").symlink_to("../other")
    for pattern in ("inside/away/x.csv", "inside/*/x.csv", "inside/away/*"):
        with pytest.raises(InvalidSource, match="outside the folders"):
            find_source_files(f"{tmp_path}/{pattern}", [tmp_path / "root"])
    for pattern in ("other/x.csv", "*/x.csv", "ins*/x.csv", "missing/x.csv"):
        with pytest.raises(InvalidSource, match="lies outside"):
            find_source_files(f"{tmp_path}/{pattern}", [tmp_path / "root"])
