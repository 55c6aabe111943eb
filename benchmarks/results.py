"""Measures how clients read results over HTTP, beside programs that do the same with the file alone, in turn.

Parquet stands beside a bare file server, Arrow and CSV beside one process that converts the same file into a pipe, and
a small query beside the same query on a DuckDB connection that is kept open.
"""

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb

from benchmarks.common import Api, Measurement, at_once, percentile, ratios, say, show
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack

# Eight columns of the kinds that results have. The ORDER BY makes it one file.
_ROWS = """SELECT i AS id, (hash(i) % 1000)::INTEGER AS shop, 'customer ' || (hash(i + 1) % 100000) AS customer,
    (hash(i + 2) % 1000000)::DECIMAL(12,2) AS amount, DATE '2020-01-01' + (hash(i + 3) % 2000)::INTEGER AS day,
    TIMESTAMP '2020-01-01' + to_seconds((hash(i + 4) % 100000000)::BIGINT) AS at, (hash(i + 5) % 1000) / 7.0 AS ratio,
    hash(i + 6) % 2 = 0 AS paid FROM range({rows}) t(i) ORDER BY i"""
_SMALL = "SELECT customer, amount FROM results WHERE id = {id}"
_FORMATS = ("parquet", "arrow", "csv")
_BUFFER = 1 << 20
_CALLERS = (1, 8)
# Each converts a Parquet file to standard output, as the product does to a client.
_FLOORS = {
    "arrow": "import sys, pyarrow as pa, pyarrow.parquet as pq\n"
    "file = pq.ParquetFile(sys.argv[1])\n"
    "with pa.ipc.new_stream(sys.stdout.buffer, file.schema_arrow) as out:\n"
    "    for batch in file.iter_batches(65536): out.write_batch(batch)\n",
    "csv": "import sys, duckdb\nduckdb.sql(f\"COPY (FROM '{sys.argv[1]}') TO '/dev/stdout' (FORMAT csv, HEADER)\")\n",
}


async def measure(folder: Path, rounds: int, rows: int, readers: list[int], queries: int) -> list[Measurement]:
    """Measure one view of so many rows, with one and more concurrent readers, and small queries on it."""
    async with DevStack(folder / "home", bootstrap=bootstrap, say=say) as stack:
        api = Api(stack)
        view_id = await api.materialized("results", _ROWS.format(rows=rows))
        (stored,) = (folder / "home" / "data" / "snapshots").glob("*/*/*/*.parquet")
        say(f"{rows:,} rows of 8 columns in one file of {stored.stat().st_size / 1e6:,.0f} MB")
        url = f"{api.base_url}/warehouse_saved_queries/{view_id}/data/?format="
        figures = await asyncio.to_thread(_downloads, stored, url, api.headers, rounds)
        figures += await _memory(stack, url, api.headers, readers)
        figures += await _small_queries(api, stored, rows, queries)
    return figures


def _downloads(stored: Path, url: str, headers: Mapping[str, str], rounds: int) -> list[Measurement]:
    figures: list[Measurement] = []
    with _file_server(stored.parent) as floor_url:
        for form in _FORMATS:
            ours: list[tuple[float, float, int]] = []
            floor: list[float] = []
            for number in range(rounds + 1):
                got = _download(url + form, headers)
                if form == "parquet":
                    plain = _download(f"{floor_url}/{stored.name}", {})[1]
                else:
                    plain = _convert(_FLOORS[form], stored)
                if number:  # the first one only fills caches
                    ours.append(got)
                    floor.append(plain)
            times = Measurement(f"{form}, the whole result", [whole for _, whole, _ in ours])
            floors = Measurement(f"{form}, the floor", floor)
            figures += [
                times,
                floors,
                ratios(f"{form}, beside the floor", times, floors),
                Measurement(f"{form}, first byte", [1000 * first for first, _, _ in ours], "ms"),
                Measurement(f"{form}, a second", [size / 1e6 / whole for _, whole, size in ours], "MB"),
            ]
    show("Results over HTTP", figures)
    return figures


def _download(url: str, headers: Mapping[str, str]) -> tuple[float, float, int]:
    """The seconds until the first byte of the body and until its last, and its bytes."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    buffer = bytearray(_BUFFER)
    began = time.perf_counter()
    connection.request("GET", f"{parts.path}?{parts.query}", headers=dict(headers))
    answer = connection.getresponse()
    if answer.status != http.client.OK:
        raise RuntimeError(f"{answer.status}: {answer.read(1000)!r}")
    size = answer.readinto(buffer)
    first = time.perf_counter() - began
    while more := answer.readinto(buffer):
        size += more
    connection.close()
    return first, time.perf_counter() - began, size


def _convert(program: str, stored: Path) -> float:
    """The seconds in which a process converts the file into a pipe that is read as quickly."""
    buffer = bytearray(_BUFFER)
    began = time.perf_counter()
    command = [sys.executable, "-c", program, str(stored)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - ourselves
        assert process.stdout is not None  # noqa: S101 - it was asked for
        while process.stdout.readinto(buffer):  # type: ignore[attr-defined] # a buffered reader has it
            pass
    return time.perf_counter() - began


@contextlib.contextmanager
def _file_server(folder: Path) -> Iterator[str]:
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


async def _memory(stack: DevStack, url: str, headers: Mapping[str, str], readers: list[int]) -> list[Measurement]:
    """How much the API's own process grows while so many clients read at a time."""
    pid = stack.info["pids"]["api"]
    figures = []
    for form in ("parquet", "arrow"):
        for count in readers:
            before, peak = _resident_mb(pid), 0.0
            tasks = [asyncio.create_task(asyncio.to_thread(_try_download, url + form, headers)) for _ in range(count)]
            while not all(task.done() for task in tasks):
                peak = max(peak, _resident_mb(pid))
                await asyncio.sleep(0.05)
            served = sum([await task for task in tasks])
            label = f"{form}, growth of the API with {count} readers ({served} served, the others refused)"
            figures.append(Measurement(label, [peak - before], "MiB"))
    show("Memory of the API", figures)
    return figures


def _try_download(url: str, headers: Mapping[str, str]) -> bool:
    """Whether the download was served, and not sent away because the project has its share."""
    try:
        return _download(url, headers)[2] > 0
    except RuntimeError as error:
        if not str(error).startswith("429"):
            raise
        return False


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


async def _small_queries(api: Api, stored: Path, rows: int, queries: int) -> list[Measurement]:
    figures = []
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW results AS FROM '{stored}'")
        alone = [_timed(connection, _SMALL.format(id=n * 7919 % rows)) for n in range(queries + 5)][5:]
    floor = Measurement("the same query on a DuckDB connection that is kept", [1000 * one for one in alone], "ms")
    figures.append(floor)
    for callers in _CALLERS:

        async def ask(number: int) -> float:
            body: dict[str, Any] = {"query": {"query": _SMALL.format(id=number * 7919 % rows)}}
            began = time.perf_counter()
            answer = await api.ask("POST", "/query/", body)
            seconds = time.perf_counter() - began
            if len(json.loads(answer.content)["results"]) != 1:
                raise RuntimeError(answer.text)
            return seconds

        await at_once(callers, ask, range(4 * callers))
        times = await at_once(callers, ask, range(queries))
        figures.append(Measurement(f"a small query, {callers} at once", [1000 * one for one in times], "ms"))
    show("Small queries", figures, percentiles=True)
    over = figures[1].median - floor.median
    say(f"One client: {over:.1f} ms over DuckDB; 8 clients: p99 {percentile(figures[2].values, 0.99):.0f} ms.")
    return figures


def _timed(connection: duckdb.DuckDBPyConnection, sql: str) -> float:
    began = time.perf_counter()
    connection.execute(sql).fetchall()
    return time.perf_counter() - began
