"""`make bench`: what the product costs and how quick it is, measured on an embedded stack.

Absolute times depend on the machine and on what else it does; the ratios are what to look at.
"""

import argparse
import asyncio
import os
import signal
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import (
    api,
    big,
    cancel,
    checks,
    console,
    dag,
    databases,
    generations,
    hostile,
    memory_cost,
    outgrown,
    project,
    reading,
    remote,
    restore,
    results,
    rollback,
    schedules,
    small,
    sources,
    spark,
    start,
    verdicts,
    workers,
)
from benchmarks.common import Measurement, save, say
from benchmarks.journey import measure as journey
from benchmarks.journey.travellers import TRAVELLERS

Value = int | float | list[int] | list[str]


@dataclass(frozen=True)
class Option:
    """A command-line option of a measurement: a number or a word, or several where the default is a list."""

    default: Value
    quick: Value
    help: str = ""


@dataclass(frozen=True)
class Kind:
    """A measurement. `measure` is called with a folder of its own and the options."""

    measure: Callable[..., Coroutine[Any, Any, list[Measurement]]]
    help: str
    options: dict[str, Option]


def rounds(default: int = 5, quick: int = 1) -> Option:
    """The option for the number of rounds; in each, the product and its comparison take turns."""
    return Option(default, quick, "how often, in turn with what it is compared with")


SEED = Option(1, 1, "of what is left to chance")
KINDS = {
    "big": Kind(
        big.measure,
        "one big view over TPC-H data, beside plain DuckDB",
        {
            "rounds": rounds(),
            "scale": Option(1.0, 0.01, "of TPC-H: 1 is a gigabyte"),
            "results": Option(list(big.KINDS), list(big.KINDS), "of what kind, one or several"),
        },
    ),
    "spark": Kind(
        spark.measure,
        "the queries of TPC-H on both engines, beside plain DuckDB and Sail alone",
        {"rounds": rounds(3), "scale": Option(1.0, 0.01, "of TPC-H: 1 is a gigabyte")},
    ),
    "outgrown": Kind(
        outgrown.measure,
        "a query that outgrows DuckDB's limits, on Sail with two workers",
        {
            "rows": Option(20_000_000, 1_000_000, "of the table, each with a text of its own"),
            "memory": Option(256, 64, "MiB of memory for a query on DuckDB"),
            "disk": Option(256, 16, "MiB that it may spill"),
        },
    ),
    "small": Kind(
        small.measure,
        "many small views run at once, beside plain DuckDB",
        {"rounds": rounds(), "counts": Option([100, 500], [4], "how many views, one or several numbers")},
    ),
    "dag": Kind(
        dag.measure,
        "views upon views, refreshed as one, beside plain DuckDB",
        {"rounds": rounds(3), "layers": Option(10, 3, "how many"), "width": Option(20, 3, "views in a layer")},
    ),
    "generations": Kind(
        generations.measure,
        "independent views as one, a changed source, a killed worker, cancels, two workers, many views",
        {
            "rounds": rounds(),
            "counts": Option([100, 500], [4], "how many independent views, one or several numbers"),
            "parts": Option(list(generations.PARTS), list(generations.PARTS), "one or several"),
            "many": Option(5_000, 12, "views in each of two projects"),
            "long": Option(8, 2, "long queries for two workers"),
        },
    ),
    "checks": Kind(
        checks.measure,
        "runs with checks, beside the same without",
        {
            "rounds": rounds(),
            "rows": Option(6_000_000, 20_000, "of the big view"),
            "small": Option(20, 3, "checks of the small view"),
        },
    ),
    "remote": Kind(
        remote.measure,
        "queries over a file behind a server, beside DuckDB's httpfs, with requests and bytes",
        {
            "rounds": rounds(),
            "rows": Option(6_000_000, 20_000, "of the file"),
            "delays": Option([0, 30], [0], "milliseconds until the server answers, one or several"),
        },
    ),
    "databases": Kind(
        databases.measure,
        "the copy of a table of PostgreSQL, beside COPY and plain ADBC",
        {"rounds": rounds(), "rows": Option(1_000_000, 20_000, "of the table")},
    ),
    "project": Kind(
        project.measure,
        "a project of many views, planned and applied as a whole",
        {"rounds": rounds(), "views": Option(1_000, 30, "how many")},
    ),
    "journey": Kind(
        journey.measure,
        "a newcomer's journey typed command by command, beside dbt-duckdb and SQLMesh",
        {
            "rounds": rounds(3),
            "tools": Option(list(TRAVELLERS), list(TRAVELLERS), "one or several"),
            "installs": Option(3, 0, "in how many rounds pip installs them, timed"),
        },
    ),
    "verdicts": Kind(
        verdicts.measure,
        "the same checks by the product, dbt's tests and SQLMesh's audits, which must say the same",
        {"rounds": rounds(3), "rows": Option(1_000_000, 10_000, "of the checked view")},
    ),
    "start": Kind(start.measure, "from the shell's command to the first result", {"rounds": rounds()}),
    "api": Kind(
        api.measure,
        "requests a second, and how late the slowest are",
        {
            "requests": Option(200, 10, "of each kind"),
            "counts": Option([1_000, 10_000], [120], "how many views, one or several numbers"),
            "seed": SEED,
        },
    ),
    "console": Kind(
        console.measure,
        "every page of the console with many views, and 200 open pages",
        {
            "requests": Option(100, 4, "of each page"),
            "views": Option(10_000, 120, "how many views"),
            "runs": Option(2_000, 20, "how many runs of one of them"),
            "graph": Option(500, 20, "how many views in the graph"),
            "readers": Option(200, 5, "how many open pages"),
            "seconds": Option(30, 2, "how long they are open"),
        },
    ),
    "schedules": Kind(
        schedules.measure,
        "schedules made, listed, paused and resumed, beside Temporal alone",
        {"rounds": rounds(2), "views": Option(2_000, 12, "how many")},
    ),
    "overhead": Kind(
        memory_cost.measure,
        "memory of a run beside plain DuckDB, and what a process of its own takes",
        {
            "rounds": rounds(3),
            "rows": Option(4_000_000, 20_000, "of the big view"),
            "starts": Option(50, 3, "processes of their own"),
        },
    ),
    "hostile": Kind(
        hostile.measure,
        "what a project notices while a key of another one does its worst",
        {
            "requests": Option(60, 2, "of each kind"),
            "connections": Option(50, 4, "of the hostile key"),
        },
    ),
    "reading": Kind(
        reading.measure,
        "source files of each format, read beside DuckDB's own readers",
        {
            "rounds": rounds(),
            "scale": Option(1.4, 0.01, "of TPC-H: 1.4 is a gigabyte of CSV"),
            "formats": Option(list(reading.FORMATS), list(reading.FORMATS), "one or several"),
            "columns": Option(16, 16, "of sixteen, that the query reads"),
        },
    ),
    "results": Kind(
        results.measure,
        "results read over HTTP, beside a file server, pyarrow and DuckDB",
        {
            "rounds": rounds(3),
            "rows": Option(10_000_000, 50_000, "of eight columns"),
            "readers": Option([1, 10, 50], [1, 3], "at a time, one or several numbers"),
            "queries": Option(400, 20, "small ones, of each kind"),
        },
    ),
    "cancel": Kind(
        cancel.measure,
        "from a cancel to the end of the query's process",
        {"cancels": Option(200, 2, "how many"), "seed": SEED},
    ),
    "rollback": Kind(
        rollback.measure,
        "rollbacks while others read",
        {"rollbacks": Option(200, 3, "how many"), "readers": Option(2, 1, "concurrent readers")},
    ),
    "workers": Kind(
        workers.measure,
        "small views a second, with one, two and four workers",
        {"rounds": rounds(), "views": Option(60, 4, "how many")},
    ),
    "sources": Kind(
        sources.measure,
        "what it costs to see that source files are whole, beside DuckDB's reading of them",
        {
            "rounds": rounds(),
            "megabytes": Option(500, 2, "of text, before it is compressed"),
            "threads": Option(2, 2, "of DuckDB and of the check"),
        },
    ),
    "restore": Kind(
        restore.measure, "a backup of many views, and a restore of it", {"views": Option(200, 4, "how many")}
    ),
}


def main() -> None:
    """Run one measurement, print its figures, and save them if asked to."""
    asked = vars(_parser().parse_args())
    kind, path, quick = KINDS[asked.pop("kind")], asked.pop("json"), asked.pop("quick")
    chosen = {
        name: (option.quick if quick else option.default) if asked[name] is None else asked[name]
        for name, option in kind.options.items()
    }
    load = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="mv-bench-") as name:
        figures = asyncio.run(_measured(kind, Path(name), chosen))
    say(f"Load average of the last minute: {load[0]:.1f} before, {os.getloadavg()[0]:.1f} after.")
    if path:
        save(path, figures, load)


async def _measured(kind: Kind, folder: Path, chosen: dict[str, Value]) -> list[Measurement]:
    task = asyncio.current_task()
    if task is not None:  # so that SIGTERM ends servers and commands as well
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await kind.measure(folder, **chosen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, kind in KINDS.items():
        one = kinds.add_parser(name, help=kind.help)
        one.add_argument("--json", type=Path, help="a file to write every figure to")
        one.add_argument("--quick", action="store_true", help="small and once: shows that it works, measures nothing")
        for called, option in kind.options.items():
            _add(one, called, option)
    return parser


def _add(parser: argparse.ArgumentParser, name: str, option: Option) -> None:
    flag = "--views" if name == "counts" else f"--{name}"
    shown: Sequence[object] = option.default if isinstance(option.default, list) else [option.default]
    text = f"{option.help} (default: {' '.join(map(str, shown))})"
    if isinstance(option.default, list):
        words = list(option.default) if isinstance(option.default[0], str) else None
        parser.add_argument(flag, dest=name, type=type(option.default[0]), nargs="+", choices=words, help=text)
    else:
        parser.add_argument(flag, dest=name, type=type(option.default), help=text)


if __name__ == "__main__":
    main()
