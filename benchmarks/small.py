"""Measures many small views, all run at once, beside plain DuckDB in turn, and the processor time of each process."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.baseline import plain
from benchmarks.common import Api, Measurement, over_floor, ratios, say, show
from benchmarks.memory_cost import SMALL
from benchmarks.processes import cpu_seconds, own_cpu_seconds
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack

Timed = Callable[[], Awaitable[float]]

_COUNTED = ("postgres", "temporal", "api", "worker")
_CLIENT, _FLOOR = "this program, which asks", "plain DuckDB"
# The work after the last publication, such as closing workflows, counts as well.
_AFTERWARDS_SECONDS = 0.5


async def measure(folder: Path, rounds: int, counts: Sequence[int]) -> list[Measurement]:
    """Measure so many views at once, fewest first, on one stack that has no others."""
    statements: list[str] = []
    view_ids: list[str] = []
    figures: list[Measurement] = []
    async with DevStack(folder / "home", bootstrap=bootstrap, say=say) as stack:
        api = Api(stack)
        roots = {name: stack.info["pids"][name] for name in _COUNTED}

        async def ours() -> float:
            return await api.run(*view_ids)

        async def floor() -> float:
            return await asyncio.to_thread(_plain, statements, folder)

        for count in sorted(counts):
            new = {f"small_{number}": SMALL.format(number=number) for number in range(len(statements), count)}
            view_ids += await api.all_materialized(new)
            statements += new.values()
            figures += await _in_turn(count, rounds, ours, floor, roots)
    return figures


async def _in_turn(
    count: int, rounds: int, run: Timed, run_plain: Timed, roots: Mapping[str, int]
) -> list[Measurement]:
    ours, floor = Measurement(f"{count} small views, run", []), Measurement(f"{count} small views, plain DuckDB", [])
    cpu: dict[str, list[float]] = {name: [] for name in (*roots, _CLIENT, _FLOOR)}
    await run()  # the first run of either is not counted
    await run_plain()
    for _ in range(rounds):
        before = cpu_seconds(roots) | {_CLIENT: own_cpu_seconds()}
        ours.values.append(await run())
        await asyncio.sleep(_AFTERWARDS_SECONDS)
        after = cpu_seconds(roots) | {_CLIENT: own_cpu_seconds()}
        floor.values.append(await run_plain())
        before[_FLOOR], after[_FLOOR] = after[_CLIENT], own_cpu_seconds()
        for name, values in cpu.items():
            values.append(1000 * (after[name] - before[name]) / count)
    wall = [
        *(ours, floor, ratios(f"{count} small views, run beside plain DuckDB", ours, floor)),
        over_floor(f"{count} small views, a view over the floor", ours, floor, count),
    ]
    show(f"{count} small views, all run at once", wall)
    work = [Measurement(f"{count} small views, processor time a view, {name}", cpu[name], "ms") for name in cpu]
    show(f"{count} small views, processor time a view", work)
    return wall + work


def _plain(statements: Sequence[str], folder: Path) -> float:
    began = time.perf_counter()
    for number, sql in enumerate(statements):
        plain(sql, folder / f"small-{number}")
    return time.perf_counter() - began
