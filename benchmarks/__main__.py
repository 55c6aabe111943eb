"""`make bench`: what the product costs and how quick it is, measured on an embedded stack.

Absolute times depend on the machine and on what else it does; the ratios are what to look at.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from benchmarks import cancel, overhead, restore, rollback, workers
from benchmarks.common import save


def main() -> None:
    """Measure, show and save."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", type=Path, help="a file to write every figure to")
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("overhead", help="a run beside plain DuckDB, in time and in memory")
    one.add_argument("--rounds", type=int, default=5)
    one.add_argument("--rows", type=int, default=4_000_000, help="rows of the big view")
    one.add_argument("--views", type=int, default=50, help="how many small views")
    two = kinds.add_parser("cancel", help="from a cancel to the end of the query's process")
    two.add_argument("--cancels", type=int, default=200)
    two.add_argument("--seed", type=int, default=1)
    three = kinds.add_parser("rollback", help="rollbacks while others read")
    three.add_argument("--rollbacks", type=int, default=200)
    three.add_argument("--readers", type=int, default=2)
    four = kinds.add_parser("workers", help="small views a second, with one, two and four workers")
    four.add_argument("--rounds", type=int, default=5)
    four.add_argument("--views", type=int, default=60)
    five = kinds.add_parser("restore", help="a backup of many views, and a restore of it")
    five.add_argument("--views", type=int, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mv-bench-") as name:
        folder = Path(name)
        if asked.kind == "overhead":
            work = overhead.measure(folder, max(2, asked.rounds), asked.rows, asked.views)
        elif asked.kind == "cancel":
            work = cancel.measure(folder, asked.cancels, asked.seed)
        elif asked.kind == "restore":
            work = restore.measure(folder, asked.views)
        elif asked.kind == "workers":
            work = workers.measure(folder, asked.rounds, asked.views)
        else:
            work = rollback.measure(folder, asked.rollbacks, asked.readers)
        figures = asyncio.run(work)
    if asked.json:
        save(asked.json, figures)


if __name__ == "__main__":
    main()
