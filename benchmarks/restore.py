"""Measures a backup and a restore of an installation with many views: its database, its store, its schedules."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from benchmarks.common import Api, Measurement, say, show
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.backing_servers import Servers
from orchestrator.devstack.postgres import binary
from orchestrator.devstack.stack import DevStack
from orchestrator.temporal.client import connect
from orchestrator.temporal.schedules import Schedules

T = TypeVar("T")

_SQL = "SELECT i, md5((i + {number})::VARCHAR) AS m FROM range(20000) t(i)"
_MIB = 2**20


class Stopwatch:
    """Times steps, and keeps the figure of each."""

    def __init__(self) -> None:
        self.figures: list[Measurement] = []

    async def time(self, name: str, work: Awaitable[T]) -> T:
        """Do the work and record its time; returns its result."""
        began = time.perf_counter()
        result = await work
        self.figures.append(Measurement(name, [time.perf_counter() - began]))
        return result

    def size(self, name: str, path: Path) -> None:
        """Record the size of a file or a folder."""
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        self.figures.append(Measurement(name, [sum(file.stat().st_size for file in files) / _MIB], "MiB"))


async def measure(folder: Path, views: int) -> list[Measurement]:
    """Create an installation, back it up, and restore it to another one."""
    watch, dump, copy = Stopwatch(), folder / "dump", folder / "copy"
    async with DevStack(folder / "lost", bootstrap=bootstrap, say=say) as stack:
        await Api(stack).all_materialized({f"v_{number}": _SQL.format(number=number) for number in range(views)})
        data, url = Path(stack.info["data_dir"]), stack.info["database_url"]
        dumping = _call("pg_dump", "--format=custom", "--no-owner", "--file", dump, url)
        await watch.time("dump the database", dumping)
        await watch.time("copy the store", asyncio.to_thread(shutil.copytree, data / "snapshots", copy))
        watch.size("the dump", dump)
        watch.size("the copy of the store", copy)
    async with Servers(folder / "found") as servers:
        restoring = _call("pg_restore", "--no-owner", "--exit-on-error", "--dbname", servers.database_url, dump)
        await watch.time("restore the database", restoring)
        restored = servers.home.data / "snapshots"
        await watch.time("copy the store back", asyncio.to_thread(shutil.copytree, copy, restored))
    began = time.perf_counter()
    async with DevStack(folder / "found", bootstrap=bootstrap, say=say) as stack:
        temporal = await connect(stack.info["temporal_address"], None)
        schedules = Schedules(temporal)
        while len(await schedules.list_all()) < views:  # noqa: ASYNC110 - Temporal has no event to wait for
            await asyncio.sleep(0.1)
        watch.figures.append(Measurement("start, until every schedule is there", [time.perf_counter() - began]))
    show(f"Backup and restore of {views} views", watch.figures)
    return watch.figures


async def _call(program: str, *arguments: str | Path) -> None:
    command = [str(binary(program)), *map(str, arguments)]
    await asyncio.to_thread(subprocess.run, command, check=True)
