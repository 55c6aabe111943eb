"""The long runs of one project take its own slots of a worker, and not the one of the next project."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack
from tests.support.tenants import ENDLESS, Tenant, a_tenant

CROWD = 20  # more than either worker takes at a time


@pytest.fixture(params=[1, 2], ids=["one query at a time", "two queries at a time"])
async def small(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DevStack]:
    """A stack whose worker runs that many queries of a project at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATVIEW_MAX_CONCURRENT_QUERIES", str(request.param))
        patch.setenv("MATVIEW_QUERY_MEMORY_MB", "256")
        patch.setenv("MATVIEW_WORKER_MEMORY_MB", "1024")
        patch.setenv("MATVIEW_QUERY_THREADS", "1")
        async with DevStack(tmp_path / "small", bootstrap=bootstrap, say=print) as stack:
            yield stack


async def _crowd(tenant: Tenant) -> list[str]:
    views = [await tenant.create_view(f"endless{n}", ENDLESS) for n in range(CROWD)]
    for view in views:
        await tenant.act(view["id"], "materialize")
    await tenant.running(views[0]["id"])
    return [view["id"] for view in views]


async def test_a_crowd_of_endless_runs_does_not_keep_another_project_out(small: DevStack) -> None:
    async with a_tenant(small) as one, a_tenant(small) as other:
        crowd = await _crowd(one)
        await asyncio.sleep(3)
        for n in range(3):
            async with asyncio.timeout(30):
                view = await other.materialized(f"v{n}", "SELECT 1 AS n")
            assert view["status"] == "Completed"
        histories = [await one.history(view) for view in crowd]
        assert [[run["status"] for run in history] for history in histories] == [["Running"]] * CROWD
        running = [history for history in histories if history[0]["progress"]]
        assert len(running) < CROWD
        # A run that waits for a slot can be cancelled as one that has begun.
        for view_id in crowd:
            await one.act(view_id, "cancel")
        for view_id in crowd:
            assert (await one.ended(view_id))["status"] == "Cancelled"
