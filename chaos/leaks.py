"""What must not pile up: processes, connections, open files, and folders for what queries spill."""

import asyncio
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from chaos.catalog import Catalog
from chaos.context import Chaos
from chaos.processes import Processes, open_files

# The parser and two that describe.
_CHILDREN_THAT_STAY = 3
_CONNECTIONS_OF_A_PROCESS = 20
# The harness itself: its own looks, and one of each reader.
_OWN_CONNECTIONS = 12
_OPEN_FILES = 400


async def check(chaos: Chaos, catalog: Catalog) -> None:
    """Look at what is left when nothing is done any more."""
    await asyncio.to_thread(_check_processes, chaos)
    await _check_connections(chaos, catalog)
    await asyncio.to_thread(_check_scratch, chaos)


def check_stopped(data: Path) -> list[int]:
    """The processes that are left when the stack has been stopped."""
    return sorted(Processes.now().of_home(data) - {os.getpid()})


def _check_processes(chaos: Chaos) -> None:
    processes = Processes.now()
    roles = chaos.pids("api", *chaos.workers)
    family = processes.below(roles) | set(roles)
    strays = processes.of_home(chaos.data) - family - {os.getpid()}
    if strays:
        chaos.world.violate("leak", f"processes {sorted(strays)} belong to nobody")
    for pid in roles:
        children = processes.query_children([pid])
        chaos.world.counts["at the end/query processes"] += len(children)
        chaos.world.counts["at the end/open files"] += open_files(pid)
        if len(children) > _CHILDREN_THAT_STAY:
            chaos.world.violate("leak", f"process {pid} has {len(children)} children and runs nothing")
        if open_files(pid) > _OPEN_FILES:
            chaos.world.violate("leak", f"process {pid} has {open_files(pid)} open files")


async def _check_connections(chaos: Chaos, catalog: Catalog) -> None:
    rows = await catalog.rows(
        "SELECT pid, state, clock_timestamp() - state_change > interval '30 s' AS long, query FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND datname = current_database()"
    )
    chaos.world.counts["at the end/connections"] = len(rows)
    stuck = [row for row in rows if row["long"] and (row["state"] or "").startswith(("idle in", "active"))]
    if stuck:
        chaos.world.violate("leak", f"transactions that nobody ends: {stuck}")
    most = _CONNECTIONS_OF_A_PROCESS * (1 + len(chaos.workers)) + _OWN_CONNECTIONS
    if len(rows) > most:
        chaos.world.violate("leak", f"{len(rows)} connections, and there should be {most} at most")


def _check_scratch(chaos: Chaos) -> None:
    """Folders for what queries spill that no process holds the lock of."""
    for folder in (chaos.data / "tmp").glob("run-*"):
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            finally:
                os.close(descriptor)
            chaos.world.violate("leak", f"{folder} was left behind")
