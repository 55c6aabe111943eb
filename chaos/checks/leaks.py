"""Checks that nothing piles up: processes, connections, open files, and the folders that queries spill to."""

import asyncio
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from chaos.catalog import Catalog
from chaos.harness import Harness
from chaos.processes import Processes, open_files

# A project holds all but one process of a pool at most: one of two that parse, and two of three each that bind, that
# search for files and that digest them. Up to eight are kept for the next query.
_CHILDREN_THAT_STAY = 1 + 3 * 2 + 8
_CONNECTIONS_OF_A_PROCESS = 20
# Those of the harness itself: for its checks, and one for each reader.
_OWN_CONNECTIONS = 12
_OPEN_FILES = 400


async def check(chaos: Harness, catalog: Catalog) -> None:
    """Check the processes, connections and folders that are left when no run is in progress."""
    await asyncio.to_thread(_check_processes, chaos)
    await _check_connections(chaos, catalog)
    await asyncio.to_thread(_check_scratch, chaos)


def check_stopped(data: Path) -> list[int]:
    """The ids of the processes that are left when the stack has been stopped."""
    return sorted(Processes.now().of_home(data) - {os.getpid()})


def _check_processes(chaos: Harness) -> None:
    processes = Processes.now()
    roles = chaos.pids("api", *chaos.workers)
    family = processes.below(roles) | set(roles)
    strays = processes.of_home(chaos.data) - family - {os.getpid()}
    if strays:
        chaos.history.record_violation("leak", f"processes {sorted(strays)} belong to no part of the stack")
    for pid in roles:
        children = processes.query_children([pid])
        chaos.history.counts["at the end/query processes"] += len(children)
        chaos.history.counts["at the end/open files"] += open_files(pid)
        if len(children) > _CHILDREN_THAT_STAY:
            chaos.history.record_violation("leak", f"process {pid} has {len(children)} children and runs nothing")
        if open_files(pid) > _OPEN_FILES:
            chaos.history.record_violation("leak", f"process {pid} has {open_files(pid)} open files")


async def _check_connections(chaos: Harness, catalog: Catalog) -> None:
    rows = await catalog.rows(
        "SELECT pid, state, clock_timestamp() - state_change > interval '30 s' AS long, query FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND datname = current_database()"
    )
    chaos.history.counts["at the end/connections"] = len(rows)
    stuck = [row for row in rows if row["long"] and (row["state"] or "").startswith(("idle in", "active"))]
    if stuck:
        chaos.history.record_violation("leak", f"transactions that no client ends: {stuck}")
    most = _CONNECTIONS_OF_A_PROCESS * (1 + len(chaos.workers)) + _OWN_CONNECTIONS
    if len(rows) > most:
        chaos.history.record_violation("leak", f"{len(rows)} connections, and there should be {most} at most")


def _check_scratch(chaos: Harness) -> None:
    """Record each spill folder whose lock no process holds."""
    for folder in (chaos.data / "tmp").glob("run-*"):
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            finally:
                os.close(descriptor)
            chaos.history.record_violation("leak", f"{folder} was left behind")
