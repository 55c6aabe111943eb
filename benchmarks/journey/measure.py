"""Types the journey in each tool, round after round, from an empty folder with an empty home."""

import asyncio
import os
import shutil
import sys
import venv
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.common import Measurement, say, show
from benchmarks.journey.report import figures_table, typed_table
from benchmarks.journey.steps import INSTALL, START, TITLES, Clock, Step, Taken, Traveller, check, take
from benchmarks.journey.travellers import TRAVELLERS
from benchmarks.peers.subprocesses import environment


async def measure(folder: Path, rounds: int, tools: list[str], installs: int) -> list[Measurement]:
    """Measure every step in each tool; the rows of all views are compared with plain DuckDB's after each.

    Raises PeerError if a command ends otherwise than it should, or a view has other rows.
    """
    travellers = [TRAVELLERS[name]() for name in tools]
    times: dict[str, dict[str, list[Taken]]] = {one.key: {} for one in travellers}
    for number in range(rounds):
        first = number % len(travellers)
        say(f"Round {number + 1} of {rounds}, load average {os.getloadavg()[0]:.1f}")
        for one in travellers[first:] + travellers[:first]:
            place = folder / f"{one.key}-{number}"
            for name, taken in (await _travel(one, place, installs=number < installs)).items():
                times[one.key].setdefault(name, []).append(taken)
            shutil.rmtree(place, ignore_errors=True)
    # Not by `say`, which would break long lines.
    sys.stdout.write(f"\n{figures_table(travellers, times)}\n{typed_table(travellers)}\n")
    figures = [
        Measurement(f"{one.title}: {TITLES[name]}{what}", [getattr(taken, field) for taken in all_taken])
        for one in travellers
        for name, all_taken in times[one.key].items()
        for what, field in (("", "seconds"), (", processor", "processor"))
    ]
    show("The journey: the commands of each step", figures)
    return figures


async def _travel(traveller: Traveller, place: Path, *, installs: bool) -> dict[str, Taken]:
    """Make the journey once below a new folder; returns the time of each step that has commands."""
    project, setup, own = place / "project", place / "setup", place / "venv"
    for folder in (project, setup):
        folder.mkdir(parents=True)
    times: dict[str, Taken] = {}
    if installs:
        await asyncio.to_thread(venv.create, own, with_pip=True)
        command = await asyncio.to_thread(traveller.install, setup)
        variables = environment(place, own / "bin", **traveller.quiet)
        times[INSTALL] = await take(Step((command,)), setup, variables)
    else:
        variables = environment(place, await traveller.programs(), **traveller.quiet)
    async with AsyncExitStack() as servers:
        with Clock() as clock:
            await servers.enter_async_context(traveller.serving(project, variables))
        if traveller.starts:
            times[START] = clock.taken
        for name, step in traveller.typed_steps().items():
            times[name] = await take(step, project, variables)
            await asyncio.to_thread(check, traveller, name, project)
    say(f"  {traveller.title}: {sum(taken.seconds for taken in times.values()):.1f} s")
    return times
