"""Who does all that: a few tasks, each of which picks a view and something to do to it, again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from chaos import jams, operations as o
from chaos.context import Chaos
from chaos.operators import OPERATOR_ACTS
from chaos.world import View

Act = Callable[[Chaos, View, Random], Awaitable[str]]

ACTS: dict[str, tuple[Act, int]] = {
    "edit": (o.edit, 7),
    "materialize": (o.materialize, 8),
    "run": (o.run, 22),
    "cancel": (o.cancel, 5),
    "run and cancel": (o.run_and_cancel, 12),
    "roll back": (o.roll_back, 6),
    "roll back in a jam": (jams.roll_back_in_a_jam, 8),
    "terminate in a jam": (jams.terminate_in_a_jam, 5),
    "jam": (jams.jam, 1),
    "pin": (o.pin, 3),
    "revert": (o.revert, 2),
    "delete": (o.delete, 2),
    "set frequency": (o.set_frequency, 4),
    "resume": (o.resume, 4),
    "look": (o.look, 6),
    **OPERATOR_ACTS,
}
# What leaves an operator's pause as it is.
_PAUSE_STAYS = frozenset(ACTS) - {
    "revert",
    "delete",
    "set frequency",
    "resume",
    "operator pauses schedule",
    "operator unpauses schedule",
    "operator deletes schedule",
    "operator creates schedule",
    "operator changes schedule",
}


async def act(chaos: Chaos, name: str, number: int) -> None:
    """Do things until the world stops. `name` and `number` say who this is."""
    random = chaos.world.random(f"{name} {number}")
    names = [*ACTS]
    weights = [weight for _, weight in ACTS.values()]
    while True:
        await asyncio.sleep(random.choice((0.0, 0.1, 0.3, 0.8)))
        view = random.choice(chaos.world.views)
        chosen = random.choices(names, weights)[0]
        if chosen.startswith("roll back"):
            view = random.choice([view for view in chaos.world.views if view.live and view.readable] or [view])
        if not view.live or view.doubtful:
            chosen = "create"
        if await do(chaos, view, chosen, random) == "unreachable":
            await asyncio.sleep(1)


async def do(chaos: Chaos, view: View, chosen: str, random: Random) -> str:
    """Do one thing, and remember it; returns its outcome in a word."""
    chosen_act = o.create if chosen == "create" else ACTS[chosen][0]
    if chosen not in _PAUSE_STAYS:
        view.pause = None
    chaos.world.note(view, f"{chosen} …")
    view.busy += 1
    view.touched += 1
    try:
        outcome = await chosen_act(chaos, view, random)
    finally:
        view.busy -= 1
    if chosen not in _PAUSE_STAYS and chosen != "operator pauses schedule":
        view.pause = None
    chaos.world.note(view, f"{chosen}: {outcome}")
    chaos.world.counts[f"operations/{chosen}/{outcome}"] += 1
    return outcome
