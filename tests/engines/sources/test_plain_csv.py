"""Large CSV files that DuckDB's own reader may read: only those in which every value fits, however they are split."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from orchestrator.engines.duckdb.sources.contract import Contract
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.engines.duckdb.sources.scan import MISFIT, source_select
from orchestrator.engines.duckdb.types import plain_csv
from orchestrator.engines.duckdb.types.plain_csv import is_formed, plain_files
from orchestrator.model.source_table import AS_USUAL

TEXTS = [
    *("0", "-0", "7", "-7", "007", "+7", "1_000", " 7", "7 ", "7\t", "0x1F", "1e2", "99", "999", "127", "128", "-128"),
    *("9999", "32767", "99999", "2147483647", "999999999", "9" * 18, "9" * 19, "9" * 20, "1" + "0" * 37, "9" * 39),
    *("1.5", "-1.5", "0.04", "-0.0", "1.", ".5", "01.5", "1.5 ", "1.5\t", "1_0.5", "1.5e3", "1.123456", "1.1234567"),
    *("123456789.123456", "1234567890.123456", "0.1", "0.10", "12345678901234.5", "inf", "NaN", "1,5"),
    *("2024-02-29", "2023-02-29", "1900-02-29", "2000-02-29", "2024-04-31", "2024-13-01", "2024-1-05", "0999-01-01"),
    *("2024-01-05 ", "2024/01/05", "24-01-05", "12024-01-05", "2024-01-05 (BC)", "2024-01-05 10:00:00"),
    *("2024-01-05T10:00:00.123456", "2024-01-05 10:00:00.1234567", "2024-01-05 24:00:00", "2024-01-05 10:00:60"),
    *("2024-01-05 10:00:00Z", "2024-01-05 10:00:00+05:00", "10:00:00", "23:59:59.999999", "24:00:00", "7:00:00"),
    *("true", "false", "TRUE", "t", "1", "yes", "", "x", "é", "null"),
]
KINDS = ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
         "UHUGEINT", "DOUBLE", "DECIMAL(18,2)", "DECIMAL(38,6)", "BOOLEAN", "DATE", "TIME", "TIMESTAMP"]  # fmt: skip


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_csv, "WORTH_BYTES", 1)
    monkeypatch.setattr(plain_csv, "_BYTE_COST", 0)
    monkeypatch.setattr(plain_csv, "_CHUNK_BYTES", plain_csv._CHUNK_BYTES)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


class Csv:
    """A table of one file, whose columns have stated types."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, **columns: str) -> None:
        self.connection, self.path = connection, path
        options = AS_USUAL.model_dump(mode="json")
        self.contract = Contract("CSVWithNames", [*columns.items()], frozenset(), options)
        self.files = [SourceFile(str(path), str(path))]

    def select(self, *plain: str) -> str:
        return source_select(self.connection, self.contract, self.files, plain)

    def is_plain(self, query: str = "SELECT * FROM ({})") -> bool:
        found = plain_files(self.connection, query.format(self.select()), [(self.contract, self.files)], 2)
        return found == {str(self.path)}

    def rows(self, *plain: str) -> list[tuple[object, ...]]:
        return self.connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM ({self.select(*plain)})").fetchall()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_plain_fits_and_is_read_as_the_rules_read_it(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, kind: str
) -> None:
    plain = []
    for number, text in enumerate(TEXTS):
        path = tmp_path / f"{number}.csv"
        path.write_text(f"a,b\n{text},x\n", newline="")
        table = Csv(connection, path, a=kind, b="VARCHAR")
        if table.is_plain():
            plain.append(text)
            assert table.rows(str(path)) == table.rows(), text
    assert "" in plain, "no value"
    assert len(plain) > 1, "the usual form is found"


@pytest.mark.parametrize("kind", ["DECIMAL(3,3)", "TIMESTAMP WITH TIME ZONE", "FLOAT", "UUID", "BIGINT[]"])
def test_a_column_of_another_type_is_read_by_the_rules_beside_others(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, kind: str
) -> None:
    assert not is_formed(kind)
    path = tmp_path / "t.csv"
    path.write_text("a,b\n,7\n")
    table = Csv(connection, path, a=kind, b="BIGINT")
    assert table.is_plain()
    assert table.rows(str(path)) == [(None, "7")]
    path.write_text("a,b\nx,7\n")
    assert table.is_plain(), "of the other columns"
    with pytest.raises(duckdb.Error, match=MISFIT):
        table.rows(str(path))


@pytest.mark.parametrize("chunk", [1, 7, 16, 100, 1 << 20])
@pytest.mark.parametrize(("line_end", "last"), [("\n", "\n"), ("\n", ""), ("\r\n", "\r\n"), ("\r\n", "")])
def test_a_file_is_plain_wherever_it_is_cut(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, chunk: int, line_end: str, last: str
) -> None:
    plain_csv._CHUNK_BYTES = chunk
    path = tmp_path / "t.csv"
    lines = ['n,"t"', *(f'{n},"said ""{n}"", and é"' for n in range(50)), "-7,x"]
    path.write_bytes((line_end.join(lines) + last).encode())
    table = Csv(connection, path, n="BIGINT", t="VARCHAR")
    assert table.is_plain()
    assert table.rows(str(path)) == table.rows()
    for spoiled in (0, 25, 49):
        bad = [*lines[: spoiled + 1], f"0{spoiled},x", *lines[spoiled + 2 :]]
        path.write_bytes((line_end.join(bad) + last).encode())
        assert not table.is_plain()


@pytest.mark.parametrize(
    "lines",
    [
        ["n,t", "1,x", "2"],
        ["n,t", "1,x", "2,y,z"],
        ["n,t", "1,x", "", "2,y"],
        ["n,t", '"1",x'],
        ["n,t", '1,x"y'],
        ["n,t", '1,"x', '2,y"', "3,z"],
        ["n,t", "1,x\r", "2,y"],
        ["n,t", "1," + "x" * 100],
    ],
    ids=["few", "many", "blank", "quoted", "quote", "lines in a text", "mixed ends", "long line"],
)
def test_what_is_not_seen_through_is_read_by_the_rules(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    monkeypatch.setattr(plain_csv, "_CHUNK_BYTES", 6)
    monkeypatch.setattr(plain_csv, "_LONGEST_LINE", 50)
    path = tmp_path / "t.csv"
    path.write_text("\n".join([*lines, ""]), newline="")
    assert not Csv(connection, path, n="BIGINT", t="VARCHAR").is_plain()


def test_columns_are_found_by_name_and_columns_of_no_table_may_hold_anything(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,B,n\nanything,true,5\n007,,6\n")
    table = Csv(connection, path, n="BIGINT", b="BOOLEAN")
    assert table.is_plain()
    assert table.rows(str(path)) == [("5", "true"), ("6", None)]


def test_it_is_found_out_only_where_that_is_quicker(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_csv, "_BYTE_COST", 2.7)
    path = tmp_path / "t.csv"
    path.write_text("a,b,c,d,t\n" + "1.5,2.5,3.5,4.5,a text of some length\n" * 100)
    table = Csv(connection, path, a="DOUBLE", b="DOUBLE", c="DOUBLE", d="DOUBLE", t="VARCHAR")
    assert table.is_plain()
    assert table.is_plain("SELECT sum(a), max(b), max(c) FROM ({}) WHERE d > 2")
    assert not table.is_plain("SELECT max(t) FROM ({})")
    assert not table.is_plain("SELECT count(*) FROM ({})")
    monkeypatch.setattr(plain_csv, "_LONGEST_SECONDS", 0)
    assert not table.is_plain(), "the library's automaton cannot hold it"
