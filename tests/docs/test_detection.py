"""Each row of the guide's table of detected types is a test."""

import re
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import duckdb
import pytest

from orchestrator.model.errors import QueryFailed
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import SourceFormat
from orchestrator.model.write_target import WriteTarget
from tests.docs.pages import ROOT
from tests.engines.conftest import WholeEngine, file_url, make_engine, make_plan, source

FORMATS = {"CSV": SourceFormat.CSV_WITH_NAMES, "JSON": SourceFormat.JSON_EACH_ROW, "Parquet": SourceFormat.PARQUET}


def rows_of_the_table() -> list[tuple[str, ...]]:
    section = (ROOT / "docs" / "using.md").read_text().partition("### What is detected")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if re.match(r"\| (CSV|JSON|Parquet) ", line)]
    assert len(lines) > 30
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def write(path: Path, form: str, values: list[str]) -> None:
    if form == "CSV":
        path.write_text("v,other\n" + "".join(f"{value},x\n" for value in values))
    elif form == "JSON":
        path.write_text("".join(f'{{"v": {value}}}\n' for value in values))
    else:
        with duckdb.connect() as connection:
            union = " UNION ALL ".join(f"SELECT {value} AS v" for value in values)
            connection.execute(f"COPY ({union}) TO '{path}' (FORMAT parquet)")


async def rows_read(engine: WholeEngine, folder: Path, form: str, columns: Sequence[Column]) -> int:
    out = folder / uuid4().hex
    out.mkdir()
    plan = make_plan("SELECT v FROM t", [source("t", FORMATS[form], f"{folder}/?", columns)])
    return (await engine.write(plan, file_url, WriteTarget.local(out), lambda _: None)).rows


@pytest.mark.parametrize("row", rows_of_the_table(), ids=lambda row: f"{row[0]} {row[2]}")
async def test_a_row_of_the_table_says_what_is_detected_and_what_ends_a_run(
    row: tuple[str, ...], tmp_path: Path
) -> None:
    form, values, (kind,), refused = row[0], codes(row[1]), codes(row[2]), codes(row[3])
    write(tmp_path / "1", form, values)
    engine = make_engine(tmp_path / "scratch", roots=[tmp_path])
    try:
        columns = await engine.analyzer.describe_source(f"{tmp_path}/?", FORMATS[form], project_id=1)
        assert columns[0].duckdb_type == kind
        assert await rows_read(engine, tmp_path, form, columns) == len(values)
        for value in refused:
            write(tmp_path / "2", form, [value])
            with pytest.raises(QueryFailed, match='the column "v"'):
                await rows_read(engine, tmp_path, form, columns)
    finally:
        await engine.close()
