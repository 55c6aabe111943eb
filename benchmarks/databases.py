"""Measures the copy of a table of PostgreSQL, beside what reads the same rows in the barest way, in turn.

The copy and the digest of its rows alone, without Temporal, the catalog and the store. All writes go to one disk.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow.parquet as pq

from benchmarks.common import Measurement, ratios, say, show, timed
from orchestrator.engines.duckdb.analyzer import DuckDBAnalyzer
from orchestrator.engines.duckdb.source_file_lister import SourceFileLister
from orchestrator.model.database_tables import CopiedRows, CopyOrder, DatabaseTable
from orchestrator.model.limits import Limits
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import Credential, SourceFormat
from orchestrator.remote_sources.databases.servers import Databases
from tests.support.postgres_server import PASSWORD, USER, PostgresServer, postgres_server

_LIMITS = Limits(memory_mb=2048, threads=2, temp_disk_mb=4096, output_mb=4096)
_ROWS = """CREATE TABLE t AS SELECT g AS id, g % 1000 AS shop, 'customer ' || g % 100000 AS customer,
    (g % 1000000 / 100.0)::numeric(12,2) AS amount, DATE '2020-01-01' + g % 2000 AS day,
    TIMESTAMP '2020-01-01' + g * INTERVAL '1 second' AS at, (g % 1000 / 7.0)::float8 AS ratio
    FROM generate_series(1, {rows}) g"""
_SECONDS = 3600.0


async def measure(folder: Path, rounds: int, rows: int) -> list[Measurement]:
    """Measure each way with so many rows of seven columns."""
    async with postgres_server(folder / "postgres") as server:
        await asyncio.to_thread(server.run, _ROWS.format(rows=rows), f"GRANT SELECT ON t TO {USER}", "VACUUM ANALYZE t")
        databases = Databases([server.allowed], most_mb=65_536)
        analyzer = DuckDBAnalyzer(SourceFileLister([], []), limits=_LIMITS)
        try:
            return await _measured(_Ways(folder, server, databases, analyzer), rounds, rows)
        finally:
            databases.close()
            await analyzer.close()


class _Ways:
    """Each way to read the table. `columns` are those that a description has found."""

    def __init__(self, folder: Path, server: PostgresServer, databases: Databases, analyzer: DuckDBAnalyzer) -> None:
        self._folder = folder
        self._databases = databases
        self._analyzer = analyzer
        self._table = DatabaseTable(
            server.url("public.t"), SourceFormat.POSTGRESQL, Credential(access_key=USER, access_secret=PASSWORD)
        )
        self._words = f"host=127.0.0.1 port={server.port} dbname=postgres user={USER} password={PASSWORD}"
        self.columns: tuple[Column, ...] = ()

    async def describe(self) -> None:
        """Find the columns."""
        self.columns = await self._databases.describe(self._table)

    async def copy(self) -> Path:
        """A copy, as a generation makes it."""
        path, key = self._folder / f"{uuid4()}.parquet", uuid4()
        order = CopyOrder(self._table, self.columns, frozenset(), path)
        found = (await self._databases.copy({key: order}, _SECONDS))[key]
        if not isinstance(found, CopiedRows):
            raise found
        return path

    async def copy_and_digest(self) -> Path:
        """A copy with the digest of its rows."""
        path = await self.copy()
        await self._analyzer.digest_rows(path, [one.name for one in self.columns], project_id=1)
        return path

    async def adbc_to_parquet(self) -> Path:
        """The whole table in memory over ADBC, and then a Parquet file."""
        return await asyncio.to_thread(self._adbc_to_parquet)

    async def copy_to_stdout(self) -> Path:
        """`COPY t TO STDOUT` in its binary form, into a file: what the server and the network take."""
        return await asyncio.to_thread(self._copy_to_stdout)

    def _adbc_to_parquet(self) -> Path:
        path = self._folder / f"{uuid4()}.parquet"
        with adbc.connect(self._words) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id, shop, customer, amount::text, day, at, ratio FROM t")
            pq.write_table(cursor.fetch_arrow_table(), path, compression="zstd")
        return path

    def _copy_to_stdout(self) -> Path:
        path = self._folder / f"{uuid4()}.copy"
        with (
            psycopg.connect(self._words) as connection,
            connection.cursor().copy("COPY t TO STDOUT (FORMAT binary)") as rows,
            path.open("wb") as stream,
        ):
            for some in rows:
                stream.write(some)
        return path


async def _measured(ways: _Ways, rounds: int, rows: int) -> list[Measurement]:
    await ways.describe()
    named: dict[str, Callable[[], Awaitable[Path]]] = {
        "COPY TO STDOUT, binary": ways.copy_to_stdout,
        "ADBC into Parquet, all in memory": ways.adbc_to_parquet,
        "a copy": ways.copy,
        "a copy and its digest": ways.copy_and_digest,
    }
    seconds: dict[str, list[float]] = {name: [] for name in named}
    for number in range(rounds + 1):
        for name, way in named.items():
            took = await timed(partial(_made, way))
            if number:
                seconds[name].append(took)
    figures = [Measurement(name, values, "s") for name, values in seconds.items()]
    figures.append(ratios("a copy and its digest / ADBC into Parquet", figures[3], figures[1]))
    say(f"{rows:,} rows of seven columns")
    show("tables of databases", figures)
    return figures


async def _made(way: Callable[[], Awaitable[Path]]) -> None:
    path = await way()
    await asyncio.to_thread(path.unlink)
