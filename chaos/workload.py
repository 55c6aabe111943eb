"""The workload: a few clients, each of which picks a view and an operation on it at random, again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from chaos import generations, lock_contention, operations as o
from chaos.harness import Harness
from chaos.history import View
from chaos.operators import OPERATOR_ACTS

Operation = Callable[[Harness, View, Random], Awaitable[str]]

OPERATIONS: dict[str, tuple[Operation, int]] = {
    "edit": (o.edit, 7),
    "materialize": (o.materialize, 8),
    "run": (o.run, 22),
    "cancel": (o.cancel, 5),
    "run and cancel": (o.run_and_cancel, 12),
    "roll back": (o.roll_back, 6),
    "roll back in a jam": (lock_contention.roll_back_under_lock, 8),
    "terminate in a jam": (lock_contention.terminate_under_lock, 5),
    "jam": (lock_contention.hold_row_lock, 1),
    "pin": (o.pin, 3),
    "revert": (o.revert, 2),
    "delete": (o.delete, 2),
    "set frequency": (o.set_frequency, 4),
    "resume": (o.resume, 4),
    "look": (o.look, 6),
    "refresh": (generations.refresh, 16),
    "refresh readers of the source": (generations.refresh_readers, 24),
    "cancel generation": (generations.cancel, 6),
    "set freshness": (generations.set_freshness, 3),
    **OPERATOR_ACTS,
}
# Operations that leave an operator's pause as it is.
_PAUSE_STAYS = frozenset(OPERATIONS) - {
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


async def act(chaos: Harness, name: str, number: int) -> None:
    """Run operations until the task is cancelled. `name` and `number` select the client's random sequence."""
    random = chaos.history.random(f"{name} {number}")
    names = [*OPERATIONS]
    weights = [weight for _, weight in OPERATIONS.values()]
    while True:
        await asyncio.sleep(random.choice((0.0, 0.1, 0.3, 0.8)))
        view = random.choice(chaos.history.views)
        chosen = random.choices(names, weights)[0]
        if chosen.startswith("roll back"):
            view = random.choice([view for view in chaos.history.views if view.live and view.readable] or [view])
        if not view.live or view.deletion_uncertain:
            chosen = "create"
        if await do(chaos, view, chosen, random) == "unreachable":
            await asyncio.sleep(1)


async def do(chaos: Harness, view: View, chosen: str, random: Random) -> str:
    """Run one operation and record it; returns its outcome in a word."""
    chosen_act = o.create if chosen == "create" else OPERATIONS[chosen][0]
    if chosen not in _PAUSE_STAYS:
        view.pause = None
    chaos.history.note(view, f"{chosen} …")
    view.in_flight += 1
    view.operation_count += 1
    try:
        outcome = await chosen_act(chaos, view, random)
    finally:
        view.in_flight -= 1
    if chosen not in _PAUSE_STAYS and chosen != "operator pauses schedule":
        view.pause = None
    chaos.history.note(view, f"{chosen}: {outcome}")
    chaos.history.counts[f"operations/{chosen}/{outcome}"] += 1
    return outcome
