"""Operations during which a transaction locks a view's row for a while, as a slow or careless one would.

When it ends, all that waited go on at once. A run that must not publish any more then comes directly after the
operation that ended it.
"""

import asyncio
import time
from contextlib import suppress
from random import Random

from chaos.catalog import Unavailable
from chaos.harness import Harness
from chaos.history import View
from chaos.operations import alone, check_rolled_back, post, run, versions_of
from chaos.operators import terminate_run

# The program waits for a lock for ten seconds at most, and an operation here holds it for up to two of these waits.
_LONGEST = 3.5


async def hold_row_lock(chaos: Harness, view: View, random: Random) -> str:
    """Block all transactions that would change the current snapshot of a view, for 0.5 to 3 seconds."""
    with suppress(Unavailable):
        async with chaos.catalog.row_locked(view.id):
            await asyncio.sleep(random.uniform(0.5, 3))
        return "ok"
    return "catalog away"


async def roll_back_under_lock(chaos: Harness, view: View, random: Random) -> str:
    """Roll back while a run is about to publish. In two of three cases, the rollback waits for the lock first."""
    versions = await versions_of(chaos, view)
    if not versions:
        return "nothing to choose"
    chosen, run_first, undisturbed = random.choice(versions), random.choice((True, False, False)), alone(view)
    rolling = None
    with suppress(Unavailable):
        async with chaos.catalog.row_locked(view.id) as holder:
            if run_first:
                await run(chaos, view, random)
                await chaos.catalog.waiting(holder, 1, _LONGEST)
            body = {"snapshot_id": chosen, "pause_schedule": True}
            rolling = asyncio.create_task(post(chaos, view, "rollback/", body, "not_materialized"))
            if not run_first:
                await chaos.catalog.waiting(holder, 1, _LONGEST)
                await run(chaos, view, random)
            if await chaos.catalog.waiting(holder, 2, _LONGEST):
                chaos.history.counts["races of a rollback and a publication"] += 1
            since = await chaos.catalog.now()
        if (await rolling).good:
            await check_rolled_back(chaos, view, chosen, since, undisturbed)
    return "catalog away" if rolling is None else (await rolling).word


async def terminate_under_lock(chaos: Harness, view: View, random: Random) -> str:
    """Terminate a run that is about to publish, and start the next one, which closes the terminated one."""
    with suppress(Unavailable):
        async with chaos.catalog.row_locked(view.id) as holder:
            await run(chaos, view, random)
            if not await chaos.catalog.waiting(holder, 1, _LONGEST):
                return "nothing to publish"
            before = await chaos.catalog.running(view.id)
            await terminate_run(chaos, view, random)
            await run(chaos, view, random)
            chaos.history.cancelled.update(await _closed(chaos, before))
        return "ok"
    return "catalog away"


async def _closed(chaos: Harness, run_ids: set[str]) -> list[str]:
    """Those of the runs that are closed within a few seconds. Raises Unavailable."""
    closed: list[str] = []
    began = time.monotonic()
    while not closed and time.monotonic() - began < _LONGEST:
        await asyncio.sleep(0.1)
        rows = await chaos.catalog.runs([*run_ids])
        closed = [run_id for run_id, row in rows.items() if row["status"] == "Cancelled"]
    chaos.history.counts["runs closed before they could publish"] += len(closed)
    return closed
