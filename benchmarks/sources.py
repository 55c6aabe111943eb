"""Measures the check that source files are whole, and their digest: alone, and beside the query that reads them."""

import asyncio
import gzip
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
from backports import zstd

from benchmarks.common import Measurement, ratios, show
from orchestrator.engines.duckdb.integrity.unchanged import Reading, TableFiles
from orchestrator.engines.duckdb.integrity.whole_files import check_whole
from orchestrator.engines.duckdb.sources.discovery import SourceFile

# Numbers, text and times in equal parts, about 108 bytes a row.
_ROWS = """
SELECT i AS id, i % 1000 AS k, (i * 7919) % 100003 / 7.0 AS x, (i * 104729) % 1000003 AS y,
       'customer ' || (i % 5000) AS name, md5(i::VARCHAR) AS digest, TIMESTAMP '2020-01-01' + to_seconds(i) AS moment,
       (i % 3 = 0) AS flag
FROM range({rows}) t(i)
"""
_TYPES = {
    "id": "BIGINT",
    "k": "BIGINT",
    "x": "DOUBLE",
    "y": "BIGINT",
    "name": "VARCHAR",
    "digest": "VARCHAR",
    "moment": "TIMESTAMP",
    "flag": "BOOLEAN",
}
_BYTES_A_ROW = 108
_ANSWER = "SELECT count(*), sum(id), sum(x), max(name), max(digest), max(moment), count_if(flag) FROM "
KINDS = ("csv.gz", "csv.zst", "csv", "parquet")


async def measure(folder: Path, rounds: int, megabytes: int, threads: int) -> list[Measurement]:
    """Measure each kind of file in turn."""
    await asyncio.to_thread(_write, folder, megabytes * 1_000_000 // _BYTES_A_ROW)
    figures = []
    for kind in KINDS:
        of_kind = await asyncio.to_thread(_measure, folder / f"rows.{kind}", kind, rounds, threads)
        show(f"{megabytes:,} MB of rows as .{kind}, {threads} threads", of_kind)
        figures += of_kind
    return figures


def _write(folder: Path, rows: int) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({_ROWS.format(rows=rows)}) TO '{folder}/rows.csv' (HEADER)")
        connection.execute(f"COPY ({_ROWS.format(rows=rows)}) TO '{folder}/rows.parquet' (FORMAT parquet)")
    for suffix, opened in (("gz", partial(gzip.open, compresslevel=6)), ("zst", zstd.open)):
        with (folder / "rows.csv").open("rb") as text, opened(folder / f"rows.csv.{suffix}", "wb") as packed:
            shutil.copyfileobj(text, packed, 1 << 20)


def _measure(path: Path, kind: str, rounds: int, threads: int) -> list[Measurement]:
    file = SourceFile(str(path), str(path))
    form = "Parquet" if kind == "parquet" else "CSVWithNames"
    _read(path, kind, threads)  # not counted: it fills the page cache
    work: dict[str, Callable[[], object]] = {
        "DuckDB reads it": partial(_read, path, kind, threads),
        "check": partial(check_whole, file, form),
        "both at once": partial(_read_checked, file, kind, form, threads),
    }
    clocks: dict[str, Callable[[], float]] = {"": time.perf_counter, ", processor time": time.process_time}
    figures = {(what, clock): Measurement(f".{kind}, {what}{clock}", []) for what in work for clock in clocks}
    for _ in range(rounds):
        for what, do in work.items():
            began = {clock: now() for clock, now in clocks.items()}
            do()
            for clock, now in clocks.items():
                figures[what, clock].values.append(now() - began[clock])
    compared = [
        ratios(f".{kind}, {what} beside DuckDB alone{clock}", figures[what, clock], figures["DuckDB reads it", clock])
        for what in ("check", "both at once")
        for clock in clocks
    ]
    return [*figures.values(), *compared]


def _read(path: Path, kind: str, threads: int) -> None:
    packing = {"csv.gz": "gzip", "csv.zst": "zstd"}.get(kind, "uncompressed")
    rows = f"read_csv('{path}', auto_detect = false, header = true, compression = '{packing}', columns = {_TYPES})"
    if kind == "parquet":
        rows = f"read_parquet('{path}')"
    with duckdb.connect(config={"threads": threads}) as connection:
        connection.execute(_ANSWER + rows).fetchall()


def _read_checked(file: SourceFile, kind: str, form: str, threads: int) -> None:
    with Reading([TableFiles("rows", form, [file])], threads) as reading:
        _read(Path(file.real), kind, threads)
        reading.finish()
