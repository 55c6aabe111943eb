"""The files of a project: written and read back, and what is wrong with them said by file and line."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings, strategies as st

from orchestrator.cli.output import Failure
from orchestrator.cli.project import files, yaml_text
from tests.support.tenants import Json

TABLE: Json = {
    "name": "t",
    "format": "CSVWithNames",
    "url_pattern": "/data/*.csv",
    "columns": [],
    "description": None,
    "column_descriptions": {},
    "on_bad_row": "fail",
    "union_by_name": False,
    "hive_partitioning": False,
    "delimiter": ",",
    "quote": '"',
    "header": True,
    "null_text": "",
    "date_format": None,
    "decimal_separator": ".",
    "encoding": "utf-8",
}
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
ODD = ["*/ /* */", "a\nb\n", " a: b ", "no", "- x", "---*/", "'\"", "1e3", "\r", "\u2028"]


def view(sql: str, **more: object) -> Json:
    fields = ("description", "sync_frequency", "cron", "time_zone", "max_staleness")
    usual: Json = {**dict.fromkeys(fields), "freshness": "clock", "column_descriptions": {}}
    return {"name": "v", "query": {"kind": "SQLQuery", "query": sql}, **usual, **more}


@settings(max_examples=300, deadline=None)
@given(
    sql=TEXT | st.sampled_from(["/*---\n---*/\nSELECT 1", "SELECT 1\n", "SELECT 1\r\n\r\n", "\n\nSELECT 1"]),
    description=st.none() | TEXT | st.sampled_from(ODD),
)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, sql: str, description: str) -> None:
    folder = tmp_path_factory.mktemp("project")
    shown = view(sql, description=description, sync_frequency="1hour")
    files.write(folder, {"views": [shown], "tables": []})
    text = (folder / "views" / "v.sql").read_bytes()
    (read,) = files.read(folder).views.values()
    assert (read.definition["query"]["query"], read.definition.get("description")) == (sql, description)
    files.write(folder, {"views": [shown], "tables": []})
    assert (folder / "views" / "v.sql").read_bytes() == text


@example(value="/*")
@example(value="/*/")
@given(value=TEXT)
def test_a_header_neither_ends_nor_begins_a_comment(value: str) -> None:
    text = yaml_text.dump({"description": value})
    assert "*/" not in text
    assert "/*" not in text
    assert yaml_text.load(text, file="f") == {"description": value}


def test_options_and_stated_types_of_tables_are_kept_and_usual_ones_are_not_written(tmp_path: Path) -> None:
    stated = [{"name": "zip", "type": "VARCHAR"}]
    special = {**TABLE, "columns": stated, "null_text": "no", "delimiter": "\t", "union_by_name": True}
    there = {**special, "name": "s", "url_pattern": f"{tmp_path}/s.csv"}
    files.write(tmp_path, {"views": [], "tables": [TABLE, there]})
    plain, other = [one.definition for one in files.read(tmp_path).tables.values()]
    assert plain == {"name": "t", "format": "CSVWithNames", "url_pattern": "/data/*.csv"}
    assert other == {
        "name": "s",
        "format": "CSVWithNames",
        "url_pattern": f"{tmp_path}/s.csv",
        "columns": stated,
        "union_by_name": True,
        "delimiter": "\t",
        "null_text": "no",
    }
    assert "path: s.csv" in (tmp_path / "sources.yml").read_text()


def test_a_view_has_the_name_of_its_file_in_whichever_folder_it_lies(tmp_path: Path) -> None:
    deep = tmp_path / "views" / "marts" / "daily.sql"
    deep.parent.mkdir(parents=True)
    deep.write_text("SELECT 1 AS n\n")
    (read,) = files.read(tmp_path).views.values()
    assert (read.definition["name"], read.first_line) == ("daily", 1)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("views/v.sql", "/*---\nfrequency: 1hour\nSELECT 1", "views/v.sql:1: the comment that begins with"),
        ("views/v.sql", "/*---\nfrequncy: 1hour\n---*/\nSELECT 1", "did you mean 'frequency'?"),
        ("views/v.sql", "/*---\na: b: c\n---*/\nSELECT 1", "views/v.sql:2:5: mapping values are not allowed"),
        ("views/v.sql", "/*---\nfrequency: [1hour]\n---*/\nSELECT 1", "frequency is a text"),
        ("views/v.sql", "/*---\nfrequency: 1hour\nfrequency: 6hour\n---*/\nSELECT 1", "v.sql:3:1: the key 'frequency'"),
        ("views/sub/V.sql", "SELECT 2", "views/v.sql and views/sub/V.sql have the same name"),
        ("sources.yml", "tables:\n  t:\n    path: x.csv", "sources.yml: table t: format is missing"),
        ("sources.yml", "tables:\n  t: {path: x, format: csv, quot: x}", "did you mean 'quote'?"),
        ("sources.yml", "tables: &a [*a]", "anchors are not used here"),
        ("sources.yml", "- t", "it holds keys and values"),
        ("sources.yml", "table: {}", "did you mean 'tables'?"),
        ("sources.yml", "tables: {t: {path: x, format: csv, header: maybe}}", "header is true or false"),
        ("views/v.sql", "SELECT '\udcff'", "is not text in UTF-8"),
        ("views/v.sql", "x" * 400_001, "has more than 400,000 bytes"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_by_its_name(tmp_path: Path, file: str, text: str, said: str) -> None:
    (tmp_path / "views" / "sub").mkdir(parents=True)
    (tmp_path / "views" / "v.sql").write_text("SELECT 1")
    (tmp_path / file).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(Failure) as failure:
        files.read(tmp_path)
    assert said in str(failure.value)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ({"sync_frequency": "24hour", "cron": "0 6 * * *", "time_zone": "UTC"}, "cron: 0 6 * * *\n"),
        ({"sync_frequency": "never", "cron": "0 6 * * *", "time_zone": "UTC"}, "frequency: never\ncron: 0 6 * * *\n"),
        ({"sync_frequency": "24hour", "cron": "@daily", "time_zone": "Asia/Tokyo"}, "time_zone: Asia/Tokyo"),
        ({"sync_frequency": "1hour"}, "frequency: 1hour\n"),
    ],
)
def test_a_cron_expression_is_written_without_the_frequency_that_stands_for_it(
    tmp_path: Path, shown: Json, text: str
) -> None:
    files.write(tmp_path, {"views": [view("SELECT 1", **shown)], "tables": []})
    written = (tmp_path / "views" / "v.sql").read_text()
    assert text in written
    assert "24hour" not in written


def test_a_folder_that_is_no_project_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="matview init"):
        files.read(tmp_path)


def test_writing_removes_files_of_views_that_are_gone(tmp_path: Path) -> None:
    files.write(tmp_path, {"views": [view("SELECT 1"), {**view("SELECT 2"), "name": "w"}], "tables": []})
    files.write(tmp_path, {"views": [{**view("SELECT 1"), "name": "V"}], "tables": []})
    assert [path.name for path in (tmp_path / "views").iterdir()] == ["V.sql"]
