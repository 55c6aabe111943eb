"""A killed worker costs a generation the queries that it was in, and nothing that was written."""

import asyncio
import os
import signal

from orchestrator.activities.write import MOST_ATTEMPTS
from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from tests.generations.test_refreshing import PATH, finished, saved, started
from tests.support.tenants import ENDLESS, Json, Tenant, until

LAYERS, WIDTH = 5, 6
# Long enough that the generation lasts for some seconds.
FIRST = "SELECT {n} + sum(sqrt(i))::BIGINT % 7 AS n FROM range(12000000) t(i)"
LATER = "SELECT a.n + b.n + (SELECT sum(sqrt(i))::BIGINT % 7 FROM range(12000000) t(i)) AS n FROM {a} a, {b} b"


def graph() -> dict[str, str]:
    """The statements of views in layers, each of which reads two of the layer above."""
    views = {f"v_0_{n}": FIRST.format(n=n) for n in range(WIDTH)}
    for layer in range(1, LAYERS):
        for n in range(WIDTH):
            above = [f"v_{layer - 1}_{one % WIDTH}" for one in (n, n + layer)]
            views[f"v_{layer}_{n}"] = LATER.format(a=above[0], b=above[1])
    return views


async def test_nothing_is_written_twice_and_nothing_is_missing_after_a_worker_was_killed(
    stack: DevStack, tenant: Tenant
) -> None:
    views = await saved(tenant, **graph())
    generation = await started(tenant)

    async def halfway() -> Json | None:
        shown = await tenant.call("GET", f"{PATH}{generation['id']}/")
        written = [one for one in shown["views"] if one["phase"] == "written"]
        return shown if len(written) >= len(views) // 2 else None

    before = await until(halfway, "half of the views")
    stack.kill("worker")
    done = await finished(tenant, generation)
    assert (done["status"], done["counts"]) == ("Completed", {"Completed": len(views)})
    written = {one["name"] for one in before["views"] if one["phase"] == "written"}
    database = Database(stack.info["database_url"])
    async with database.begin() as tx:
        rows = await tx.exec_driver_sql(
            "SELECT v.name, r.attempt FROM runs r JOIN saved_queries v ON v.id = r.saved_query_id "
            f"WHERE v.project_id = {tenant.project_id}"
        )
        attempts = {row.name: row.attempt for row in rows}
    await database.close()
    # Those that were written are as they were. The others may have been begun again, and each attempt that had to wait
    # for its turn after that has a number of its own.
    assert {attempts[name] for name in written} == {1}
    assert len([name for name, number in attempts.items() if number > 1]) <= len(views) - len(written)
    assert max(attempts.values()) < 2 + MOST_ATTEMPTS
    for view in views.values():
        assert len(await asyncio.to_thread(tenant.files, view)) == 1
    assert tenant.staged() == []


async def test_a_cancel_that_no_worker_answers_is_said_to_take_longer(stack: DevStack, tenant: Tenant) -> None:
    views = await saved(tenant, slow=ENDLESS, beside="SELECT 1 AS n")
    await started(tenant)
    await tenant.running(views["slow"]["id"])
    worker = stack.info["pids"]["worker"]
    path = f"/warehouse_saved_queries/{views['slow']['id']}/cancel/"
    os.kill(worker, signal.SIGSTOP)
    try:
        refused = await tenant.error("POST", path, status=503)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert refused["code"] == "still_stopping"

    async def cancelled() -> bool:
        (run,) = await tenant.history(views["slow"]["id"])
        return bool(run["status"] == "Cancelled")

    await until(cancelled, "the cancel")
