"""Measures how many small views a second one, two and four workers refresh, in turn on one stack."""

import os
from pathlib import Path

from benchmarks.common import Api, Measurement, say, show
from benchmarks.memory_cost import SMALL
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.roles import ROLES, Role
from orchestrator.devstack.stack import DevStack

_COUNTS = (1, 2, 4)


async def measure(folder: Path, rounds: int, views: int) -> list[Measurement]:
    """Run all views at once in each round with each number of workers."""
    roles = {role.name: role for role in ROLES}
    names = [f"worker-{number + 1}" for number in range(max(_COUNTS))]
    crowd = [Role(name, roles["worker"].argv) for name in names]
    stack = DevStack(folder / "home", bootstrap=bootstrap, say=say, roles=[roles["api"], *crowd])
    rates: dict[int, list[float]] = {count: [] for count in _COUNTS}
    async with stack:
        api = Api(stack)
        view_ids = await api.all_materialized({f"small_{n}": SMALL.format(number=n) for n in range(views)})
        working = len(names)
        for _ in range(rounds):
            for count in _COUNTS:
                for name in names[count:working]:
                    await stack.stop(name)
                for name in names[working:count]:
                    await stack.start(name)
                working = count
                await api.run(*view_ids[: views // 4])  # not counted: the first work of new workers
                rates[count].append(views / await api.run(*view_ids))
    figures = [Measurement(f"{count} worker{'' if count == 1 else 's'}", rates[count], "views/s") for count in _COUNTS]
    show(f"{views} small views, all run at once", figures)
    say(f"on {os.cpu_count()} processors, which the servers, the API and all workers share")
    return figures
