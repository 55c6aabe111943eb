"""`matview table`."""

import json
from pathlib import Path

import pytest

from orchestrator.cli.source_patterns import absolute, guess_format
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
        "events: Parquet files, 1 column\nCOLUMN  TYPE\nn       BIGINT\n"
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


def bodies(api: CannedApi, method: str = "POST") -> Json:
    (body,) = api.sent(method)
    assert body is not None
    return body


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (".csv.gz", "CSVWithNames"),
        (".csv.zst", "CSVWithNames"),
        (".CSV.GZ", "CSVWithNames"),
        (".tsv", "CSVWithNames"),
        (".tsv.gz", "CSVWithNames"),
        (".json.gz", "JSONEachRow"),
        (".ndjson.zst", "JSONEachRow"),
        (".jsonl.gz", "JSONEachRow"),
    ],
)
def test_the_ending_of_a_compressed_file_is_understood(ending: str, expected: str) -> None:
    assert guess_format(f"/data/*{ending}") == expected


@pytest.mark.parametrize("pattern", ["a.gz", "a.parquet.gz", "a.txt.gz", "a.csv.bz2", ".csv.gz", "*.gz.csv.zip"])
def test_an_ending_of_which_only_a_part_is_known_says_nothing(matview: Matview, pattern: str) -> None:
    result = matview("table", "add", "events", pattern)
    assert (result.exit_code, "--format" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "delimiter"),
    [
        (["a.tsv"], "\t"),
        (["a.tsv.gz"], "\t"),
        (["a.tsv", "--format", "CSV"], "\t"),
        (["a.tsv", "--delimiter", ";"], ";"),
        (["a.tsv", "--format", "JSONEachRow"], None),
        (["a.csv"], None),
    ],
)
def test_a_tab_stands_between_the_columns_of_tsv(
    matview: Matview, api: CannedApi, arguments: list[str], delimiter: str | None
) -> None:
    api.will_say("POST", TABLES, table(), status=201)
    assert matview("table", "add", "events", *arguments).exit_code == 0
    assert bodies(api).get("delimiter") == delimiter


def test_options_and_types_are_sent_as_they_are_given(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", TABLES, table(), status=201)
    result = matview(
        *("table", "add", "events", "/data/a.csv"),
        *("--type", "zip=VARCHAR", "--type", "price=DECIMAL(10,2)", "--type", 'at=STRUCT("x=y" INTEGER, b DATE)'),
        *("--type", '"a=b"=INTEGER', "--type", '"say ""hi"""=DATE', "--on-bad-row", "quarantine", "--union-by-name"),
        *("--delimiter", ";", "--quote", "", "--no-header", "--null-text", "", "--date-format", "%d.%m.%Y"),
        *("--decimal-separator", ",", "--encoding", "latin-1", "--hive-partitions"),
    )
    assert result.exit_code == 0, result.stderr
    assert bodies(api) == {
        "name": "events",
        "format": "CSVWithNames",
        "url_pattern": "/data/a.csv",
        "columns": [
            {"name": "zip", "type": "VARCHAR"},
            {"name": "price", "type": "DECIMAL(10,2)"},
            {"name": "at", "type": 'STRUCT("x=y" INTEGER, b DATE)'},
            {"name": "a=b", "type": "INTEGER"},
            {"name": 'say "hi"', "type": "DATE"},
        ],
        "on_bad_row": "quarantine",
        "union_by_name": True,
        "hive_partitioning": True,
        "delimiter": ";",
        "quote": "",
        "header": False,
        "null_text": "",
        "date_format": "%d.%m.%Y",
        "decimal_separator": ",",
        "encoding": "latin-1",
    }


@pytest.mark.parametrize("text", ["zip", "=VARCHAR", "zip=", "zip= ", '"zip=VARCHAR', '""=VARCHAR', '"a"b=DATE', ""])
def test_a_type_that_is_not_of_a_column_is_misuse(matview: Matview, api: CannedApi, text: str) -> None:
    result = matview("table", "add", "events", "a.csv", "--type", text)
    assert (result.exit_code, "--type" in result.stderr, api.requests) == (2, True, [])


def test_which_types_were_stated_is_shown(matview: Matview, api: CannedApi) -> None:
    columns = [
        {"name": "zip", "duckdb_type": "VARCHAR", "stated": True},
        {"name": "n", "duckdb_type": "BIGINT", "stated": False},
    ]
    api.will_say("POST", TABLES, {**table(), "columns": columns}, status=201)
    assert matview("table", "add", "events", "a.csv").stdout.splitlines()[1:] == [
        "COLUMN  TYPE     FROM",
        "zip     VARCHAR  stated",
        "n       BIGINT   detected",
    ]


def test_a_note_says_when_files_lie_beside_the_only_one_that_is_registered(
    matview: Matview, api: CannedApi, empty_folder: Path
) -> None:
    api.will_say("POST", TABLES, table(), status=201)
    for name in ("1.parquet", "a.csv", "a.csv.gz", ".hidden.parquet"):
        (empty_folder / name).touch()
    assert matview("table", "add", "events", "1.parquet").stderr == ""
    (empty_folder / "2.parquet").touch()
    result = matview("table", "add", "events", "1.parquet", "--json")
    assert json.loads(result.stdout) == table()
    assert "only the one file 1.parquet is registered, though 1 more *.parquet lies beside it" in result.stderr
    assert f"'{empty_folder}/*.parquet'" in result.stderr
    for pattern in ("*.parquet", "a.csv", "?.parquet", "/elsewhere/1.parquet", "s3://bucket/1.parquet"):
        assert matview("table", "add", "events", pattern).stderr == "", pattern


@pytest.mark.parametrize(
    ("names", "advised"), [(["a.csv", "b.csv", "c.parquet"], "*.csv"), (["a.txt"], "*.parquet"), ([], "*.parquet")]
)
def test_a_folder_is_advised_to_be_given_with_its_files(
    matview: Matview, api: CannedApi, empty_folder: Path, names: list[str], advised: str
) -> None:
    (empty_folder / "data").mkdir()
    for name in names:
        (empty_folder / "data" / name).touch()
    for pattern in ("data", "data/", str(empty_folder / "data")):
        result = matview("table", "add", "events", pattern)
        assert (result.exit_code, f"data/{advised}'" in result.stderr) == (2, True), result.stderr
    assert matview("table", "update", "events", "--pattern", "data").exit_code == 2
    assert api.requests == []


TABLE_ID = "0c5a2b6e-58f1-4d62-9a3c-0f3f5a1f7d11"


def whole(**more: object) -> Json:
    reading: Json = {
        "on_bad_row": "fail",
        "union_by_name": False,
        "hive_partitioning": False,
        "delimiter": "\t",
        "quote": "",
        "header": True,
        "null_text": "",
        "date_format": None,
        "decimal_separator": ".",
        "encoding": "utf-8",
    }
    return {**table(), "id": TABLE_ID, **reading, **more}


def test_a_table_is_shown_with_its_options(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", TABLES, page(whole()))
    api.will_say("GET", f"{TABLES}{TABLE_ID}/", whole())
    result = matview("table", "show", "EVENTS")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "delimiter          '\\t'" in lines
    assert "quote              ''" in lines
    assert "on bad row         fail" in lines
    assert "header             yes" in lines
    assert not any(line.startswith("date format") for line in lines)
    assert lines[-2:] == ["COLUMN  TYPE", "n       BIGINT"]


def test_an_update_sends_only_what_is_given(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", TABLES, page(whole()))
    api.will_say("PATCH", f"{TABLES}{TABLE_ID}/", whole())
    for arguments, body in (
        (["--rename", "visits"], {"name": "visits"}),
        (["--no-union-by-name", "--date-format", ""], {"union_by_name": False, "date_format": None}),
        (["--type", "zip=VARCHAR"], {"columns": [{"name": "zip", "type": "VARCHAR"}]}),
        (["--no-types"], {"columns": []}),
        (["--pattern", "/data/*.csv", "--format", "CSV"], {"url_pattern": "/data/*.csv", "format": "CSV"}),
    ):
        result = matview("table", "update", "events", *arguments)
        assert result.exit_code == 0, result.stderr
        assert api.sent("PATCH")[-1] == body


@pytest.mark.parametrize("arguments", [[], ["--type", "a=DATE", "--no-types"]])
def test_an_update_of_nothing_or_of_two_things_at_once_is_misuse(
    matview: Matview, api: CannedApi, arguments: list[str]
) -> None:
    assert matview("table", "update", "events", *arguments).exit_code != 0
    assert api.requests == []


def test_a_table_is_refreshed_and_deleted_by_its_name_or_its_id(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", TABLES, page({**whole(), "name": "events_too", "id": "x"}, whole()))
    api.will_say("POST", f"{TABLES}{TABLE_ID}/refresh_schema/", whole())
    api.will_say("DELETE", f"{TABLES}{TABLE_ID}/", b"", status=204)
    assert matview("table", "refresh", "Events").stdout.startswith("events: Parquet files, 1 column\n")
    assert matview("table", "delete", TABLE_ID.upper(), "--yes").exit_code == 0
    assert [method for method, path, _ in api.requests if TABLE_ID in path] == ["POST", "DELETE"]


@pytest.mark.parametrize("name", ["event", "not-an-id"])
def test_a_table_that_is_not_there_is_a_failure(matview: Matview, api: CannedApi, name: str) -> None:
    api.will_say("GET", TABLES, page(whole()))
    for command in ("show", "refresh", "delete"):
        result = matview("table", command, name)
        assert (result.exit_code, api.sent("POST"), api.sent("DELETE")) == (1, [], [])
