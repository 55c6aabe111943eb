"""Rows that do not fit, left out or kept apart where the source table says so."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.model.source_table import SourceFormat
from tests.engines.sources.tables import Table, Tables
from tests.engines.sources.test_discovery import JSON, NAMED

# A file with five rows that do not fit, and the lines in which they begin.
BAD_ROWS = {
    NAMED: ('id,v\n1,1\n2,x\n3\n4,4,4\n\n"5\n",5\n6,6\n7,1.5\n', [3, 4, 5, 7, 10]),
    JSON: (
        "\n".join(
            [
                '{"id": 1, "v": 1}',
                '{"id": 2, "v": "x"}',
                "",
                '{"id": 3',
                "5",
                '{"id": 6, "v": 6}',
                '{"id": 7, "v": 1.5}',
                '{"id": 8, "id": 9}',
                "",
            ]
        ),
        [2, 4, 5, 7, 8],
    ),
}


async def with_bad_rows(tables: Tables, kind: SourceFormat, on_bad_row: str) -> tuple[Table, Path]:
    """A table that was added with one good file, and a second file with five bad rows, which came later."""
    tables.write("a", "id,v\n1,1\n" if kind is NAMED else '{"id": 1, "v": 1}\n')
    table = tables.over("*", kind)
    await table.add(on_bad_row=on_bad_row)
    return table, tables.write("b", BAD_ROWS[kind][0])


@pytest.mark.parametrize("kind", [NAMED, JSON])
async def test_rows_that_do_not_fit_are_left_out_if_that_is_stated_and_counted(
    tables: Tables, kind: SourceFormat
) -> None:
    table, _ = await with_bad_rows(tables, kind, "skip")
    result = await table.read()
    assert sorted(result.rows()) == [(1, 1), (1, 1), (6, 6)]
    assert [(one.table, one.rows, one.file) for one in result.written.rejected] == [("t", 5, None)]
    # Also where the query reads no column with a value that does not fit.
    assert (await table.read("SELECT count(*) FROM t")).rows() == [(3,)]


@pytest.mark.parametrize("kind", [NAMED, JSON])
async def test_rows_that_do_not_fit_are_kept_if_that_is_stated_with_file_line_column_and_text(
    tables: Tables, kind: SourceFormat
) -> None:
    table, path = await with_bad_rows(tables, kind, "quarantine")
    result = await table.read()
    assert sorted(result.rows()) == [(1, 1), (1, 1), (6, 6)]
    (rejected,) = result.written.rejected
    assert rejected.rows == 5
    assert rejected.file
    kept = pq.read_table(result.folder / rejected.file.name).to_pylist()
    assert rejected.file.bytes == (result.folder / rejected.file.name).stat().st_size
    assert [row["line"] for row in kept] == BAD_ROWS[kind][1]
    assert {row["file"] for row in kept} == {str(path)}
    assert all(row["reason"] for row in kept)
    first = kept[0]
    assert (first["column"], first["text"].strip('"'), "2" in first["row"]) == ("v", "x", True)


async def test_a_table_all_of_whose_rows_fit_leaves_nothing_out(tables: Tables) -> None:
    tables.write("a.csv", "id\n1\n")
    table = tables.over("*.csv", NAMED)
    await table.add(on_bad_row="quarantine")
    result = await table.read()
    assert (result.rows(), result.written.rejected) == ([(1,)], ())
    assert [path.name for path in result.folder.iterdir()] == [file.name for file in result.written.files]
