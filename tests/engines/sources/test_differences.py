"""Files of one table that differ in their columns: what is said of them when the table is added or read again."""

from pathlib import Path

import pytest

from orchestrator.model.errors import InvalidSource
from orchestrator.model.source_table import FileDifference, ReadOptions, SourceFormat
from tests.engines.conftest import WholeEngine
from tests.engines.sources.tables import Tables
from tests.engines.sources.test_discovery import PARQUET, write_parquet

CSV = SourceFormat.CSV_WITH_NAMES
BY_NAME = ReadOptions(union_by_name=True)


def parquet_months(data: Path) -> None:
    write_parquet(data / "01.parquet", "SELECT 1 AS id, 'x' AS country")
    write_parquet(data / "02.parquet", "SELECT 2 AS id, 'y' AS country")
    write_parquet(data / "03.parquet", "SELECT 3 AS id, 'z' AS country, 'web' AS channel")
    write_parquet(data / "04.parquet", "SELECT 4 AS ID, 'z' AS country, 'web' AS channel")


async def test_the_number_and_size_of_the_files_are_known(engine: WholeEngine, data: Path) -> None:
    parquet_months(data)
    found = await engine.analyzer.inspect_source(f"{data}/*.parquet", PARQUET)
    assert (found.file_count, found.bytes) == (4, sum(path.stat().st_size for path in data.iterdir()))


@pytest.mark.parametrize("kind", [PARQUET, CSV])
async def test_a_column_of_a_later_file_is_not_passed_over_in_silence(
    engine: WholeEngine, data: Path, kind: SourceFormat
) -> None:
    parquet_months(data)
    for number, channel in ((1, ""), (2, ""), (3, ",channel"), (4, ",channel")):
        (data / f"0{number}.csv").write_text(f"id,country{channel}\n{number},x{channel}\n")
    ending = "parquet" if kind is PARQUET else "csv"
    found = await engine.analyzer.inspect_source(f"{data}/*.{ending}", kind)
    assert [one.name for one in found.columns] == ["id", "country"]
    (difference,) = found.differences if kind is CSV else [found.differences[0]]
    assert difference.path == f"{data}/03.{ending}"
    assert (difference.missing, difference.additional, difference.additional_count) == ((), ("channel",), 1)
    together = await engine.analyzer.inspect_source(f"{data}/*.{ending}", kind, BY_NAME)
    assert [one.name for one in together.columns] == ["id", "country", "channel"]
    assert together.differences == (
        FileDifference(path=f"{data}/01.{ending}", file_count=2, missing=("channel",), missing_count=1),
    )


async def test_by_name_the_rows_of_a_file_without_the_column_have_null(tables: Tables) -> None:
    tables.write("1.csv", "id,country\n1,x\n")
    tables.write("2.csv", "channel,id\nweb,2\n")
    table = tables.over("*.csv", CSV)
    assert [name for name, _ in await table.add(union_by_name=True)] == ["id", "country", "channel"]
    assert await table.rows() == [(1, "x", None), (2, None, "web")]


@pytest.mark.parametrize("kind", [PARQUET, CSV])
async def test_a_file_that_lacks_a_column_is_refused_with_the_option_that_helps(
    engine: WholeEngine, data: Path, kind: SourceFormat
) -> None:
    write_parquet(data / "1.parquet", "SELECT 1 AS id, 'x' AS country")
    write_parquet(data / "2.parquet", "SELECT 2 AS id")
    (data / "1.csv").write_text("id,country\n1,x\n")
    (data / "2.csv").write_text("id\n2\n")
    with pytest.raises(InvalidSource, match="--union-by-name"):
        await engine.analyzer.inspect_source(f"{data}/*.{'parquet' if kind is PARQUET else 'csv'}", kind)


async def test_of_many_differences_only_the_first_are_given(engine: WholeEngine, data: Path) -> None:
    (data / "000.csv").write_text("id\n1\n")
    for number in range(1, 60):
        names = ",".join(f"c{number}_{n}_{'x' * 300}" for n in range(50))
        (data / f"{number:03}.csv").write_text(f"id,{names}\n1{',1' * 50}\n")
    found = await engine.analyzer.inspect_source(f"{data}/*.csv", CSV)
    assert len(found.differences) == 20
    assert found.differences[0].additional_count == 50
    assert len(found.differences[0].additional) == 20
    assert max(map(len, found.differences[0].additional)) < 140


async def test_a_path_outside_of_the_roots_is_refused_with_their_names(engine: WholeEngine, roots: Path) -> None:
    with pytest.raises(InvalidSource) as raised:
        await engine.analyzer.inspect_source("/nowhere/*.csv", CSV)
    assert str(roots) in raised.value.message
    assert "--source-root" in raised.value.message
