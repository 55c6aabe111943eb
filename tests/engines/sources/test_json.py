"""JSON lines: keys and dates that DuckDB alone would guess."""

import gzip
import json
from pathlib import Path

import pytest

from orchestrator.model.errors import InvalidSource
from tests.engines.conftest import Run, WholeEngine, source
from tests.engines.sources.test_discovery import JSON, pairs


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"a": 1, "A": 2}', "A"),
        ('{"a": 1}\n{"b": 2}\n{"A": null}', "A"),
        ('{"s": {"key": 1, "Key": 2}}', "Key"),
        ('{"l": [{"q": 1}, {"Q": 2}]}', "Q"),
        ('{"x_1": 1, "X_1": 2}', "X_1"),
    ],
)
async def test_keys_that_differ_only_in_case_are_refused(engine: WholeEngine, data: Path, text: str, key: str) -> None:
    (data / "1.json").write_text(text + "\n")
    with pytest.raises(InvalidSource) as raised:
        await engine.analyzer.describe_source(f"{data}/1.json", JSON)
    said = raised.value.message.lower()
    assert f'the key "{key.lower()}" is also written in another case' in said


async def test_keys_that_end_in_numbers_are_keys(engine: WholeEngine, data: Path, run: Run) -> None:
    (data / "1.json").write_text('{"a": 1, "a_1": null, "A_2": 3}\n')
    columns = await engine.analyzer.describe_source(f"{data}/1.json", JSON)
    assert [column.name for column in columns] == ["a", "a_1", "A_2"]
    result = await run("SELECT a, A_2 FROM t", [source("t", JSON, f"{data}/1.json", columns)])
    assert result.rows() == [(1, 3)]


DATES = [
    ("2020-01-02", "DATE"),
    ("2020-01-02 03:04:05", "TIMESTAMP"),
    ("2020-01-02T03:04:05Z", "TIMESTAMP WITH TIME ZONE"),
    ("12-31-2020", "VARCHAR"),
    ("31-12-2020", "VARCHAR"),
    ("20-01-02", "VARCHAR"),
    ("20-01-02 03:04:05", "VARCHAR"),
    ("12-31-2020 01:02:03 PM", "VARCHAR"),
    # DuckDB would apply the zone at one reading, and ignore it at the next.
    ("2020-01-02T03:04:05+02:00", "VARCHAR"),
]


@pytest.mark.parametrize(("value", "kind"), DATES)
async def test_only_an_iso_date_is_a_date(engine: WholeEngine, data: Path, run: Run, value: str, kind: str) -> None:
    (data / "1.json").write_text(json.dumps({"a": value, "b": [{"DATE": value}]}) + "\n")
    columns = await engine.analyzer.describe_source(f"{data}/1.json", JSON)
    assert pairs(columns) == [("a", kind), ("b", f"STRUCT(DATE {kind})[]")]
    result = await run("SELECT a::VARCHAR, b[1].date::VARCHAR FROM t", [source("t", JSON, f"{data}/1.json", columns)])
    expected = value.replace("T", " ").replace("Z", "+00") if kind != "VARCHAR" else value
    assert result.rows() == [(expected, expected)]


async def test_compressed_files_are_read_and_may_be_empty(engine: WholeEngine, data: Path, run: Run) -> None:
    (data / "0.json.gz").write_bytes(gzip.compress(b""))
    (data / "1.json.gz").write_bytes(gzip.compress(b'{"a": 1}\n'))
    (data / "2.json").write_text('{"a": 2, "b": "x"}\n')
    (data / "blob").write_bytes(gzip.compress(b'{"a": 3}\n'))
    (data / "3.json.gz").symlink_to("blob")
    columns = await engine.analyzer.describe_source(f"{data}/*.json*", JSON)
    assert sorted(pairs(columns)) == [("a", "BIGINT"), ("b", "VARCHAR")]
    result = await run("SELECT a, b FROM t ORDER BY a", [source("t", JSON, f"{data}/*.json*", columns)])
    assert result.rows() == [(1, None), (2, "x"), (3, None)]
    with pytest.raises(InvalidSource, match="holds no data"):
        await engine.analyzer.describe_source(f"{data}/0.json.gz", JSON)
