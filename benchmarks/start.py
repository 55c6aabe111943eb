"""Measures the time from `matview dev` to a ready stack and to the first result, on a new and on an existing home."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import Api, Measurement, show
from orchestrator.devstack.home import DevInfo, Home

_SQL = "SELECT 1 AS one"
_READY = b"Matview is ready"
_PORTS = ("--port", "0", "--temporal-port", "0", "--ui-port", "0")


@dataclass(frozen=True)
class Started:
    """Seconds from the command until the stack printed that it was ready, and until the first result was published."""

    ready: float
    result: float


async def measure(folder: Path, rounds: int) -> list[Measurement]:
    """Measure in turn a first start, a later one, and a command that runs the same SQL in plain DuckDB."""
    new, known, floor = [], [], []
    for number in range(rounds):
        home = folder / f"home-{number}"
        new.append(await _start(home, f"first_{number}"))
        known.append(await _start(home, f"second_{number}"))
        floor.append(await asyncio.to_thread(_plain, folder / f"plain-{number}"))
    figures = [
        Measurement("a new home, until ready", [one.ready for one in new]),
        Measurement("a new home, until the first result", [one.result for one in new]),
        Measurement("a home that exists, until ready", [one.ready for one in known]),
        Measurement("a home that exists, until the first result", [one.result for one in known]),
        Measurement("plain DuckDB, until its process has ended", floor),
    ]
    show("Cold start, from the shell's command", figures)
    return figures


async def _start(home: Path, name: str) -> Started:
    began = time.time()
    async with _dev(home) as info:
        ready = time.time() - began
        api = Api(info)
        view_id = await api.create(name, _SQL)
        await api.call("POST", f"/warehouse_saved_queries/{view_id}/materialize/")
        return Started(ready, await api.ended(view_id, runs=1) - began)


@asynccontextmanager
async def _dev(home: Path) -> AsyncIterator[DevInfo]:
    """Start `matview dev`, wait until it is ready, and stop it at the end. Raises RuntimeError if it does not start."""
    program = str(Path(sys.executable).parent / "matview")
    process = await asyncio.create_subprocess_exec(
        *(program, "dev", "--home", str(home), *_PORTS),
        cwd=home.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if process.stdout is None:
        raise RuntimeError("what it says cannot be read")
    said = b""
    try:
        while _READY not in said:
            line = await process.stdout.readline()
            if not line:
                raise RuntimeError(f"matview dev did not start: {said.decode()}")
            said += line
        info = Home(home).read_info()
        if info is None:
            raise RuntimeError("matview dev left no dev.json")
        yield info
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.communicate()


def _plain(folder: Path) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.baseline", _SQL, str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)  # noqa: S603 - it is this program
    return time.perf_counter() - began
