"""A source file that is not whole, or changes while it is read, gives no rows: it is refused, and named."""

import asyncio
import gzip
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from orchestrator.engines.duckdb.integrity.unchanged import Reading, TableFiles
from orchestrator.engines.duckdb.sources.contract import UnreadableFile
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.model.errors import InputReplaced, InvalidSource, OrchestratorError, QueryFailed
from orchestrator.model.run import Progress
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import SourceFormat
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import LIMITS, Run, WholeEngine, file_url, make_plan, source
from tests.engines.duckdb.packing import BROKEN, ROWS, TEXT, WHOLE, compression_of
from tests.engines.sources.test_discovery import CSV, JSON, NAMED, PARQUET, pairs

COLUMNS = [Column(name="id", duckdb_type="BIGINT"), Column(name="n", duckdb_type="BIGINT")]
TOTALS = "SELECT count(*)::BIGINT AS count, sum(n)::BIGINT AS sum FROM t"
# Registration has its own message for a compressed file whose beginning it cannot read.
AT_ONCE = ("is damaged", "is cut off", "is empty", "has a ")


def lines_of_json(text: bytes) -> bytes:
    rows = (line.split(b",") for line in text.splitlines()[1:])
    return b"".join(b'{"id":%s,"n":%s}\n' % (row[0], row[1]) for row in rows)


@pytest.mark.parametrize("name", WHOLE)
async def test_every_row_of_a_whole_file_is_read(run: Run, data: Path, name: str) -> None:
    path = data / f"numbers.csv.{name.rpartition('.')[2]}"
    path.write_bytes(WHOLE[name])
    assert (await run(TOTALS, [source("t", NAMED, str(path), COLUMNS)])).rows() == [ROWS]


@pytest.mark.parametrize("name", BROKEN)
async def test_a_file_that_is_not_whole_is_neither_read_nor_registered(
    engine: WholeEngine, run: Run, data: Path, name: str
) -> None:
    packed, reason = BROKEN[name]
    path = data / f"numbers.csv.{name.rpartition('.')[2]}"
    path.write_bytes(packed)
    with pytest.raises(QueryFailed) as failed:
        await run(TOTALS, [source("t", NAMED, str(path), COLUMNS)])
    assert failed.value.message == f'Reading "t": {path} {reason.format(compression_of(name))}'
    if packed:
        with pytest.raises(InvalidSource, match=f"{path} ({'|'.join(AT_ONCE)})"):
            await engine.analyzer.describe_source(str(path), NAMED)


@pytest.mark.parametrize("form", [CSV, NAMED, JSON])
async def test_one_cut_file_among_many_is_named_whatever_the_format(
    engine: WholeEngine, run: Run, data: Path, form: SourceFormat
) -> None:
    text = lines_of_json(TEXT) if form is JSON else TEXT.removeprefix(b"" if form is NAMED else b"id,n\n")
    for n in range(20):
        (data / f"{n:02}.gz").write_bytes(gzip.compress(text[: text.index(b"\n", 5000) + 1]))
    # Only the trailer of gzip is cut, behind a whole line, so that no reader of the text can notice.
    packer = gzip.GzipFile(data / "13.gz", "wb")
    packer.write(text)
    packer.close()
    whole = (data / "13.gz").read_bytes()
    (data / "13.gz").write_bytes(whole[:-8])
    names = ("column0", "column1") if form is CSV else ("id", "n")
    columns = [Column(name=name, duckdb_type="BIGINT") for name in names]
    for refused in (
        lambda: run("SELECT count(*) AS n FROM t", [source("t", form, f"{data}/*.gz", columns)]),
        lambda: engine.analyzer.describe_source(f"{data}/*.gz", form),
    ):
        with pytest.raises(OrchestratorError) as raised:
            await refused()
        assert f"{data}/13.gz is cut off: it ends in the middle of its gzip data." in raised.value.message
    (data / "13.gz").write_bytes(whole)
    await run("SELECT count(*) AS n FROM t", [source("t", form, f"{data}/*.gz", columns)])
    await engine.analyzer.describe_source(f"{data}/*.gz", form)


def test_a_damaged_file_that_is_found_before_the_others_are_handed_in_is_the_one_that_is_named(data: Path) -> None:
    for n in range(3_000):
        (data / f"{n:04}.csv.gz").write_bytes(gzip.compress(b"id,n\n1,2\n"))
    (data / "0000.csv.gz").write_bytes(b"damaged")
    files = [SourceFile(str(path), str(path)) for path in sorted(data.iterdir())]
    with (
        pytest.raises(UnreadableFile, match=r"0000\.csv\.gz is damaged"),
        Reading([TableFiles("t", "CSV", files)], 2) as reading,
    ):
        reading.finish()


async def test_a_query_that_needs_a_few_rows_does_not_take_them_from_a_cut_file(run: Run, data: Path) -> None:
    (data / "a.csv.gz").write_bytes(gzip.compress(TEXT)[:-8])
    with pytest.raises(QueryFailed, match=r"a\.csv\.gz is cut off"):
        await run("SELECT id FROM t LIMIT 1", [source("t", NAMED, f"{data}/a.csv.gz", COLUMNS)])


async def test_a_cut_file_that_the_query_would_need_long_for_ends_the_run_at_once(run: Run, data: Path) -> None:
    (data / "a.csv.gz").write_bytes(gzip.compress(TEXT)[:-8])
    endless = "SELECT count(*) AS n FROM t a, t b, t c, t d WHERE a.n + b.n + c.n + d.n = 7"
    with pytest.raises(QueryFailed, match=r"a\.csv\.gz is cut off"):
        await run(endless, [source("t", NAMED, f"{data}/a.csv.gz", COLUMNS)], timeout_seconds=120)


async def test_a_value_that_does_not_fit_is_still_named_as_such(run: Run, data: Path) -> None:
    (data / "a.csv.gz").write_bytes(gzip.compress(b"id,n\n1,2\n2,x\n"))
    with pytest.raises(QueryFailed, match='"x"'):
        await run(TOTALS, [source("t", NAMED, f"{data}/a.csv.gz", COLUMNS)])


@pytest.mark.parametrize(
    "begun",
    [
        (gzip.compress(TEXT), "is packed by gzip, and its name does not end in .gz"),
        (WHOLE["one.zst"], "is packed by zstd, and its name does not end in .zst"),
        (b"BZh91AY&SY", "is packed by bzip2, which is not read"),
        (b"\xfd7zXZ\x00\x00", "is packed by xz, which is not read"),
        (b"PK\x03\x04\x14\x00", "is a ZIP archive, which is not read"),
        (b"PAR1\x15\x04", "is a Parquet file"),
    ],
)
@pytest.mark.parametrize("form", [CSV, NAMED, JSON])
async def test_what_is_no_text_is_never_taken_for_it(
    engine: WholeEngine, run: Run, data: Path, form: SourceFormat, begun: tuple[bytes, str]
) -> None:
    content, what = begun
    (data / "a.csv").write_bytes(content)
    for refused in (
        lambda: run(TOTALS, [source("t", form, f"{data}/a.csv", COLUMNS)]),
        lambda: engine.analyzer.describe_source(f"{data}/a.csv", form),
    ):
        with pytest.raises(OrchestratorError) as raised:
            await refused()
        assert f"{data}/a.csv {what}." in raised.value.message


# --- Parquet ---------------------------------------------------------------------------------------------------------


def damaged(content: bytes, how: str) -> bytes:
    footer = int.from_bytes(content[-8:-4], "little")
    return {
        "cut in half": content[: len(content) // 2],
        "without its end": content[:-4],
        "without its beginning": content[100:],
        "with other pages": content[:200] + bytes(len(content) - footer - 508) + content[-footer - 308 :],
        "with a longer footer": content[:-8] + (1 << 30).to_bytes(4, "little") + b"PAR1",
    }[how]


@pytest.mark.parametrize(
    "how", ["cut in half", "without its end", "without its beginning", "with other pages", "with a longer footer"]
)
@pytest.mark.parametrize("codec", ["zstd", "gzip", "snappy"])
async def test_a_damaged_parquet_file_among_many_is_named_at_once(run: Run, data: Path, how: str, codec: str) -> None:
    select = "SELECT i AS id, (i * 7919) % 1000 AS n FROM range(20000) r(i)"
    for n in range(5):
        with duckdb.connect() as connection:
            connection.execute(f"COPY ({select}) TO '{data}/{n}.parquet' (FORMAT parquet, COMPRESSION {codec})")
    whole = (data / "3.parquet").read_bytes()
    (data / "3.parquet").write_bytes(damaged(whole, how))
    with pytest.raises(QueryFailed) as raised:
        await run(
            "SELECT sum(id)::BIGINT AS a, sum(n)::BIGINT AS b FROM t",
            [source("t", PARQUET, f"{data}/*.parquet", COLUMNS)],
        )
    assert f"{data}/3.parquet" in raised.value.message
    (data / "3.parquet").write_bytes(whole)
    await run(TOTALS, [source("t", PARQUET, f"{data}/*.parquet", COLUMNS)])


# --- changes while a query reads -------------------------------------------------------------------------------------

SLOW = "SELECT max(sha256(sha256(sha256(n::VARCHAR)))) AS s, count(*) AS c FROM t"


def overwrite(path: Path) -> None:
    """Change bytes of the file, but not its size."""
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size - 2)
        stream.write(b"7")


def overwrite_and_set_back(path: Path) -> None:
    """Change bytes of the file, but neither its size nor the time of its last change, as some programs that copy do."""
    before = path.stat()
    overwrite(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"9,9\n")


def shorten(path: Path) -> None:
    content = path.read_bytes()
    os.truncate(path, content.index(b"\n", len(content) // 2) + 1)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def write_over(path: Path) -> None:
    path.write_bytes(path.read_bytes())


@pytest.mark.parametrize("change", [overwrite, overwrite_and_set_back, grow, shorten, replace, write_over])
async def test_a_file_that_changes_while_it_is_read_gives_no_result(
    engine: WholeEngine, data: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = data / "a.csv"
    path.write_bytes(b"id,n\n" + b"".join(b"%d,%d\n" % (i, i) for i in range(400_000)))
    target = tmp_path / "target"
    target.mkdir()
    changed = False

    def change_once(_: Progress) -> None:
        nonlocal changed
        if not changed:
            change(path)
        changed = True

    plan = make_plan(SLOW, [source("t", NAMED, str(path), COLUMNS)], limits=LIMITS.model_copy(update={"threads": 1}))
    with pytest.raises(InputReplaced) as raised:
        await engine.write(plan, file_url, WriteTarget.local(target), change_once)
    assert raised.value.message == f'A file of "t" was changed or replaced while it was read: {path}.'
    assert list(target.iterdir()) == []
    # A retry, as a run makes one, reads the file as it is now.
    assert (await engine.write(plan, file_url, WriteTarget.local(target), lambda _: None)).rows == 1


async def test_files_that_are_written_over_all_the_time_are_read_whole_or_not_at_all(
    engine: WholeEngine, data: Path, tmp_path: Path
) -> None:
    """Each state of the file has one number only; no result may have two."""
    path, going_on = data / "a.csv", True

    def write(number: int) -> None:
        path.write_bytes(b"id,n\n" + b"%d,%d\n" % (number, number) * 200_000)

    async def write_all_the_time() -> None:
        number = 10
        while going_on:
            await asyncio.to_thread(write, number % 90 + 10)
            await asyncio.sleep(random.random() * 0.4)  # noqa: S311 - not a secret
            number += 1

    await asyncio.to_thread(write, 10)
    writer = asyncio.create_task(write_all_the_time())
    read = 0
    for attempt in range(25):
        target = tmp_path / str(attempt)
        target.mkdir()
        plan = make_plan("SELECT DISTINCT n, count(*) AS c FROM t GROUP BY n", [source("t", NAMED, str(path), COLUMNS)])
        try:
            await engine.write(plan, file_url, WriteTarget.local(target), lambda _: None)
        except InputReplaced:
            continue
        with duckdb.connect() as connection:
            rows = connection.execute(f"SELECT * FROM read_parquet('{target}/*.parquet')").fetchall()
        assert [count for _, count in rows] == [200_000]
        read += 1
    going_on = False
    await writer
    assert read < 25


async def test_a_file_that_is_taken_away_once_it_was_read_is_a_change_too(data: Path) -> None:
    path = data / "a.csv"
    path.write_bytes(TEXT)
    with Reading([TableFiles("t", "CSV", [SourceFile(str(path), str(path))])], threads=1) as reading:
        path.unlink()
        with pytest.raises((InputReplaced, FileNotFoundError)):
            reading.finish()


# --- texts at the edge -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_every_usual_end_of_a_line_is_read_with_or_without_a_last_one(
    engine: WholeEngine, run: Run, data: Path, end: str, name: str
) -> None:
    path = data / name
    for lines in (["id,n", "1,2", "3,4"], ["id,n", "1,2", "3,4", ""]):
        text = end.join(lines).encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        assert pairs(await engine.analyzer.describe_source(str(path), NAMED)) == [("id", "BIGINT"), ("n", "BIGINT")]
        result = await run("SELECT * FROM t ORDER BY id", [source("t", NAMED, str(path), COLUMNS)])
        assert result.rows() == [(1, 2), (3, 4)]


@pytest.mark.parametrize("content", [b"", b"id,n\n", b"id,n", b"\xef\xbb\xbfid,n\r\n"])
async def test_a_file_without_rows_gives_none(run: Run, data: Path, content: bytes) -> None:
    (data / "a.csv").write_bytes(content)
    assert (await run("SELECT * FROM t", [source("t", NAMED, f"{data}/a.csv", COLUMNS)])).rows() == []


async def test_a_file_with_a_header_only_is_registered_and_an_empty_one_is_not(engine: WholeEngine, data: Path) -> None:
    (data / "a.csv").write_bytes(b"id,n\n")
    assert pairs(await engine.analyzer.describe_source(f"{data}/a.csv", NAMED)) == [("id", "VARCHAR"), ("n", "VARCHAR")]
    (data / "a.csv").write_bytes(b"")
    with pytest.raises(InvalidSource, match="holds no data"):
        await engine.analyzer.describe_source(f"{data}/a.csv", NAMED)


@pytest.mark.parametrize("text", [b"id,n\n1,2\r\n3,4\n", b"id,n\r\n1,2\n3,4\r\n", b"id,n\r1,2\n3,4\r\n"])
async def test_mixed_ends_of_lines_never_give_wrong_rows(run: Run, data: Path, text: bytes) -> None:
    (data / "a.csv").write_bytes(text)
    try:
        result = await run("SELECT * FROM t", [source("t", NAMED, f"{data}/a.csv", COLUMNS)])
    except QueryFailed:
        return
    assert sorted(result.rows()) == [(1, 2), (3, 4)]


async def test_a_registration_of_more_than_can_be_unpacked_in_time_takes_no_longer(
    engine: WholeEngine, data: Path
) -> None:
    block = gzip.compress(b"1,2\n" * 4_000_000, 1)
    (data / "a.csv.gz").write_bytes(gzip.compress(b"id,n\n") + block * 400)  # 6.4 GB
    began = time.monotonic()
    assert pairs(await engine.analyzer.describe_source(f"{data}/a.csv.gz", NAMED)) == [
        ("id", "BIGINT"),
        ("n", "BIGINT"),
    ]
    assert time.monotonic() - began < 9
