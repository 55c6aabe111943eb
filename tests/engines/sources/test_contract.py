"""Text files read by contract: detected types lose nothing, stated types take what reads as them, runs enforce both."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.engines.duckdb.types.plain_csv import WORTH_BYTES
from orchestrator.model.errors import InvalidSource, QueryFailed
from tests.engines.conftest import Run, make_engine
from tests.engines.sources.tables import Tables
from tests.engines.sources.test_discovery import JSON, NAMED, PARQUET

GOOD = {"n": "1", "d": "1.5", "day": "2024-01-01", "ts": "2024-01-01 10:00:00", "flag": "true", "t": "10:00:00"}


# Texts that DuckDB would silently cast to the type.
LOOSE = [
    *(("n", text) for text in ("1.5", "1e2", "0x1F", "1_000", "007", " 7", "7 ", "+7", "-0", "12345678901234567890")),
    *(
        ("d", text)
        for text in ("01.5", ".5", "5.", "1e5", "inf", "nan", "1_0.5", " 1.5", "1.5\t", "12345678901234567.89")
    ),
    *(("day", text) for text in ("2024-01-02 23:45:00", "2024-1-2", "2024/01/02", " 2024-01-02", "20240102")),
    *(("ts", f"2024-01-02 23:45:00{rest}") for rest in ("+05:00", "Z", "+00", ".123456789", " UTC")),
    *(("flag", text) for text in ("yes", "1", "t", "TRUE", "True", "no")),
    *(("t", text) for text in ("10:00:00+03", "10:00:00.1234567", "2024-01-01 10:00:00")),
]


@pytest.mark.parametrize(("column", "text"), LOOSE)
async def test_a_later_csv_value_that_is_none_of_the_type_fails_the_run_and_is_named(
    tables: Tables, column: str, text: str
) -> None:
    tables.write("a.csv", f"{','.join(GOOD)}\n{','.join(GOOD.values())}\n")
    table = tables.over("*.csv", NAMED)
    types = ["BIGINT", "DOUBLE", "DATE", "TIMESTAMP", "BOOLEAN", "TIME"]
    assert await table.add() == [*zip(GOOD, types, strict=True)]
    later = tables.write(
        "b.csv", f"{','.join(GOOD)}\n{','.join(GOOD.values())}\n{','.join((GOOD | {column: text}).values())}\n"
    )
    said = await table.failure()
    assert f'{later}, line 3: the column "{column}" is' in said
    assert json.dumps(text) in said


async def test_a_large_file_is_read_quickly_and_its_last_value_is_held_to_the_same_rule(
    roots: Path, data: Path, run: Run, tmp_path: Path
) -> None:
    names = [f"c{number}" for number in range(60)]
    # Few long values take less time than many short ones. Their sum is exact: a 64th is a binary fraction.
    value = "12345678.015625"
    line, rows = ",".join([value] * 60), WORTH_BYTES // (60 * (len(value) + 1)) + 1
    patient = make_engine(tmp_path / "scratch", roots=[roots], analysis_seconds=60)  # the machine may be busy
    try:
        tables = Tables(patient, run, data)
        path = tables.write("large.csv", f"{','.join(names)}\n" + f"{line}\n" * rows)
        table = tables.over("large.csv", NAMED)
        await table.add()
    finally:
        await patient.close()
    total = f"SELECT count(*) AS n, {', '.join(f'sum({name}) AS {name}' for name in names)} FROM t"
    assert (await table.read(total)).rows("n, c0, c59") == [(rows, rows * float(value), rows * float(value))]
    with path.open("a") as more:
        more.write(f"{line.removesuffix(value)}0{value}\n")
    with pytest.raises(
        QueryFailed, match=f'line {rows + 2}: the column "c59" is DOUBLE, which "0{value}" does not fit'
    ):
        await table.read(total)


JSON_GOOD = {"n": 1, "d": 1.5, "day": "2024-01-01", "ts": "2024-01-01T10:00:00", "flag": True, "o": {"k": 1}, "l": [1]}


JSON_LOOSE = [
    *(("n", text) for text in ("2.5", "true", '"7"', '"x"', "[1]", "12345678901234567890", "1e2", "1.0")),
    *(("d", text) for text in ('"1.5"', "true", "12345678901234567.89", "NaN")),
    *(("day", text) for text in ('"2024-01-02T23:45:00Z"', '"2024-1-2"', "20240102", '"01-02-2024"')),
    *(("ts", text) for text in ('"2024-01-02T23:45:00+05:00"', '"2024-01-02T23:45:00Z"', "1704153600")),
    *(("flag", text) for text in ("1", '"true"', "0")),
    *(("o", text) for text in ('{"k": 2.6}', '{"k": "1"}', "[1]", "7", '{"k": {"z": 1}}')),
    *(("l", text) for text in ("[1, 2.5]", '["1"]', '{"a": 1}', "[[1]]", "[true]")),
]


@pytest.mark.parametrize(("column", "text"), JSON_LOOSE)
async def test_a_later_json_value_that_is_none_of_the_type_fails_the_run_and_is_named(
    tables: Tables, column: str, text: str
) -> None:
    good = json.dumps(JSON_GOOD)
    tables.write("a.ndjson", f"{good}\n")
    table = tables.over("*.ndjson", JSON)
    types = ["BIGINT", "DOUBLE", "DATE", "TIMESTAMP", "BOOLEAN", "STRUCT(k BIGINT)", "BIGINT[]"]
    assert await table.add() == [*zip(JSON_GOOD, types, strict=True)]
    wrong = json.dumps(JSON_GOOD | {column: "HERE"}).replace('"HERE"', text)
    later = tables.write("b.ndjson", f"{good}\n\n{wrong}\n")
    said = await table.failure()
    assert f'{later}, line 3: the column "{column}" is' in said


async def test_codes_with_leading_zeros_stay_as_they_are(tables: Tables) -> None:
    tables.write("a.csv", "zip,city\n02134,Boston\n90210,LA\n")
    table = tables.over("*.csv", NAMED)
    assert await table.add() == [("zip", "VARCHAR"), ("city", "VARCHAR")]
    assert await table.rows() == [("02134", "Boston"), ("90210", "LA")]


async def test_long_ids_keep_their_digits(tables: Tables) -> None:
    tables.write("a.csv", "value,name\n12345678901234567890,abc\n12345678901234567891,abd\n")
    table = tables.over("*.csv", NAMED)
    assert await table.add() == [("value", "HUGEINT"), ("name", "VARCHAR")]
    assert (await table.read("SELECT count(DISTINCT value) AS n, max(value)::VARCHAR AS m FROM t")).rows() == [
        (2, "12345678901234567891")
    ]


async def test_json_numbers_keep_their_digits_also_inside_of_objects_and_arrays(tables: Tables) -> None:
    text = 'a: 1.2345678901234567890, b "'
    numbers = '"i": 12345678901234567891, "d": 12345678901234567.89, "o": {"x": [1.5,12345678901234567.89,2]}'
    tables.write("a.ndjson", f'{{{numbers}, "s": {json.dumps(text)}}}\n')
    table = tables.over("*.ndjson", JSON)
    assert await table.add() == [
        ("i", "HUGEINT"),
        ("d", "DECIMAL(38,2)"),
        ("o", "STRUCT(x DECIMAL(38,2)[])"),
        ("s", "VARCHAR"),
    ]
    (row,) = (await table.read("SELECT i::VARCHAR, d::VARCHAR, o.x::VARCHAR, s FROM t")).rows()
    assert row == (
        "12345678901234567891", "12345678901234567.89", "[1.50, 12345678901234567.89, 2.00]", text,
    )  # fmt: skip


async def test_no_type_changes_how_a_text_is_written(tables: Tables) -> None:
    texts = ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "2024-01-02T10:00:00.123456789Z", "2024-01-02 10:00:00+05:00"]
    tables.write(
        "a.ndjson", "".join(json.dumps({"a": text, "l": [text], "o": {"k": text}}) + "\n" for text in texts[:1])
    )
    tables.write("b.ndjson", json.dumps({"b": texts[1], "c": texts[2]}) + "\n")
    table = tables.over("*.ndjson", JSON)
    assert {kind for _, kind in await table.add()} == {"VARCHAR", "VARCHAR[]", "STRUCT(k VARCHAR)"}
    assert (await table.read("SELECT max(a), max(b), max(c) FROM t")).rows() == [tuple(texts)]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("BIGINT", ["007", "+7", "7.0", "1e2", " 7"], ["7.5", "x", "1e-1", "9223372036854775808"]),
        ("UTINYINT", ["255"], ["256", "-1"]),
        ("VARCHAR", ["02134", "x"], []),
        ("DOUBLE", ["1", ".5", "1e5", "inf", "0.1"], ["x", "1e400", "12345678901234567.89"]),
        ("DECIMAL(10,2)", ["1.50", "1.500", "7"], ["1.505", "123456789.00"]),
        ("DATE", ["2024-01-02", "2024-1-2"], ["2024-01-02 23:45:00", "2024-02-30"]),
        ("TIMESTAMP", ["2024-01-02", "2024-01-02T23:45"], ["2024-01-02 23:45:00+05:00", "2024-01-02 23:45:00Z"]),
        ("TIMESTAMP WITH TIME ZONE", ["2024-01-02 23:45:00+05:00", "2024-01-02 23:45:00Z"], ["x"]),
        ("TIMESTAMP_NS", ["2024-01-02 23:45:00.123456789"], ["2024-01-02 23:45:00.1234567891"]),
        ("BOOLEAN", ["true", "yes", "1"], ["maybe"]),
        ("UUID", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"], ["x"]),
        ("INTEGER[]", ["[1, 2]"], ["[x]"]),
    ],
)
async def test_a_stated_type_takes_what_reads_as_it_without_loss(
    tables: Tables, kind: str, good: list[str], bad: list[str]
) -> None:
    tables.write("a.csv", "id;v\n" + "".join(f"{n};{text}\n" for n, text in enumerate(good)))
    table = tables.over("a.csv", NAMED)
    assert await table.add({"v": kind}, delimiter=";") == [("id", "BIGINT"), ("v", kind)]
    assert len(await table.rows("1")) == len(good)
    for text in bad:
        path = tables.write("a.csv", f"id;v\n0;{good[0]}\n1;{text}\n")
        said = await table.failure()
        assert f'{path}, line 3: the column "v" is {kind}, which {json.dumps(text)} does not fit' in said
        with pytest.raises(InvalidSource, match="line 3"):
            await table.add({"v": kind}, delimiter=";")


async def test_a_stated_type_that_duckdb_does_not_have_or_a_column_that_is_not_there_is_refused(tables: Tables) -> None:
    tables.write("a.csv", "id,v\n1,x\n")
    for stated, said in (({"v": "NUMBER9"}, "none that DuckDB has"), ({"nope": "BIGINT"}, 'no column "nope"')):
        with pytest.raises(InvalidSource, match=said) as raised:
            await tables.over("a.csv", NAMED).add(stated)
        assert raised.value.attr == "columns"


async def test_json_and_parquet_columns_can_be_stated_too(tables: Tables) -> None:
    tables.write("a.ndjson", '{"id": "007", "o": {"k": "1.50"}}\n{"id": 8}\n')
    table = tables.over("*.ndjson", JSON)
    stated = {"id": "VARCHAR", "o": "STRUCT(k DECIMAL(10,2))", "later": "DATE"}
    assert await table.add(stated) == [*stated.items()]
    assert (await table.read("SELECT id, o.k::VARCHAR AS k, later FROM t ORDER BY id")).rows() == [
        ("007", "1.50", None),
        ("8", None, None),
    ]
    pq.write_table(pa.table({"n": [1.0, 2.0], "s": ["1", "02"]}), tables.data / "a.parquet")
    table = tables.over("*.parquet", PARQUET)
    assert await table.add({"n": "BIGINT", "s": "INTEGER"}) == [("n", "BIGINT"), ("s", "INTEGER")]
    assert await table.rows() == [(1, 1), (2, 2)]
    pq.write_table(pa.table({"n": [1.5], "s": ["1"]}), tables.data / "a.parquet")
    assert 'row 1: the column "n" is BIGINT, which "1.5" does not fit' in await table.failure()
