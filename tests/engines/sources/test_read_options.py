"""Source tables whose files have a stated dialect, stated columns or folders that are columns."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.model.errors import InvalidSource
from orchestrator.model.source_table import SourceFormat
from tests.engines.sources.tables import Tables
from tests.engines.sources.test_discovery import CSV, JSON, NAMED, PARQUET


async def test_csv_is_read_in_the_dialect_that_is_stated(tables: Tables) -> None:
    path = tables.data / "a.csv"
    path.write_bytes("name;price;day;note\n'M;ü';1,50;31.12.2024;NA\n'x';-3;01.02.2024;'NA''s'\n".encode("latin-1"))
    table = tables.over("a.csv", NAMED)
    columns = await table.add(
        delimiter=";", quote="'", decimal_separator=",", date_format="%d.%m.%Y", null_text="NA", encoding="latin-1"
    )
    assert columns == [("name", "VARCHAR"), ("price", "DOUBLE"), ("day", "DATE"), ("note", "VARCHAR")]
    assert await table.rows("name, price, day::VARCHAR, note") == [
        ("M;ü", 1.5, "2024-12-31", None),
        ("x", -3.0, "2024-02-01", "NA's"),
    ]


async def test_columns_of_a_file_without_a_header_can_be_named(tables: Tables) -> None:
    tables.write("a.csv", "02134,1\n")
    table = tables.over("a.csv", CSV)
    assert await table.add({"zip": "VARCHAR", "n": "INTEGER"}) == [("zip", "VARCHAR"), ("n", "INTEGER")]
    assert await table.rows() == [("02134", 1)]
    assert await table.add({"column0": "VARCHAR"}) == [("column0", "VARCHAR"), ("column1", "BIGINT")]


@pytest.mark.parametrize("kind", [NAMED, JSON, PARQUET])
async def test_files_with_other_columns_are_united_by_name_if_that_is_asked_for(
    tables: Tables, kind: SourceFormat
) -> None:
    def write(name: str, rows: list[dict[str, Any]]) -> None:
        if kind is PARQUET:
            pq.write_table(pa.Table.from_pylist(rows), tables.data / name)
        elif kind is JSON:
            tables.write(name, "".join(json.dumps(row) + "\n" for row in rows))
        else:
            tables.write(name, ",".join(rows[0]) + "\n" + "".join(",".join(map(str, r.values())) + "\n" for r in rows))

    write("1", [{"a": 1, "b": "x"}])
    write("2", [{"a": 2, "c": 7}])
    table = tables.over("*", kind)
    if kind is not JSON:
        with pytest.raises(InvalidSource, match='"b"'):
            await table.add()
    assert sorted(await table.add(union_by_name=True)) == [("a", "BIGINT"), ("b", "VARCHAR"), ("c", "BIGINT")]
    assert await table.rows("a, b, c") == [(1, "x", None), (2, None, 7)]
    write("3", [{"a": 3, "d": 1}])
    assert (await table.rows("a, b, c"))[2] == (3, None, None)  # new columns are added when the schema is refreshed
    assert ("d", "BIGINT") in await table.add(union_by_name=True)


@pytest.mark.parametrize("kind", [NAMED, JSON, PARQUET])
async def test_folders_named_key_value_are_columns_if_that_is_asked_for(tables: Tables, kind: SourceFormat) -> None:
    for day, code in (("2024-01-01", "007"), ("2024-01-02", "__HIVE_DEFAULT_PARTITION__")):
        path = tables.data / f"day={day}" / f"code={code}" / "x"
        path.parent.mkdir(parents=True)
        if kind is PARQUET:
            pq.write_table(pa.table({"a": [1]}), path)
        else:
            path.write_text('{"a": 1}\n' if kind is JSON else "a\n1\n")
    table = tables.over("*/*/x", kind)
    assert await table.add() == [("a", "BIGINT")]
    assert await table.add(hive_partitioning=True) == [("a", "BIGINT"), ("code", "VARCHAR"), ("day", "DATE")]
    assert await table.rows("a, code, day::VARCHAR") == [(1, "007", "2024-01-01"), (1, None, "2024-01-02")]
    assert ("day", "VARCHAR") in await table.add({"day": "VARCHAR"}, hive_partitioning=True)
