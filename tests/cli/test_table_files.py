"""`matview table`: formats by other names, patterns that the shell expanded, folders, and files that differ."""

from pathlib import Path

import pytest

from tests.cli.conftest import Matview
from tests.cli.support import CannedApi, page
from tests.cli.test_tables import TABLE_ID, TABLES, bodies, table, whole


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("parquet", "Parquet"),
        ("PARQUET", "Parquet"),
        ("csv", "CSVWithNames"),
        ("Csv", "CSVWithNames"),
        ("CSV", "CSV"),
        ("csvwithnames", "CSVWithNames"),
        ("json", "JSONEachRow"),
        ("NDJSON", "JSONEachRow"),
        ("jsonl", "JSONEachRow"),
    ],
)
def test_a_format_has_other_names(matview: Matview, api: CannedApi, given: str, expected: str) -> None:
    api.will_say("POST", TABLES, table(), status=201)
    result = matview("table", "add", "events", "/data/a.x", "--format", given)
    assert (result.exit_code, bodies(api)["format"]) == (0, expected), result.stderr
    assert ("with a header line" in result.stderr) is (expected == "CSVWithNames")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("parqet", 'Did you mean "Parquet"?'),
        ("cvs", 'Did you mean "csv"?'),
        ("tsv", "CSVWithNames"),
        ("\x1b" * 500, "no format"),
    ],
)
def test_a_format_that_is_none_is_misuse_with_the_one_that_was_meant(matview: Matview, given: str, said: str) -> None:
    result = matview("table", "add", "events", "a.csv", "--format", given)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert len(result.stderr) < 1_000


@pytest.mark.parametrize(
    ("files", "typed"),
    [
        (["data/orders-2026-01.csv", "data/orders-2026-02.csv"], "'data/orders-*.csv'"),
        (["data/a.parquet", "data/b.parquet"], "'data/*.parquet'"),
        (["a.csv.gz", "b.csv.gz", "c.csv.gz"], "'*.csv.gz'"),
        (["2025/x1.csv", "2026/x2.csv"], "'*/x*.csv'"),
        (["it's/1.csv", "it's/2.csv"], "'it'\"'\"'s/*.csv'"),
    ],
)
def test_the_pattern_that_the_shell_expanded_is_given_back(
    matview: Matview, api: CannedApi, files: list[str], typed: str
) -> None:
    result = matview("table", "add", "my events", *files)
    assert result.exit_code == 2
    assert f"matview table add 'my events' {typed}" in result.stderr
    assert api.requests == []


def test_a_folder_of_files_of_one_format_stands_for_all_of_them(
    matview: Matview, api: CannedApi, empty_folder: Path
) -> None:
    (empty_folder / "data").mkdir()
    for name in ("1.csv.gz", "2.csv.gz", "README.md", ".hidden.parquet"):
        (empty_folder / "data" / name).touch()
    api.will_say("POST", TABLES, table(), status=201)
    for pattern in ("data", "data/", "./data"):
        assert matview("table", "add", "events", pattern).exit_code == 0
    assert {body["url_pattern"] for body in api.posted() if body} == {f"{empty_folder}/data/*.csv.gz"}


def test_what_lies_in_a_folder_of_several_formats_is_said(matview: Matview, empty_folder: Path) -> None:
    (empty_folder / "data").mkdir()
    for name in ("1.csv", "2.csv", "3.parquet"):
        (empty_folder / "data" / name).touch()
    assert "2 *.csv, 1 *.parquet" in matview("table", "add", "events", "data").stderr


def test_only_files_of_a_similar_name_are_taken_for_siblings_if_there_are_any(
    matview: Matview, api: CannedApi, empty_folder: Path
) -> None:
    api.will_say("POST", TABLES, table(), status=201)
    for name in ("orders-2026-01.csv", "orders-2026-02.csv", "customers.csv"):
        (empty_folder / name).touch()
    result = matview("table", "add", "events", "orders-2026-01.csv")
    assert "1 more orders-*.csv lies beside it" in result.stderr
    assert f"matview table update events --pattern '{empty_folder}/orders-*.csv'" in result.stderr


def test_the_number_and_size_of_the_files_are_listed(matview: Matview, api: CannedApi) -> None:
    counted = {**table("a"), "file_count": 1234, "bytes": 5_600_000}
    api.will_say("GET", TABLES, page(counted, table("b")))
    first, second = [line.split() for line in matview("table", "list").stdout.splitlines()[1:]]
    assert first[3:6] == ["1234", "5.6", "MB"]
    assert second[3:5] == ["-", "-"]
    api.will_say("POST", TABLES, {**counted, "file_count": 1}, status=201)
    assert matview("table", "add", "a", "a.parquet").stdout.startswith("a: Parquet files (1 file, 5.6 MB), 1 column\n")


def test_files_that_differ_and_columns_that_changed_are_said(matview: Matview, api: CannedApi) -> None:
    more = {"missing": [], "missing_count": 0, "additional": ["channel"], "additional_count": 1}
    less = {"missing": ["a\nb"], "missing_count": 40, "additional": [], "additional_count": 0}
    differences = [{"path": "/3.csv", "file_count": 2, **more}, {"path": "/d\x1b[1m", "file_count": 1, **less}]
    retyped = [{"name": "n", "before": "INTEGER", "after": "BIGINT"}]
    changes = {"added": [{"name": "x", "duckdb_type": "BIGINT"}], "removed": [], "retyped": retyped}
    api.will_say("GET", TABLES, page(whole()))
    api.will_say(
        "POST", f"{TABLES}{TABLE_ID}/refresh_schema/", {**whole(), "differences": differences, "changes": changes}
    )
    assert matview("table", "refresh", "events").stderr.splitlines() == [
        "new columns: x",
        "the column n is BIGINT now, and was INTEGER",
        "note: /3.csv and 1 more: with channel, which the table does not have (--union-by-name takes such columns in)",
        "note: /d\\x1b[1m: without a\\nb and 39 more (NULL there)",
    ]
