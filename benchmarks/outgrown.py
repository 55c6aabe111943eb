"""A query that outgrows the limits of DuckDB on one machine, beside the same on Sail with two workers.

It groups by a text that no two rows share, so that all rows have to be held at once: in memory, or on the disk. Sail's
two workers are threads of its process here, with no limit of memory: they stand for two machines that have it.
"""

import asyncio
import os
import re
from pathlib import Path

import duckdb

from benchmarks.common import Api, Measurement, say, show, timed
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack

_SQL = (
    "SELECT count(*) AS groups, max(c) AS most, sum(n) AS total "
    "FROM (SELECT s, count(*) AS c, max(n) AS n FROM t GROUP BY s) AS g"
)
_WORKERS = {
    "SAIL_MODE": "local-cluster",
    "SAIL_CLUSTER__WORKER_INITIAL_COUNT": "2",
    "SAIL_CLUSTER__WORKER_MAX_COUNT": "2",
}


async def measure(folder: Path, rows: int, memory: int, disk: int) -> list[Measurement]:
    """Run the query on both engines, on a stack that is started for it."""
    file = folder / "sources" / "t.parquet"
    file.parent.mkdir(parents=True)
    made = f"SELECT md5(i::VARCHAR) AS s, i AS n FROM range({rows}) AS r(i)"  # noqa: S608 - a number
    await asyncio.to_thread(duckdb.execute, f"COPY ({made}) TO '{file}' (FORMAT parquet, ROW_GROUP_SIZE 100000)")
    limits = {"MATVIEW_QUERY_MEMORY_MB": str(memory), "MATVIEW_QUERY_TEMP_DISK_MB": str(disk)}
    os.environ.update(_WORKERS | limits)
    async with DevStack(
        folder / "home", bootstrap=bootstrap, say=say, extra_source_roots=[file.parent], spark=True
    ) as stack:
        api = Api(stack)
        await api.add_table("t", file, "Parquet")
        reason, on_duckdb = await _failure(api)
        before = _peak_mib(stack.info["pids"]["sail"])
        query = {"query": _SQL, "engine": "spark"}
        view = (await api.call("POST", "/warehouse_saved_queries/", {"name": "on_spark", "query": query}))["id"]

        async def run() -> None:
            await api.call("POST", f"/warehouse_saved_queries/{view}/materialize/")
            await api.ended(view, runs=1)

        on_spark = await timed(run)
        peak = _peak_mib(stack.info["pids"]["sail"])
        answer = await api.ask("GET", f"/warehouse_saved_queries/{view}/data/?format=json")
    found = answer.json()["results"]
    if found != [[rows, 1, rows * (rows - 1) // 2]]:
        raise RuntimeError(f"the cluster gives other rows: {found}")
    say(f"DuckDB, with {memory} MiB of memory and {disk} MiB to spill: {reason or 'it has finished'}")
    figures = [
        Measurement("until DuckDB gives the query up", [on_duckdb] if reason else []),
        Measurement("the query on Sail with two workers", [on_spark]),
        Measurement("memory of Sail before it", [before], "MiB"),
        Measurement("memory of Sail at most", [peak], "MiB"),
    ]
    figures = [one for one in figures if one.values]
    show(f"A query that outgrows DuckDB's limits, over {rows:,} rows", figures)
    return figures


async def _failure(api: Api) -> tuple[str, float]:
    """Why the query fails on DuckDB, empty if it does not, and after how many seconds."""
    view = await api.create("on_duckdb", _SQL)
    reason = ""

    async def run() -> None:
        nonlocal reason
        await api.call("POST", f"/warehouse_saved_queries/{view}/materialize/")
        try:
            await api.ended(view, runs=1)
        except RuntimeError as error:
            reason = str(error)

    took = await timed(run)
    return reason, took


def _peak_mib(pid: int) -> float:
    """The most memory that a process has had so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    return int(found[1]) / 1024 if found else 0.0
