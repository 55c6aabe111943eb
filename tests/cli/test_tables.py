"""`matview table`."""

import json
from pathlib import Path

import pytest

from orchestrator.cli.tables import absolute, guess_format
from tests.cli.conftest import Matview
from tests.cli.support import CannedApi, Json, page

TABLES = "warehouse_tables/"


def table(name: str = "events") -> Json:
    return {
        "name": name,
        "format": "Parquet",
        "url_pattern": f"/data/{name}/*.parquet",
        "columns": [{"name": "n", "duckdb_type": "BIGINT"}],
        "created_at": "2026-01-01T10:00:00.123456Z",
    }


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.parquet", "Parquet"),
        ("/x/*.PARQUET", "Parquet"),
        ("a.csv", "CSVWithNames"),
        ("a.json", "JSONEachRow"),
        ("a.b.jsonl", "JSONEachRow"),
        ("*.ndjson", "JSONEachRow"),
    ],
)
def test_the_format_follows_from_the_ending(pattern: str, expected: str) -> None:
    assert guess_format(pattern) == expected


@pytest.mark.parametrize("pattern", ["data", "data/*", "a.txt", ".csv", ""])
def test_an_ending_that_says_nothing_is_misuse(matview: Matview, api: CannedApi, pattern: str) -> None:
    result = matview("table", "add", "events", pattern)
    assert result.exit_code == 2
    assert "--format" in result.stderr
    assert api.requests == []


def test_a_format_that_is_given_is_not_guessed(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", TABLES, table(), status=201)
    assert matview("table", "add", "events", "/data/a.csv", "--format", "CSV").exit_code == 0
    assert api.posted() == [{"name": "events", "format": "CSV", "url_pattern": "/data/a.csv"}]


def test_an_unknown_format_is_misuse(matview: Matview) -> None:
    assert matview("table", "add", "events", "a.csv", "--format", "Excel").exit_code == 2


def test_a_relative_pattern_is_made_absolute(empty_folder: Path) -> None:
    assert absolute("events/*.parquet") == f"{empty_folder}/events/*.parquet"
    assert absolute("../a.csv") == f"{empty_folder.parent}/a.csv"
    assert absolute("/data/*.csv") == "/data/*.csv"
    assert absolute("~/a.csv") == str(Path.home() / "a.csv")
    assert absolute("s3://bucket/a.csv") == "s3://bucket/a.csv"


def test_a_pattern_that_the_shell_expanded_is_explained(matview: Matview, api: CannedApi) -> None:
    result = matview("table", "add", "events", "a.csv", "b.csv")
    assert result.exit_code == 2
    assert "quotes" in result.stderr
    assert api.requests == []


def test_the_columns_of_a_new_table_are_shown(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", TABLES, table(), status=201)
    assert matview("table", "add", "events", "a.parquet").stdout == (
        "events: Parquet files, 1 columns\nCOLUMN  TYPE\nn       BIGINT\n"
    )


def test_every_page_of_the_list_is_shown(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", TABLES, page(table("a"), more=True), page(table("b")))
    lines = matview("table", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "a", "b"]
    assert [path.partition("?")[2] for _, path, _ in api.requests] == [
        "page=1&page_size=1000",
        "page=2&page_size=1000",
    ]


def test_json_is_the_answer_itself(matview: Matview, api: CannedApi) -> None:
    odd = json.dumps(page(table()), indent=3).encode()
    api.will_say("GET", TABLES, odd)
    assert matview("table", "list", "--json").stdout == odd.decode() + "\n"
