"""The 22 queries of TPC-H as views on both engines, beside plain DuckDB and Sail alone, all in one run.

Each query is saved twice, once for each engine. The results are compared row by row, and floating-point numbers in
twelve digits. A query that is refused when it is saved says why.
"""

import asyncio
import json
import math
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import duckdb
import httpx

from benchmarks.common import Api, Measurement, percentile, say, show
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack

CACHE = Path(__file__).parents[1] / ".bench" / "tpch-all"
_TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")


class Tried(NamedTuple):
    """A query on both engines: its seconds in the product and without it, and whether the rows are the same.

    `why` says why it was refused, or how it failed.
    """

    number: int
    duckdb: float
    plain: float
    spark: float | None = None
    sail: float | None = None
    same: bool = False
    why: str = ""


async def measure(folder: Path, rounds: int, scale: float) -> list[Measurement]:
    """Measure all queries, on a stack that is started for it."""
    files, queries = await asyncio.to_thread(_data, scale)
    async with DevStack(folder / "home", bootstrap=bootstrap, say=say, extra_source_roots=[CACHE], spark=True) as stack:
        api = Api(stack)
        for name, path in files.items():
            await api.add_table(name, path, "Parquet")
        remote = f"sc://127.0.0.1:{_port_of(stack)}"
        tried = [
            await _try(api, remote, files, folder, number=number, sql=sql, rounds=rounds)
            for number, sql in queries.items()
        ]
    return _figures(tried, scale)


def _data(scale: float) -> tuple[dict[str, Path], dict[int, str]]:
    """The files of all tables, generated unless they exist, and the queries."""
    spec = find_spec("duckdb_extension_tpch")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package duckdb-extension-tpch is not installed")
    extension = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}" / "tpch.duckdb_extension"
    folder = CACHE / f"{scale:g}"
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension}'")
        queries = dict(connection.execute("SELECT query_nr, query FROM tpch_queries()").fetchall())
        if not (folder / "done").exists():
            folder.mkdir(parents=True, exist_ok=True)
            connection.execute(f"CALL dbgen(sf = {scale})")
            for name in _TABLES:
                connection.execute(f"COPY {name} TO '{folder}/{name}.parquet' (FORMAT parquet)")
            (folder / "done").touch()
    return {name: folder / f"{name}.parquet" for name in _TABLES}, {
        number: sql.strip().rstrip(";") for number, sql in queries.items()
    }


def _port_of(stack: DevStack) -> str:
    command = Path(f"/proc/{stack.info['pids']['sail']}/cmdline").read_bytes().decode().split("\0")
    return command[command.index("--port") + 1]


async def _try(
    api: Api, remote: str, files: dict[str, Path], folder: Path, *, number: int, sql: str, rounds: int
) -> Tried:
    ours = await api.materialized(f"d{number}", sql)
    query = {"query": sql, "engine": "spark"}
    times: dict[str, list[float]] = {name: [] for name in ("duckdb", "plain", "spark", "sail")}
    why, theirs, translated = "", "", ""
    try:
        made = await api.call("POST", "/warehouse_saved_queries/", {"name": f"s{number}", "query": query})
        theirs, translated = made["id"], made["translated_query"]
        await api.call("POST", f"/warehouse_saved_queries/{theirs}/materialize/")
        await api.ended(theirs, runs=1)
    except httpx.HTTPStatusError as error:
        why = error.response.json()["detail"]
    except RuntimeError as error:
        why = str(error)
    for _ in range(rounds):
        times["duckdb"].append(await api.run(ours))
        times["plain"].append(await asyncio.to_thread(_plain, sql, files, folder / "plain.parquet"))
        if not why:
            times["spark"].append(await api.run(theirs))
            target = folder / f"sail-{time.monotonic_ns()}"
            times["sail"].append(await asyncio.to_thread(_sail, remote, translated, files, target))
    middle = {name: percentile(values, 0.5) for name, values in times.items() if values}
    same = not why and await _rows(api, ours) == await _rows(api, theirs)
    found = Tried(number, middle["duckdb"], middle["plain"], middle.get("spark"), middle.get("sail"), same, why)
    say(f"query {number}: {_shown(found)}")
    return found


def _plain(sql: str, files: dict[str, Path], target: Path) -> float:
    began = time.perf_counter()
    with duckdb.connect() as connection:
        for name, path in files.items():
            connection.execute(f"CREATE VIEW {name} AS FROM read_parquet('{path}')")
        connection.execute(f"COPY ({sql}) TO '{target}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")
    return time.perf_counter() - began


def _sail(remote: str, sql: str, files: dict[str, Path], target: Path) -> float:
    """The same statement in a session of its own, without the product."""
    from pyspark.sql.connect.session import SparkSession  # noqa: PLC0415 - no other measurement needs it

    began = time.perf_counter()
    session = SparkSession(remote, "bench")
    try:
        for name, path in files.items():
            session.read.parquet(path.as_uri()).createOrReplaceTempView(name)
        session.sql(sql).write.parquet(target.as_uri())
    finally:
        session.stop()
    return time.perf_counter() - began


async def _rows(api: Api, view_id: str) -> Counter[str]:
    """The rows of a view, floating-point numbers in twelve digits."""
    answer = await api.ask("GET", f"/warehouse_saved_queries/{view_id}/data/?format=ndjson")
    rows = [json.loads(line) for line in answer.text.splitlines()]
    return Counter(json.dumps(_rounded(row)) for row in rows)


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return float(f"{value:.12g}") if isinstance(value, float) else value


def _shown(one: Tried) -> str:
    if one.spark is None or one.sail is None:
        return f"duckdb {one.duckdb:.2f} s, refused: {one.why}"
    rows = "the same rows" if one.same else "OTHER ROWS"
    return f"duckdb {one.duckdb:.2f} s (plain {one.plain:.2f}), spark {one.spark:.2f} s (Sail {one.sail:.2f}), {rows}"


def _figures(tried: list[Tried], scale: float) -> list[Measurement]:
    ran = [one for one in tried if one.spark is not None and one.sail is not None]
    figures = [
        Measurement("queries with the same rows on both engines", [float(sum(one.same for one in tried))], "queries"),
        Measurement("queries that are refused", [float(len(tried) - len(ran))], "queries"),
        Measurement("a query, DuckDB in the product", [one.duckdb for one in ran]),
        Measurement("a query, plain DuckDB", [one.plain for one in ran]),
        Measurement("a query, Spark in the product", [one.spark or 0 for one in ran]),
        Measurement("a query, Sail alone", [one.sail or 0 for one in ran]),
    ]
    if ran:
        figures.append(Measurement("Spark beside DuckDB, geometric mean", [_mean(ran, "spark", "duckdb")], "times"))
        figures.append(Measurement("Spark beside Sail alone, geometric mean", [_mean(ran, "spark", "sail")], "times"))
        figures.append(Measurement("Sail alone beside plain DuckDB", [_mean(ran, "sail", "plain")], "times"))
    show(f"TPC-H at scale {scale:g} on both engines", figures)
    return figures


def _mean(ran: list[Tried], above: str, below: str) -> float:
    return math.exp(sum(math.log(getattr(one, above) / getattr(one, below)) for one in ran) / len(ran))
