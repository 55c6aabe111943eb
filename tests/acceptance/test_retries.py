"""Retries inside a run: the class of an error alone decides whether a step is tried again."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import ProjectLimits
from orchestrator.services.access import AccessService
from tests.support.tenants import ENDLESS, Tenant, a_tenant, until, write_parquet


@pytest.fixture
async def limited(stack: DevStack) -> AsyncIterator[Tenant]:
    """A project with low limits, so that a query reaches each of them in a moment."""
    async with a_tenant(stack) as tenant:
        database = Database(tenant.database_url, pool_size=1)
        limits = ProjectLimits(memory_mb=64, output_mb=1, timeout_seconds=5)
        await AccessService(database).set_project_limits(tenant.project_id, limits)
        await database.close()
        yield tenant


async def attempts(tenant: Tenant, run_id: str) -> int:
    """The number of attempts of a run's query."""
    async with await psycopg.AsyncConnection.connect(tenant.database_url) as connection:
        found = await (await connection.execute("SELECT attempt FROM runs WHERE id = %s", [run_id])).fetchone()
    assert found is not None
    return int(found[0])


async def code_of(tenant: Tenant, run_id: str) -> str:
    async with await psycopg.AsyncConnection.connect(tenant.database_url) as connection:
        found = await (await connection.execute("SELECT error_code FROM runs WHERE id = %s", [run_id])).fetchone()
    assert found is not None
    return str(found[0])


async def slip_in(tenant: Tenant, view_id: str, sql: str) -> None:
    """Store a query that this release refuses to save, as an older release may have saved it."""
    async with await psycopg.AsyncConnection.connect(tenant.database_url) as connection:
        query = json.dumps({"kind": "HogQLQuery", "query": sql})
        await connection.execute("UPDATE revisions SET query = %s WHERE saved_query_id = %s", [query, view_id])


@pytest.mark.parametrize(
    ("code", "sql"),
    [
        ("query_failed", "SELECT error('always') AS n"),
        ("query_timed_out", ENDLESS),
        ("out_of_memory", "SELECT len(list(i)) AS l FROM range(8000000) t(i)"),
        ("output_too_large", "SELECT md5(i::VARCHAR) AS m FROM range(500000) t(i)"),
    ],
)
async def test_a_fault_of_the_query_is_not_tried_again(limited: Tenant, code: str, sql: str) -> None:
    view = await limited.materialized("v", sql)
    (run,) = await limited.history(view["id"])
    assert (run["status"], await code_of(limited, run["id"])) == ("Failed", code)
    assert await attempts(limited, run["id"]) == 1


async def test_an_input_that_is_gone_is_not_waited_for(tenant: Tenant, sources: Path) -> None:
    path = write_parquet(sources / "retries" / "t.parquet", a=[1])
    await tenant.add_table("t", path)
    view = await tenant.create_view("v", "SELECT a FROM t")
    await asyncio.to_thread(path.unlink)
    await tenant.act(view["id"], "materialize")
    run = await tenant.ended(view["id"])
    assert (await code_of(tenant, run["id"]), await attempts(tenant, run["id"])) == ("input_missing", 1)


@pytest.mark.parametrize(
    ("code", "sql", "begun"),
    [
        ("query_refused", "SELECT * FROM read_csv('/etc/hostname')", 1),
        ("plan_too_large", f"SELECT '{'x' * 1_600_000}' AS x", 0),
    ],
)
async def test_what_may_not_be_run_is_not_tried_again(tenant: Tenant, code: str, sql: str, begun: int) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    await slip_in(tenant, view["id"], sql)
    await tenant.act(view["id"], "materialize")
    run = await tenant.ended(view["id"])
    assert (await code_of(tenant, run["id"]), await attempts(tenant, run["id"])) == (code, begun)


async def test_a_store_that_is_away_is_tried_again_until_it_is_back(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    staging = tenant.data_dir / "staging"
    aside = staging.rename(staging.with_name("aside"))
    staging.write_text("a file where a folder should be")
    try:
        await tenant.act(view["id"], "materialize")
        (run,) = await tenant.history(view["id"])

        async def again() -> bool:
            return await attempts(tenant, run["id"]) >= 2

        await until(again, "a second try")
        (run,) = await tenant.history(view["id"])
        assert run["status"] == "Running"
        assert "store" in run["error"]
    finally:
        staging.unlink()
        aside.rename(staging)
    ended = await tenant.ended(view["id"])
    assert (ended["status"], ended["error"]) == ("Completed", None)
    assert len(await tenant.history(view["id"])) == 1
    assert len(tenant.files(view)) == 1


async def test_a_query_whose_process_dies_is_tried_twice_and_then_given_up(stack: DevStack, tenant: Tenant) -> None:
    view = await tenant.create_view("v", ENDLESS)
    before = descendants(stack.info["pids"]["worker"])
    await tenant.act(view["id"], "materialize")
    run = await tenant.running(view["id"])
    for attempt in (1, 2):

        async def begun(attempt: int = attempt) -> set[int] | None:
            if await attempts(tenant, run["id"]) < attempt:
                return None
            return busy(descendants(stack.info["pids"]["worker"]) - before)

        for pid in await until(begun, f"attempt {attempt}"):
            os.kill(pid, signal.SIGKILL)
    ended = await tenant.ended(view["id"])
    assert (ended["status"], await code_of(tenant, run["id"])) == ("Failed", "query_failed")
    assert ended["error"].endswith("It was tried 2 times.")
    assert await attempts(tenant, run["id"]) == 2
    assert tenant.staged() == []


def descendants(pid: int) -> set[int]:
    """The processes that a process started, and those that these did."""
    children = [
        int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
    ]
    return set(children).union(*(descendants(child) for child in children))


def busy(pids: set[int]) -> set[int]:
    """Those that have used more than half a second of processor time, and have not ended."""
    return {pid for pid in pids if _ticks(pid) > os.sysconf("SC_CLK_TCK") // 2}


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[11]) + int(fields[12])
