"""Stated read options: those that make no sense are refused, with the name of the field."""

from pathlib import Path

import duckdb
import pytest

from orchestrator.model.column_limits import MOST_COLUMNS
from orchestrator.model.errors import Invalid
from orchestrator.model.read_options import check_stated, format_of, options_of
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import AS_USUAL, BadRow, ReadOptions, SourceFormat

CSV = SourceFormat.CSV_WITH_NAMES


@pytest.mark.parametrize(
    ("sent", "attr"),
    [
        ({"delimiter": ""}, "delimiter"),
        ({"delimiter": ";;"}, "delimiter"),
        ({"delimiter": "\n"}, "delimiter"),
        ({"delimiter": "\r"}, "delimiter"),
        ({"delimiter": '"'}, "delimiter"),
        ({"delimiter": "."}, "delimiter"),
        ({"delimiter": "x" * 100_000}, "delimiter"),
        ({"quote": ","}, "quote"),
        ({"quote": "''"}, "quote"),
        ({"quote": "\n"}, "quote"),
        ({"quote": "«"}, "quote"),
        ({"quote": "."}, "quote"),
        ({"delimiter": ";", "quote": ";"}, "quote"),
        ({"decimal_separator": ","}, "decimal_separator"),
        ({"decimal_separator": ",", "delimiter": ","}, "decimal_separator"),
        ({"decimal_separator": ",", "delimiter": ";", "quote": ","}, "decimal_separator"),
        ({"null_text": "N,A"}, "null_text"),
        ({"null_text": '"'}, "null_text"),
        ({"null_text": "a\nb"}, "null_text"),
        ({"null_text": "x" * 101}, "null_text"),
        ({"date_format": ""}, "date_format"),
        ({"date_format": "dd/mm/yyyy"}, "date_format"),
        ({"date_format": "100 %%"}, "date_format"),
        ({"date_format": "%d/%q"}, "date_format"),
        ({"date_format": "%d/%"}, "date_format"),
        ({"date_format": "%d" * 51}, "date_format"),
        ({"encoding": "klingon"}, "encoding"),
        ({"encoding": ""}, "encoding"),
    ],
)
def test_an_option_of_csv_that_makes_no_sense_is_refused_by_its_name(sent: dict[str, object], attr: str) -> None:
    with pytest.raises(Invalid) as refused:
        options_of(CSV, AS_USUAL, ReadOptions.model_validate(sent))
    assert refused.value.attr == attr


@pytest.mark.parametrize(
    "sent",
    [
        {"delimiter": ";", "decimal_separator": ","},
        {"delimiter": "§"},
        {"delimiter": "\x01"},
        {"delimiter": "|", "quote": ""},
        {"quote": "'"},
        {"null_text": "NULL"},
        {"null_text": "\\N"},
        {"date_format": "%d.%m.%Y %H:%M:%S"},
        {"date_format": "%-d/%-m/%y"},
    ],
)
def test_what_duckdb_reads_with_is_taken(sent: dict[str, object]) -> None:
    options = options_of(CSV, AS_USUAL, ReadOptions.model_validate(sent))
    assert options == AS_USUAL.model_copy(update=sent)


@pytest.mark.parametrize(
    ("field", "text", "kept"),
    [
        ("delimiter", "\\t", "\t"),
        ("encoding", "UTF-8", "utf-8"),
        ("encoding", "latin1", "latin-1"),
        ("encoding", "ISO-8859-1", "latin-1"),
        ("encoding", "utf16", "utf-16"),
    ],
)
def test_other_spellings_of_a_value_are_kept_as_one(field: str, text: str, kept: str) -> None:
    assert getattr(options_of(CSV, AS_USUAL, ReadOptions.model_validate({field: text})), field) == kept


@pytest.mark.parametrize("name", ["utf-8", "utf-16", "latin-1"])
def test_every_encoding_that_is_taken_is_one_that_duckdb_knows(name: str, tmp_path: Path) -> None:
    encoding = options_of(CSV, AS_USUAL, ReadOptions(encoding=name)).encoding
    path = tmp_path / "a.csv"
    path.write_text("name\nJosé\n", encoding=name.replace("utf-16", "utf-16-le"))
    query = f"SELECT name FROM read_csv('{path}', encoding = '{encoding}', header = true)"
    assert duckdb.execute(query).fetchall() == [("José",)]


@pytest.mark.parametrize("specifier", "aAbBcdfgGhHIjmMnpSTuUVwWxXyYzZ")
def test_every_specifier_of_duckdbs_strptime_is_taken_and_no_other(specifier: str) -> None:
    options_of(CSV, AS_USUAL, ReadOptions(date_format=f"%{specifier}"))
    try:
        duckdb.execute("SELECT strptime('x', ?)", [f"%{specifier}"])
    except duckdb.Error as error:
        assert "Unrecognized format" not in str(error)  # noqa: PT017 - an error about the text is as good


@pytest.mark.parametrize(
    ("source_format", "sent"),
    [
        (SourceFormat.PARQUET, {"on_bad_row": BadRow.SKIP}),
        (SourceFormat.PARQUET, {"delimiter": ";"}),
        (SourceFormat.PARQUET, {"encoding": "latin-1"}),
        (SourceFormat.JSON_EACH_ROW, {"delimiter": ";"}),
        (SourceFormat.JSON_EACH_ROW, {"quote": "'"}),
        (SourceFormat.JSON_EACH_ROW, {"null_text": "NULL"}),
        (SourceFormat.JSON_EACH_ROW, {"date_format": "%d"}),
        (SourceFormat.JSON_EACH_ROW, {"decimal_separator": ","}),
        (SourceFormat.JSON_EACH_ROW, {"encoding": "utf-16"}),
    ],
)
def test_an_option_that_means_nothing_for_the_format_is_refused(
    source_format: SourceFormat, sent: dict[str, object]
) -> None:
    with pytest.raises(Invalid, match=f"means nothing for {source_format} files") as refused:
        options_of(source_format, AS_USUAL, ReadOptions.model_validate(sent))
    assert [refused.value.attr] == [*sent]


def test_the_usual_value_of_an_option_may_be_sent_for_every_format() -> None:
    for source_format in SourceFormat:
        usual = ReadOptions.model_validate(AS_USUAL.model_dump())
        assert options_of(source_format, AS_USUAL, usual) == AS_USUAL


def test_what_is_not_sent_is_kept_and_is_forgotten_with_the_format_that_it_was_about() -> None:
    before = ReadOptions(delimiter=";", on_bad_row=BadRow.SKIP, union_by_name=True)
    assert options_of(CSV, before, ReadOptions(quote="'")) == before.model_copy(update={"quote": "'"})
    assert options_of(SourceFormat.JSON_EACH_ROW, before, AS_USUAL) == before.model_copy(update={"delimiter": ","})
    assert options_of(SourceFormat.PARQUET, before, AS_USUAL) == ReadOptions(union_by_name=True)


def test_the_header_decides_between_the_formats_of_csv_and_is_about_no_other() -> None:
    for source_format in (SourceFormat.CSV, SourceFormat.CSV_WITH_NAMES):
        assert format_of(source_format, None) == source_format
        assert format_of(source_format, True) == SourceFormat.CSV_WITH_NAMES
        assert format_of(source_format, False) == SourceFormat.CSV
    for source_format in (SourceFormat.PARQUET, SourceFormat.JSON_EACH_ROW):
        assert format_of(source_format, None) == source_format
        with pytest.raises(Invalid, match="header"):
            format_of(source_format, False)


def column(name: str = "a", kind: str = "INTEGER") -> Column:
    return Column(name=name, duckdb_type=kind)


@pytest.mark.parametrize(
    "columns",
    [
        [column(), column()],
        [column("zip"), column("ZIP")],
        [column("")],
        [column(kind=" ")],
        [column("x" * 1_001)],
        [column(kind="x" * 10_001)],
        [column(f"c{n}", "X" * 10_000) for n in range(60)],
        [column(f"c{n}") for n in range(MOST_COLUMNS + 1)],
    ],
    ids=["twice", "case", "no name", "no type", "long name", "long type", "long together", "many"],
)
def test_columns_that_cannot_be_stated_are_refused(columns: list[Column]) -> None:
    with pytest.raises(Invalid) as refused:
        check_stated(columns)
    assert refused.value.attr == "columns"
    assert len(refused.value.message) < 2_000


def test_names_are_the_same_only_where_duckdb_says_so() -> None:
    kelvin, long_s = "\u212a", "\u017f"
    check_stated([column("k"), column(kelvin), column("s"), column(long_s), column("É"), column("é")])
    check_stated([column(f"c{n}") for n in range(MOST_COLUMNS)])
