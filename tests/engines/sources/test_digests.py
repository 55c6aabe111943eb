"""The source files that a result records: their path, size, time and digest."""

import asyncio
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import xxhash

from orchestrator.engines.duckdb.digest_cache import DigestCache
from orchestrator.engines.duckdb.integrity.unchanged import FileReport, Reading, TableFiles
from orchestrator.engines.duckdb.integrity.whole_files import digest_of_footer
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.model.snapshot import Column, InputFiles
from tests.engines.conftest import Run, WholeEngine, source
from tests.engines.duckdb.packing import TEXT, WHOLE
from tests.engines.sources.test_discovery import NAMED, PARQUET, write_parquet
from tests.engines.sources.test_whole_files import COLUMNS, TOTALS

# Seconds after which any further change gives a file other times, on every file system.
_SETTLES = 2.1


def expected(path: Path) -> tuple[str, int, datetime, str]:
    status = path.stat()
    moment = datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1e6, tz=UTC)
    return str(path), status.st_size, moment, f"xxh128:{xxhash.xxh3_128_hexdigest(path.read_bytes())}"


def said(files: InputFiles) -> list[tuple[str, int, datetime | None, str | None]]:
    return [(file.path, file.bytes, file.modified_at, file.digest) for file in files.files]


async def test_a_result_says_of_each_file_its_path_size_time_and_digest(run: Run, data: Path) -> None:
    (data / "1.csv").write_bytes(TEXT)
    (data / "2.csv.gz").write_bytes(WHOLE["two members.gz"])
    (data / "3.csv.zst").write_bytes(WHOLE["with frames to pass over.zst"])
    (data / "4.csv").write_bytes(b"")
    (data / "wörter.csv").write_bytes(b"id,n\n")
    write_parquet(data / "x.parquet", "SELECT 1 AS id")
    write_parquet(data / "y.parquet", "SELECT 2 AS id")
    id_only = [Column(name="id", duckdb_type="INTEGER")]
    result = await run(
        "SELECT count(*) AS n FROM t, p",
        [source("t", NAMED, f"{data}/*.csv*", COLUMNS), source("p", PARQUET, f"{data}/*.parquet", id_only)],
    )
    texts, parquet = result.written.sources["t"], result.written.sources["p"]
    names = ("1.csv", "2.csv.gz", "3.csv.zst", "4.csv", "wörter.csv")
    assert said(texts) == [expected(data / name) for name in names]
    assert said(parquet) == [expected(data / name) for name in ("x.parquet", "y.parquet")]
    assert (texts.file_count, texts.bytes) == (5, sum(path.stat().st_size for path in data.glob("*.csv*")))


async def test_the_digest_of_a_table_is_that_of_its_files_and_not_of_their_times(run: Run, data: Path) -> None:
    (data / "1.csv").write_bytes(TEXT)
    (data / "2.csv").write_bytes(b"id,n\n1,1\n")

    async def digest() -> str:
        result = await run(TOTALS, [source("t", NAMED, f"{data}/*.csv", COLUMNS)])
        return result.written.sources["t"].digest

    before = await digest()
    os.utime(data / "1.csv", (1_000_000, 1_000_000))
    assert await digest() == before
    (data / "2.csv").write_bytes(b"id,n\n1,2\n")
    assert await digest() != before


async def test_a_time_beyond_every_calendar_is_none(run: Run, data: Path) -> None:
    (data / "1.csv").write_bytes(TEXT)
    try:
        os.utime(data / "1.csv", ns=(0, 9_000_000_000 * 10**9 * 100))
    except OverflowError:
        pytest.skip("no such time can be set")
    result = await run(TOTALS, [source("t", NAMED, f"{data}/*.csv", COLUMNS)])
    (file,) = result.written.sources["t"].files
    assert file.modified_at is None or file.modified_at.year > 2200


def test_of_very_much_parquet_the_footers_are_digested_until_the_files_are_known(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        write_parquet(data / f"{n}.parquet", f"SELECT i + {n} AS id FROM range(50000) r(i)")
    time.sleep(_SETTLES)
    paths = sorted(data.glob("*.parquet"))
    files = [SourceFile(str(path), str(path)) for path in paths]
    whole, footers = [expected(path)[3] for path in paths], [digest_of_footer(file) for file in files]
    assert len({*whole, *footers}) == 6
    monkeypatch.setattr(
        "orchestrator.engines.duckdb.integrity.unchanged._PARQUET_BYTES",
        max(path.stat().st_size for path in paths) + 10,
    )

    def report(known: Mapping[str, str]) -> FileReport:
        with Reading([TableFiles("t", "Parquet", files, known)], threads=2) as reading:
            return reading.finish()["t"]

    known: Mapping[str, str] = {}
    for digests in ([whole[0], *footers[1:]], [*whole[:2], footers[2]], whole, whole):
        now = report(known)
        assert [digest for _, _, _, digest, _ in now.files] == digests
        known = now.known
    # A file that was written since then is digested again.
    write_parquet(paths[1], "SELECT 7 AS id")
    assert [digest for _, _, _, digest, _ in report(known).files] == [whole[0], expected(paths[1])[3], whole[2]]


def test_the_digest_of_a_file_that_was_just_written_is_not_remembered(data: Path) -> None:
    """On a file system with coarse times, it may be written again with the same ones."""
    write_parquet(data / "x.parquet", "SELECT 1 AS id")
    file = SourceFile(str(data / "x.parquet"), str(data / "x.parquet"))
    with Reading([TableFiles("t", "Parquet", [file])], threads=1) as reading:
        report = reading.finish()["t"]
    assert [one[3] for one in report.files] == [expected(data / "x.parquet")[3]]
    assert report.known == {}


async def test_a_run_knows_the_digests_of_the_last_one(engine: WholeEngine, run: Run, data: Path) -> None:
    write_parquet(data / "x.parquet", "SELECT 1 AS id")
    await asyncio.sleep(_SETTLES)
    table = source("p", PARQUET, f"{data}/*.parquet", [Column(name="id", duckdb_type="INTEGER")])
    await run("SELECT * FROM p", [table])
    ((key, digest),) = engine._digests.of_table(table.id).items()
    assert digest == expected(data / "x.parquet")[3]
    # The next run reports the digest that the engine knows, and so does not read the file to digest it again.
    engine._digests.learn(table.id, {key: "xxh128:known"})
    (file,) = (await run("SELECT * FROM p", [table])).written.sources["p"].files
    assert file.digest == "xxh128:known"
    engine._digests.learn(table.id, {})


def test_the_digests_of_tables_that_were_not_read_for_long_are_forgotten_first() -> None:
    digests, tables = DigestCache(most=5), [uuid4() for _ in range(3)]
    for table in tables[:2]:
        digests.learn(table, {"a": "1", "b": "2"})
    digests.learn(tables[0], {"a": "3", "b": "4"})
    digests.learn(tables[2], {"a": "5", "b": "6"})
    assert [dict(digests.of_table(table)) for table in tables] == [{"a": "3", "b": "4"}, {}, {"a": "5", "b": "6"}]
    digests.learn(tables[0], {str(n): "x" for n in range(6)})
    assert [dict(digests.of_table(table)) for table in tables] == [{}, {}, {}]


async def test_thousands_of_files_are_reported_one_by_one(run: Run, data: Path) -> None:
    for n in range(3_000):
        (data / f"{n:05}.csv").write_bytes(b"id,n\n1,1\n")
    result = await run(TOTALS, [source("t", NAMED, f"{data}/*.csv", COLUMNS)])
    assert result.rows() == [(3_000, 3_000)]
    sources = result.written.sources["t"]
    assert (sources.file_count, len(sources.files)) == (3_000, 3_000)
    assert [file.path for file in sources.files] == [f"{data}/{n:05}.csv" for n in range(3_000)]
