"""`python -m chaos`: kills the processes of an installation at random while readers read, and checks all they observe.

Exits with status 1 if a reader, or a check of the whole installation, found a violation.
"""

import argparse
import asyncio
import logging
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from chaos.report import say, show, write
from chaos.run import Options, run_harness


def main() -> int:
    """Run the harness; returns the exit status of the process."""
    asked = _arguments()
    home = asked.home or Path(tempfile.mkdtemp(prefix="mv-chaos-"))
    seed = secrets.randbelow(1_000_000) if asked.seed is None else asked.seed
    options = Options(
        seed=seed,
        minutes=asked.minutes,
        home=home.expanduser().resolve(),
        workers=asked.workers,
        people=asked.people,
        readers=asked.readers,
        pace=asked.pace,
        bulk=not asked.no_bulk and asked.store != "s3",
        small_disk=not asked.no_small_disk,
        in_bucket=asked.store == "s3",
        known_violations=tuple(asked.tolerate),
    )
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # broken connections are expected here
    say(f"Seed {seed}; everything is kept in {options.home}.")
    history = asyncio.run(run_harness(options))
    show(history)
    if asked.json:
        write(history, asked.json, {"minutes": asked.minutes, "workers": asked.workers})
    if not history.violations and not asked.keep:
        shutil.rmtree(options.home, ignore_errors=True)
    else:
        say(f"Logs and databases: {options.home}")
    return 1 if history.violations else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description="Breaks a whole installation and watches it.")
    parser.add_argument("--minutes", type=float, default=5, help="how long the trouble lasts")
    parser.add_argument("--seed", type=int, help="what decides on all that is done; chosen and shown without it")
    parser.add_argument("--home", type=Path, help="an empty folder with a short path; one is made without it")
    parser.add_argument("--json", type=Path, help="a file to write every figure and violation to")
    parser.add_argument("--workers", type=int, default=2, help="how many workers there are")
    parser.add_argument("--people", type=int, default=4, help="how many things are done at a time")
    parser.add_argument("--readers", type=int, default=3, help="how many read all the time")
    parser.add_argument("--pace", type=float, default=6, help="seconds between two kills, on average")
    parser.add_argument("--no-bulk", action="store_true", help="without the view whose result is 320 MB")
    parser.add_argument(
        "--no-small-disk", action="store_true", help="do not mount a small disk, which is filled at times"
    )
    parser.add_argument(
        "--store", choices=("disk", "s3"), default="disk", help="where results are: s3 is behind a network that fails"
    )
    parser.add_argument("--tolerate", metavar="KIND", action="append", default=[], help="count these apart: known ones")
    parser.add_argument("--keep", action="store_true", help="keep the folder also if all was well")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
