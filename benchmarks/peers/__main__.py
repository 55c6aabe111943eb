"""`make bench-peers`: dbt-duckdb, SQLMesh, Dagster and Prefect beside the product and plain DuckDB, as a table.

Each peer is installed below .bench/peers in an environment of its own, from pinned requirements. Absolute times depend
on the machine and on what else it does; the ratios are what to look at.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.common import save
from benchmarks.peers.environments import prepare
from benchmarks.peers.measure import CONTENDERS, PEERS, Beside, Column, Race, say
from benchmarks.peers.report import figures, markdown
from benchmarks.peers.subprocesses import PeerError
from benchmarks.peers.workloads import QUICK, WORKLOADS, Sizes

_INTERRUPTED = 130
_BESIDE: dict[str, Beside] = {"small": "a view", "dag": "a view", "big": "times"}


def main() -> int:
    """Measure and print; returns the exit status of the process."""
    asked = _parser().parse_args()
    try:
        # Removed when all threads have ended as well: files that one of them still writes would be left.
        with tempfile.TemporaryDirectory(prefix="mv-peers-", ignore_cleanup_errors=True) as name:
            return asyncio.run(_measure(asked, Path(name)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    usual = Sizes()
    parser = argparse.ArgumentParser(prog="make bench-peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes and one round: only shows that all of it runs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--views", type=int, default=usual.views, help="how many small views")
    parser.add_argument("--rows", type=int, default=usual.rows, help="rows of the big view")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="only these peers")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="only these")
    parser.add_argument("--json", type=Path, help="a file to write every figure to")
    return parser


async def _measure(asked: argparse.Namespace, folder: Path) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:  # so that SIGTERM ends the servers as well
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    sizes = QUICK if asked.quick else Sizes(views=asked.views, rows=asked.rows)
    rounds, before = 1 if asked.quick else max(1, asked.rounds), os.getloadavg()
    binaries, missing = await _installed(asked.peers)
    columns: list[Column] = []
    loads: list[float] = []
    for kind in asked.workloads:
        race = Race(WORKLOADS[kind](sizes), folder, binaries, rounds)
        columns += await (race.refreshes(_BESIDE[kind]) if kind in _BESIDE else race.cold_starts())
        loads += race.loads
    names = [name for name in CONTENDERS if name in binaries or name in missing]
    sys.stdout.write(markdown(columns, names, missing, loads))
    if asked.json:
        save(asked.json, figures(columns, loads), before)
    return 1 if missing or any(column.failures for column in columns) else 0


async def _installed(peers: list[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """The folder of each contender's programs, and the reasons why some contenders could not be installed."""
    own = {name: Path(sys.executable).parent for name in CONTENDERS if name not in PEERS}
    found, missing = own, dict[str, str]()
    for name in peers:
        try:
            found[name] = await prepare(name)
        except (PeerError, OSError) as error:
            say(f"{name}: {error}")
            missing[name] = str(error)
    return found, missing


if __name__ == "__main__":
    sys.exit(main())
