"""The end of a query on the cluster: a cancel, or a time-out. The server's processor time shows that it is gone."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.catalog import projects
from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import ProjectLimits
from tests.generations.test_refreshing import finished, started, statuses
from tests.spark.views import rows, save
from tests.support.commands import run_matview
from tests.support.tenants import Tenant, until, write_parquet

# Writes rows for hours, which compress well. Sail ends a query between two batches of rows: see docs/spark.md.
SLOW = "SELECT a.n, b.n AS m FROM t a CROSS JOIN t b CROSS JOIN t c"
_TICKS = os.sysconf("SC_CLK_TCK")


async def processor_share(stack: DevStack, seconds: float = 1.0) -> float:
    """The share of one processor that the cluster uses now."""

    def used() -> float:
        fields = Path(f"/proc/{stack.info['pids']['sail']}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    before = used()
    await asyncio.sleep(seconds)
    return (used() - before) / seconds


async def gone_from_the_cluster(stack: DevStack) -> bool:
    async def ask() -> bool | None:
        return await processor_share(stack) < 0.1 or None

    return await until(ask, "the query to be gone from the cluster", 20)


async def swept(stack: DevStack, env: Mapping[str, str] = {}) -> None:
    """Have the reconciler remove files that the cluster has closed after the end of their run."""
    home = str(Path(stack.info["data_dir"]).parent)
    ended = await asyncio.to_thread(run_matview, "reconcile", "--home", home, env=env)
    assert ended.returncode == 0, ended.stderr


async def test_a_cancelled_query_is_gone_from_the_cluster(tenant: Tenant, folder: Path, stack: DevStack) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=list(range(20000))))
    view = await save(tenant, "slow", SLOW)
    await tenant.act(view["id"], "materialize")
    await tenant.running(view["id"])
    await until(lambda: _busy(stack), "a query that keeps the cluster busy")
    await tenant.act(view["id"], "cancel")
    (run,) = await tenant.history(view["id"])
    assert run["status"] == "Cancelled"
    assert await gone_from_the_cluster(stack)
    await swept(stack)
    assert tenant.staged() == []
    assert tenant.files(view) == []


async def _busy(stack: DevStack) -> bool | None:
    return await processor_share(stack, 0.3) > 0.2 or None


async def test_a_query_that_takes_too_long_is_gone_from_the_cluster(
    tenant: Tenant, folder: Path, stack: DevStack, database: Database
) -> None:
    async with database.begin() as tx:
        await projects.set_limits(tx, tenant.project_id, ProjectLimits(timeout_seconds=4))
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=list(range(20000))))
    view = await save(tenant, "slow", SLOW)
    await tenant.act(view["id"], "materialize")
    run = await tenant.ended(view["id"])
    assert (run["status"], run["error"]) == ("Failed", "The query ran longer than 4 seconds.")
    assert await gone_from_the_cluster(stack)
    await swept(stack)
    assert tenant.staged() == []


async def test_a_cancelled_generation_ends_its_queries_on_both_engines(
    tenant: Tenant, folder: Path, stack: DevStack
) -> None:
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=list(range(20000))))
    views = [await save(tenant, "slow", SLOW), await tenant.create_view("quick", "SELECT count(*) AS c FROM t")]
    views.append(await tenant.create_view("below", "SELECT count(*) AS c FROM slow"))
    for view in views:
        await tenant.act(view["id"], "materialize", {"run": False})
    generation = await started(tenant)
    await tenant.running(views[0]["id"])
    await tenant.call("POST", f"/generations/{generation['id']}/cancel/")
    found = statuses(await finished(tenant, generation))
    assert found["slow"] == found["below"] == "Cancelled"
    assert await gone_from_the_cluster(stack)
    # The session of a cancelled run is its own: the next one is not disturbed.
    other = await save(tenant, "other", "SELECT count(*) AS c FROM t")
    await tenant.act(other["id"], "materialize")
    await tenant.ended(other["id"])
    assert await rows(tenant, "SELECT c FROM other") == [[20000]]
