"""Measures queries over a file that is far away, beside DuckDB's own httpfs on the same server, in turn.

The engine alone, without Temporal and the catalog. The server counts the requests and bytes of both.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from uuid import UUID, uuid4

import duckdb
import httpx

from benchmarks.baseline import copy
from benchmarks.common import Measurement, ratios, say, show, timed
from orchestrator.devstack.ports import choose_ports
from orchestrator.engines.duckdb.engine import DuckDBEngine
from orchestrator.engines.duckdb.source_file_lister import SourceFileLister
from orchestrator.model.limits import Limits
from orchestrator.model.remote_tables import RemoteTable
from orchestrator.model.run import RunPlan, SourceRelation, Trigger
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import Credential, SourceFormat
from orchestrator.model.write_target import WriteTarget
from orchestrator.remote_sources.locations import S3Defaults
from orchestrator.remote_sources.objects import RemoteObjects

_LIMITS = Limits(memory_mb=2048, threads=2, temp_disk_mb=4096, output_mb=4096)
_ROWS = """SELECT i AS id, (hash(i) % 1000)::INTEGER AS shop, 'customer ' || (hash(i + 1) % 100000) AS customer,
    (hash(i + 2) % 1000000)::DECIMAL(12,2) AS amount, DATE '2020-01-01' + (hash(i + 3) % 2000)::INTEGER AS day,
    TIMESTAMP '2020-01-01' + to_seconds((hash(i + 4) % 100000000)::BIGINT) AS at, (hash(i + 5) % 1000) / 7.0 AS ratio
    FROM range({rows}) t(i) ORDER BY i"""
_QUERIES = {
    "two of seven columns": "SELECT shop, sum(amount) AS amount FROM t GROUP BY shop",
    "a few rows of many": "SELECT * FROM t WHERE id BETWEEN 1000 AND 2000",
    "all rows": "SELECT * FROM t",
}


async def measure(folder: Path, rounds: int, rows: int, delays: list[int]) -> list[Measurement]:
    """Measure each query over one Parquet file of so many rows, behind a server that answers after each delay."""
    figures: list[Measurement] = []
    (folder / "served").mkdir()
    async with _server(folder / "served") as url:
        with duckdb.connect() as connection:
            connection.execute(f"COPY ({_ROWS.format(rows=rows)}) TO '{folder}/served/t.parquet' (COMPRESSION zstd)")
            described = connection.execute(f"DESCRIBE FROM '{folder}/served/t.parquet'").fetchall()
        columns = tuple(Column(name=name, duckdb_type=kind) for name, kind, *_ in described)
        say(f"{rows:,} rows in one file of {(folder / 'served' / 't.parquet').stat().st_size / 1e6:,.0f} MB")
        async with _engine(folder, url) as engine:
            for delay in delays:
                await _get(f"{url}/delay/{delay}")
                for name, sql in _QUERIES.items():
                    ours = partial(_write, engine, folder, url, columns, sql)
                    found = await _both(f"{name}, {delay} ms", ours, partial(_floor, folder, url, sql), url, rounds)
                    show(f"{name}, answers after {delay} ms", found)
                    figures += found
    return figures


async def _both(
    name: str, ours: Callable[[], Awaitable[None]], floor: Callable[[], Awaitable[None]], url: str, rounds: int
) -> list[Measurement]:
    own: list[list[float]] = []
    other: list[list[float]] = []
    for _ in range(rounds + 1):
        for work, kept in ((ours, own), (floor, other)):
            await _get(f"{url}/counts")
            seconds = await timed(work)
            counts = (await _get(f"{url}/counts")).json()
            kept.append([seconds, counts["requests"], counts["bytes"] / 1e6])
    figures = [
        Measurement(f"{what}{name}{of}", [one[place] for one in kept[1:]], unit)
        for what, place, unit in (("", 0, "s"), ("requests: ", 1, "requests"), ("bytes: ", 2, "MB"))
        for of, kept in (("", own), (", httpfs", other))
    ]
    return [*figures, ratios(f"{name} / httpfs", figures[0], figures[1])]


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[str]:
    (port,) = choose_ports({"files": 0})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.remote_server", str(folder), str(port)
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                await _get(f"{url}/counts")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def _get(url: str) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        return await http.get(url)


class _Tables:
    """Opens all remote files without a credential. See RemoteTables."""

    def __init__(self, servers: RemoteObjects) -> None:
        self._servers = servers

    async def open(self, url_pattern: str, credential: Credential | None) -> RemoteTable:
        return await self._servers.open(url_pattern, credential)

    async def open_stored(self, table_id: UUID, url_pattern: str) -> RemoteTable:  # noqa: ARG002 - the same for all
        return await self._servers.open(url_pattern, None)


@asynccontextmanager
async def _engine(folder: Path, url: str) -> AsyncIterator[DuckDBEngine]:
    servers = RemoteObjects([f"{url}/"], S3Defaults())
    lister = SourceFileLister([], [], _Tables(servers))
    engine = DuckDBEngine(lister, limits=_LIMITS, worker_memory_mb=4096, temp_dir=folder / "scratch")
    try:
        yield engine
    finally:
        await engine.close()
        await lister.close()
        await servers.close()


async def _write(engine: DuckDBEngine, folder: Path, url: str, columns: tuple[Column, ...], sql: str) -> None:
    table = SourceRelation(
        name="t", id=uuid4(), format=SourceFormat.PARQUET, url_pattern=f"{url}/t.parquet", columns=columns
    )
    ids = [uuid4() for _ in range(4)]
    plan = RunPlan(
        run_id=ids[0],
        generation_id=ids[1],
        saved_query_id=ids[2],
        revision_id=ids[3],
        trigger=Trigger.API,
        project_id=1,
        name="v",
        sql=sql,
        relations=(table,),
        timeout_seconds=600,
    )
    shared = (folder / "sealed", folder / "staged")
    target = shared[1] / str(uuid4())
    for one in (*shared, target):
        one.mkdir(exist_ok=True)
    written = WriteTarget.local(target, shared)
    await engine.write(plan, lambda location, name: f"{location}/{name}", written, lambda _: None)


async def _floor(folder: Path, url: str, sql: str) -> None:
    await asyncio.to_thread(_plain, folder / f"plain-{uuid4()}", url, sql)


def _plain(into: Path, url: str, sql: str) -> None:
    found = find_spec("duckdb_extension_httpfs")
    (extension,) = Path(str(found and found.origin)).parent.rglob("httpfs.duckdb_extension")
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute(f"LOAD '{extension}'")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(f"CREATE VIEW t AS FROM read_parquet('{url}/t.parquet')")
        copy(connection, sql, into, {})
