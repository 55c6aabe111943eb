"""Files that are read as they are, or refused by name, however odd they are."""

from collections.abc import AsyncIterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.model.errors import InvalidSource
from orchestrator.model.source_table import SourceFormat
from tests.engines.conftest import Run, make_engine
from tests.engines.sources.tables import Tables
from tests.engines.sources.test_discovery import CSV, JSON, NAMED, PARQUET


@pytest.fixture
async def patient(roots: Path, data: Path, run: Run, tmp_path: Path) -> AsyncIterator[Tables]:
    """Tables over files that are analyzed for up to a minute: the machine may be busy."""
    engine = make_engine(tmp_path / "scratch", roots=[roots], analysis_seconds=60)
    yield Tables(engine, run, data)
    await engine.close()


async def test_names_that_differ_beyond_ascii_are_two_columns(tables: Tables) -> None:
    pq.write_table(pa.table({"ä": [1], "Ä": ["x"]}), tables.data / "a.parquet")
    table = tables.over("*.parquet", PARQUET)
    assert await table.add() == [("ä", "BIGINT"), ("Ä", "VARCHAR")]
    assert await table.rows() == [(1, "x")]
    tables.write("a.csv", "ä,Ä\n1,x\n")
    table = tables.over("*.csv", NAMED)
    assert await table.add() == [("ä", "BIGINT"), ("Ä", "VARCHAR")]
    assert await table.rows() == [(1, "x")]
    tables.write("a.ndjson", '{"ä": 1, "Ä": "x"}\n')
    table = tables.over("*.ndjson", JSON)
    assert await table.add() == [("ä", "BIGINT"), ("Ä", "VARCHAR")]
    assert await table.rows() == [(1, "x")]


async def test_a_column_whose_name_holds_a_zero_byte_or_is_too_long_is_refused_and_the_file_named(
    patient: Tables,
) -> None:
    patient.write("a.ndjson", '{"a\\u0000b": 1}\n')
    patient.write("b.ndjson", '{"o": {"k\\u0000": 1}}\n')
    pq.write_table(pa.table({"a\0b": [1]}), patient.data / "a.parquet")
    patient.write("a.csv", "a\0b,c\n1,2\n")
    pq.write_table(pa.table({"x" * 40_000_000: [1]}), patient.data / "c.parquet")
    for name, kind, said in (
        ("a.ndjson", JSON, "zero byte"), ("b.ndjson", JSON, "zero byte"), ("a.parquet", PARQUET, "zero byte"),
        ("a.csv", NAMED, "zero byte"), ("c.parquet", PARQUET, "longer than 1,000 characters"),
    ):  # fmt: skip
        with pytest.raises(InvalidSource, match=said) as raised:
            await patient.over(name, kind).add()
        assert name in raised.value.message


async def test_a_file_of_three_thousand_columns_can_be_registered_and_read(patient: Tables) -> None:
    names = [f"gene_{k:06}" for k in range(3000)]
    patient.write("a.csv", ",".join(names) + "\n" + ",".join(["1"] * 3000) + "\n")
    table = patient.over("a.csv", NAMED)
    assert await table.add() == [(name, "BIGINT") for name in names]
    assert (await table.read("SELECT gene_000000 + gene_002999 AS s FROM t")).rows() == [(2,)]


async def test_a_json_file_that_is_one_array_is_read_as_its_rows(tables: Tables) -> None:
    tables.write("a.json", ' \n[{"a": 1, "b": "x"},\n {"a": 2}]\n')
    tables.write("b.json", '{"a": 3}\n')
    table = tables.over("*.json", JSON)
    assert sorted(await table.add()) == [("a", "BIGINT"), ("b", "VARCHAR")]
    assert await table.rows("a, b") == [(1, "x"), (2, None), (3, None)]
    tables.write("a.json", '[{"a": 1}, {"a": 2.5}]')
    assert 'row 2: the column "a" is BIGINT, which "2.5" does not fit' in await table.failure()


@pytest.mark.parametrize("text", ["a,b\n1,2\r\n3,4\r\n", "a,b\r\n1,2\n", "a,b\n1,2\r3,4\n"])
async def test_a_csv_file_that_mixes_line_ends_is_refused_by_name(tables: Tables, text: str) -> None:
    path = tables.write("a.csv", text)
    with pytest.raises(InvalidSource, match="ends its lines in more than one way") as raised:
        await tables.over("a.csv", NAMED).add()
    assert str(path) in raised.value.message


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
async def test_every_line_end_that_is_the_same_throughout_is_read(tables: Tables, ending: str) -> None:
    tables.write("a.csv", ending.join(["a,b", "1,x", "2,y"]))
    table = tables.over("a.csv", NAMED)
    assert await table.add() == [("a", "BIGINT"), ("b", "VARCHAR")]
    assert await table.rows() == [(1, "x"), (2, "y")]


@pytest.mark.parametrize(
    "text", ["5\n", "[1]\n\n7", '"x"\n', '{"a": 1, "a": 2}\n', '{"a": 1}\n{"a": 12345678901234567.8, "a": 1}\n']
)
async def test_a_json_row_that_is_no_object_or_has_a_key_twice_is_refused(tables: Tables, text: str) -> None:
    tables.write("a.ndjson", '{"a": 1.5}\n')
    table = tables.over("*.ndjson", JSON)
    await table.add()
    tables.write("b.ndjson", text)
    assert await table.failure()
    with pytest.raises(InvalidSource):
        await table.add()


async def test_an_empty_line_of_a_file_with_one_column_is_a_row_whose_field_is_null(tables: Tables) -> None:
    tables.write("a.csv", "a\n1\n\n2\n")
    table = tables.over("*.csv", NAMED)
    await table.add()
    assert await table.rows() == [(1,), (2,), (None,)]
    path = tables.write("a.csv", "a\n1\n\nx\n")
    assert f'{path}, line 4: the column "a" is BIGINT, which "x" does not fit' in await table.failure()


@pytest.mark.parametrize("kind", [CSV, NAMED, JSON])
async def test_a_file_that_is_a_byte_order_mark_alone_holds_no_rows(tables: Tables, kind: SourceFormat) -> None:
    tables.write("a", '{"a": 1}\n' if kind is JSON else "a\n1\n")
    table = tables.over("*", kind)
    await table.add()
    before = await table.rows()
    (tables.data / "b").write_bytes(b"\xef\xbb\xbf")
    assert await table.rows() == before
