"""Text files read by contract: detected types lose nothing, stated types take what reads as them, runs enforce both."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.engines.duckdb.engine import DuckDBEngine
from orchestrator.engines.duckdb.types.plain_csv import WORTH_BYTES
from orchestrator.model.errors import InvalidSource, QueryFailed
from orchestrator.model.run import SourceRelation
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import ReadOptions, SourceFormat
from tests.engines.conftest import ID, Result, Run, make_engine
from tests.engines.sources.test_discovery import CSV, JSON, NAMED, PARQUET, pairs


class Table:
    """A source table of one test: described once, and then read as often as its files change."""

    def __init__(self, engine: DuckDBEngine, run: Run, pattern: str, kind: SourceFormat) -> None:
        self._engine, self._run, self._pattern, self._kind = engine, run, pattern, kind
        self._options = ReadOptions()
        self._stated: tuple[Column, ...] = ()
        self.columns: tuple[Column, ...] = ()

    async def add(self, stated: Mapping[str, str] | None = None, **options: Any) -> list[tuple[str, str]]:
        """Register the files. Returns the columns that they have now."""
        self._options = ReadOptions(**options)
        self._stated = tuple(Column(name=name, duckdb_type=kind) for name, kind in (stated or {}).items())
        self.columns = await self._engine.describe_source(self._pattern, self._kind, self._options, self._stated)
        return pairs(self.columns)

    async def read(self, sql: str = "SELECT * FROM t") -> Result:
        relation = SourceRelation(
            name="t",
            id=ID,
            format=self._kind,
            url_pattern=self._pattern,
            columns=self.columns,
            options=self._options,
            stated=tuple(column.name for column in self._stated),
        )
        return await self._run(sql, [relation])

    async def rows(self, what: str = "*") -> list[tuple[Any, ...]]:
        return sorted((await self.read()).rows(what), key=str)

    async def failure(self) -> str:
        with pytest.raises(QueryFailed) as raised:
            await self.read()
        return raised.value.message


class Tables:
    """Makes tables over files of one folder."""

    def __init__(self, engine: DuckDBEngine, run: Run, data: Path) -> None:
        self._engine, self._run, self.data = engine, run, data

    def over(self, name: str, kind: SourceFormat) -> Table:
        return Table(self._engine, self._run, f"{self.data}/{name}", kind)

    def write(self, name: str, text: str) -> Path:
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, newline="")
        return path


@pytest.fixture
def tables(engine: DuckDBEngine, run: Run, data: Path) -> Tables:
    return Tables(engine, run, data)


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
    tables: Tables,
) -> None:
    tables.write("a.ndjson", '{"a\\u0000b": 1}\n')
    tables.write("b.ndjson", '{"o": {"k\\u0000": 1}}\n')
    pq.write_table(pa.table({"a\0b": [1]}), tables.data / "a.parquet")
    tables.write("a.csv", "a\0b,c\n1,2\n")
    pq.write_table(pa.table({"x" * 40_000_000: [1]}), tables.data / "c.parquet")
    for name, kind, said in (
        ("a.ndjson", JSON, "zero byte"), ("b.ndjson", JSON, "zero byte"), ("a.parquet", PARQUET, "zero byte"),
        ("a.csv", NAMED, "zero byte"), ("c.parquet", PARQUET, "longer than 1,000 characters"),
    ):  # fmt: skip
        with pytest.raises(InvalidSource, match=said) as raised:
            await tables.over(name, kind).add()
        assert name in raised.value.message


async def test_a_file_of_three_thousand_columns_can_be_registered_and_read(
    roots: Path, data: Path, run: Run, tmp_path: Path
) -> None:
    names = [f"gene_{k:06}" for k in range(3000)]
    patient = make_engine(tmp_path / "scratch", roots=[roots], analysis_seconds=60)  # the machine may be busy
    try:
        tables = Tables(patient, run, data)
        tables.write("a.csv", ",".join(names) + "\n" + ",".join(["1"] * 3000) + "\n")
        table = tables.over("a.csv", NAMED)
        assert await table.add() == [(name, "BIGINT") for name in names]
    finally:
        await patient.close()
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


@pytest.mark.parametrize("kind", [NAMED, JSON])
async def test_rows_that_do_not_fit_are_left_out_if_that_is_stated_and_counted(
    tables: Tables, kind: SourceFormat
) -> None:
    tables.write("a", "id,v\n1,1\n" if kind is NAMED else '{"id": 1, "v": 1}\n')
    table = tables.over("*", kind)
    await table.add(on_bad_row="skip")
    tables.write("b", BAD_ROWS[kind][0])
    result = await table.read()
    assert sorted(result.rows()) == [(1, 1), (1, 1), (6, 6)]
    assert [(one.table, one.rows, one.file) for one in result.written.rejected] == [("t", 5, None)]
    # Also where the query reads no column with a value that does not fit.
    assert (await table.read("SELECT count(*) FROM t")).rows() == [(3,)]


@pytest.mark.parametrize("kind", [NAMED, JSON])
async def test_rows_that_do_not_fit_are_kept_if_that_is_stated_with_file_line_column_and_text(
    tables: Tables, kind: SourceFormat
) -> None:
    tables.write("a", "id,v\n1,1\n" if kind is NAMED else '{"id": 1, "v": 1}\n')
    table = tables.over("*", kind)
    await table.add(on_bad_row="quarantine")
    path = tables.write("b", BAD_ROWS[kind][0])
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
