"""Many concurrent requests of one project do not affect another project."""

import asyncio
from collections import Counter

import httpx
import psycopg

from orchestrator.devstack.stack import DevStack
from tests.support.tenants import PATIENCE, Tenant, a_tenant, until

VIEWS = "/warehouse_saved_queries/"
CROWD = 230  # requests: more than may wait, and fewer than one address may have connections


async def test_a_project_whose_requests_all_wait_leaves_every_other_project_served(
    stack: DevStack, tenant: Tenant
) -> None:
    """Each save of the crowd waits for a lock, and holds one of twenty connections to PostgreSQL while it does."""
    answers: list[httpx.Response] = []
    async with (
        a_tenant(stack) as crowd,
        httpx.AsyncClient(
            base_url=crowd.http.base_url, headers=crowd.http.headers, timeout=PATIENCE, limits=httpx.Limits()
        ) as http,
        await psycopg.AsyncConnection.connect(crowd.database_url) as locking,
    ):
        await locking.execute(f"SELECT FROM projects WHERE id = {crowd.project_id} FOR UPDATE")

        async def save(number: int) -> None:
            body = {"name": f"v{number}", "query": {"query": "SELECT 1 AS n"}}
            answers.append(await http.post(VIEWS, json=body))

        saves = [asyncio.create_task(save(number)) for number in range(CROWD)]

        async def crowded() -> bool:
            return any(answer.status_code == 429 for answer in answers)

        await until(crowded, "a request that is one too many")
        for number in range(20):  # while the lock is held
            await tenant.create_view(f"v{number}", "SELECT 1 AS n")
            assert (await tenant.call("GET", VIEWS))["count"] == number + 1
        await locking.rollback()
        await asyncio.gather(*saves)

    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {201, 429, 503}, "503 where a lock took too long"
    assert statuses[201] > 0
    for answer in answers:
        if answer.status_code == 429:
            body = answer.json()
            assert (body["type"], body["code"], body["attr"]) == ("throttled_error", "too_many_requests", None)
            assert int(answer.headers["retry-after"]) > 0
