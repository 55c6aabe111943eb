"""The limits of a query, set for the installation or its project; a query that exceeds them harms no other."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import ProjectLimits
from orchestrator.services.access import AccessService
from tests.support.commands import run_matview
from tests.support.tenants import ENDLESS, Tenant, a_tenant

# A list of so many numbers takes more than 64 MiB, and less than the 512 MiB that queries may use in the tests.
HUNGRY = "SELECT len(list(i)) AS l FROM range(8000000) t(i)"
BOMBS = [
    "SELECT list(i) OVER () AS l FROM range(20000000) t(i)",
    "SELECT string_agg(repeat('x', 1000000), '') AS s FROM range(1000000)",
    "SELECT repeat('x', 2000000000) || repeat('y', 2000000000) AS s",
    "SELECT list_transform(range(2000000000), lambda x: repeat('x', 1000)) AS l",
]


async def limit(tenant: Tenant, **limits: float) -> None:
    database = Database(tenant.database_url, pool_size=1)
    try:
        await AccessService(database).set_project_limits(tenant.project_id, ProjectLimits.model_validate(limits))
    finally:
        await database.close()


async def test_a_projects_own_limit_of_memory_holds_for_its_queries_and_for_no_others(stack: DevStack) -> None:
    async with a_tenant(stack) as small, a_tenant(stack) as usual:
        await limit(small, memory_mb=64)
        for tenant in (small, usual):
            view = await tenant.create_view("hungry", HUNGRY)
            await tenant.act(view["id"], "materialize")
            run = await tenant.ended(view["id"])
            assert run["status"] == ("Failed" if tenant is small else "Completed"), run["error"]
            if tenant is small:
                assert "more memory than it may use" in run["error"]


async def test_a_query_that_runs_longer_than_its_project_may_is_ended(stack: DevStack) -> None:
    async with a_tenant(stack) as tenant:
        await limit(tenant, timeout_seconds=1)
        view = await tenant.materialized("v", ENDLESS)
        assert (view["status"], view["latest_error"]) == ("Failed", "The query ran longer than 1 second.")
        assert tenant.staged() == []


async def test_a_result_that_is_larger_than_its_project_may_have_is_not_published(stack: DevStack) -> None:
    async with a_tenant(stack) as tenant:
        await limit(tenant, output_mb=1)
        view = await tenant.materialized("v", "SELECT md5(i::VARCHAR) AS m FROM range(2000000) t(i)")
        assert view["status"] == "Failed"
        assert "1 MiB" in view["latest_error"]
        assert view["current_snapshot_id"] is None
        assert tenant.staged() == tenant.files(view) == []


@pytest.mark.timeout(600)  # what gives way to others takes as long as they and this machine let it
async def test_memory_bombs_of_one_project_leave_the_refreshes_of_another_alone(stack: DevStack) -> None:
    async with a_tenant(stack) as bomber, a_tenant(stack) as bystander:
        await limit(bomber, memory_mb=64)  # the less memory a bomb may use, the sooner it fails
        view = await bystander.materialized("steady", "SELECT sum(i) AS s FROM range(1000) t(i)")
        bombs = [await bomber.create_view(f"bomb_{n}", sql) for n, sql in enumerate(BOMBS)]

        async def bomb() -> list[str]:
            statuses = []
            for one in bombs:
                await bomber.act(one["id"], "materialize")
                statuses.append((await bomber.ended(one["id"], patience=300))["status"])
            return statuses

        ending = asyncio.create_task(bomb())
        runs = 1
        # The bombs give way to these runs, and so take long. The API lists only a view's last hundred runs.
        while runs < 5 or (runs < 90 and not ending.done()):
            await bystander.act(view["id"], "run")
            runs += 1
            assert (await bystander.ended(view["id"], runs))["status"] == "Completed"
            await asyncio.sleep(0.5)
        assert await ending == ["Failed"] * len(BOMBS)
        assert all(run["status"] == "Completed" for run in await bystander.history(view["id"]))
        assert await bystander.rows(view) == [{"s": 499500}]


async def test_limits_are_set_on_the_command_line(stack: DevStack, tenant: Tenant, tmp_path: Path) -> None:
    own = {"MATVIEW_DATABASE_URL": stack.info["database_url"], "MATVIEW_DATA_DIR": stack.info["data_dir"]}

    def limits(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_matview("project", "limits", *arguments, cwd=tmp_path, env=own)

    assert limits(str(tenant.project_id), "--timeout-seconds", "1").returncode == 0
    assert (await tenant.materialized("v", ENDLESS))["latest_error"] == "The query ran longer than 1 second."
    refused = limits(str(tenant.project_id), "--memory-mb", "1")
    assert refused.returncode == 2
    assert "--memory-mb" in refused.stderr
    unknown = limits("2000000000", "--threads", "1")
    assert (unknown.returncode, unknown.stderr) == (1, "error: There is no project 2000000000.\n")
