"""Several workers on one task queue and one store: each run is done once, by any of them, even if one is killed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.roles import ROLES, Role
from orchestrator.devstack.stack import DevStack
from orchestrator.temporal import contract
from tests.contract.support import temporal_of
from tests.support.tenants import Json, Tenant, a_tenant, until

WORKERS = ("worker-1", "worker-2", "worker-3")
VIEWS = 30
# Long enough that its worker can be killed while it runs.
SLOW = "SELECT {n} AS number, sum(sqrt(i)) AS s FROM range(600000000) t(i)"
QUICK = "SELECT {n} AS number, sum(sqrt(i)) AS s FROM range(3000000) t(i)"


@pytest.fixture(scope="module")
async def crowd(session_folder: Path) -> AsyncIterator[DevStack]:
    """A stack of three workers."""
    roles = {role.name: role for role in ROLES}
    workers = [Role(name, roles["worker"].argv) for name in WORKERS]
    stack = DevStack(session_folder / "crowd", bootstrap=bootstrap, say=print, roles=[roles["api"], *workers])
    async with stack:
        yield stack


def run_of(temporal: Client, view: Json) -> WorkflowHandle[object, object]:
    return temporal.get_workflow_handle(contract.run_workflow_id(UUID(view["id"])))


async def worker_at(temporal: Client, view: Json) -> str | None:
    """The identity of the worker that runs the view's query, once its activity has sent a heartbeat."""
    try:
        described = await run_of(temporal, view).describe()
    except RPCError:  # it has not been started yet
        return None
    for pending in described.raw_description.pending_activities:
        if pending.HasField("heartbeat_details"):
            return pending.last_worker_identity
    return None


async def workers_of(temporal: Client, view: Json) -> set[str]:
    """The identities of the workers that did the view's last run, from its history in Temporal."""
    history = await run_of(temporal, view).fetch_history()
    started = [event.activity_task_started_event_attributes for event in history.events]
    return {one.identity for one in started if one.identity}


@pytest.mark.timeout(300)
async def test_thirty_views_at_once_are_each_run_once_by_three_workers_one_of_which_is_killed(crowd: DevStack) -> None:
    temporal = await temporal_of(crowd)
    async with a_tenant(crowd) as tenant:
        statements = [(SLOW if n == 0 else QUICK).format(n=n) for n in range(VIEWS)]
        views = [await tenant.create_view(f"v_{n}", sql) for n, sql in enumerate(statements)]
        asked = asyncio.gather(*(tenant.act(view["id"], "materialize") for view in views))
        # Before `asked` is awaited: on a busy machine the slow query may end before all runs have been requested.
        killed = await until(lambda: worker_at(temporal, views[0]), "the slow query to run")
        (name,) = [name for name in WORKERS if killed == f"{crowd.info['pids'][name]}@{killed.partition('@')[2]}"]
        crowd.kill(name)
        await asked

        runs = [await tenant.ended(view["id"]) for view in reversed(views)]  # the slow one has to start again
        assert {run["status"] for run in runs} == {"Completed"}, runs
        assert [len(await tenant.history(view["id"])) for view in views] == [1] * VIEWS
        await each_is_there_once(tenant, views)
        assert tenant.staged() == []

        reported = [await workers_of(temporal, view) for view in views]
        spread = Counter(identity for identities in reported for identity in identities)
        assert len(spread) >= 2, spread
        assert killed not in reported[0], "the run that was met goes on elsewhere"
        assert await attempts(tenant, views[0]) == 2


async def each_is_there_once(tenant: Tenant, views: list[Json]) -> None:
    """Assert that history, versions, files and the pointer show one result of each view, and the right one."""
    for number, view in enumerate(views):
        (version,) = (await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/snapshots/"))["results"]
        (run,) = await tenant.history(view["id"])
        now = await tenant.view(view["id"])
        assert version["id"] == now["current_snapshot_id"] == run["snapshot_id"]
        folder = tenant.data_dir / "snapshots" / version["location"]
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]
        assert {path.name for path in folder.iterdir()} == {"manifest.json", *(f["name"] for f in version["files"])}
        assert [row["number"] for row in await tenant.rows(view)] == [number]


async def attempts(tenant: Tenant, view: Json) -> int:
    """The number of attempts of a view's only run."""
    async with await psycopg.AsyncConnection.connect(tenant.database_url) as connection:
        found = await connection.execute("SELECT attempt FROM runs WHERE saved_query_id = %s", [view["id"]])
        (row,) = await found.fetchall()
        return int(row[0])
