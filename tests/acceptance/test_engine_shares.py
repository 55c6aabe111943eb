"""A project uses no more than its share of what all projects share, and does not slow the others down."""

import asyncio
import json

import pytest

from api.errors import error_response
from orchestrator.devstack.stack import DevStack
from orchestrator.model.errors import TooManyRequests
from tests.support.tenants import Tenant, a_tenant

VIEWS = "/warehouse_saved_queries/"
# Nested comments that are not closed: DuckDB starts again at each of them.
SLOW_TO_PARSE = "SELECT 1 AS a" + "/*" * 60_000
SLOW_TO_BIND = f"SELECT {' + '.join(['1'] * 700)} AS a"


@pytest.mark.parametrize("sql", [SLOW_TO_PARSE, SLOW_TO_BIND], ids=["parsed", "bound"])
async def test_statements_that_are_slow_to_look_at_hold_up_their_own_project_only(stack: DevStack, sql: str) -> None:
    async with a_tenant(stack) as one, a_tenant(stack) as other:
        await other.create_view("before", "SELECT 1 AS a")
        body = {"name": "slow", "query": {"query": sql}}
        asked = [asyncio.create_task(one.error("POST", VIEWS, body, status=400)) for _ in range(3)]
        await asyncio.sleep(0.5)
        for n in range(3):
            async with asyncio.timeout(4):
                await other.create_view(f"v{n}", "SELECT 1 AS a")
        assert not all(task.done() for task in asked)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


def test_who_asks_for_too_much_at_a_time_is_asked_to_come_again() -> None:
    answer = error_response(TooManyRequests())
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    assert json.loads(bytes(answer.body)) == {
        "type": "throttled_error",
        "code": "too_many_requests",
        "detail": TooManyRequests().message,
        "attr": None,
    }


async def test_views_that_each_read_the_one_before_twice_are_refused_when_there_are_too_many(tenant: Tenant) -> None:
    await tenant.create_view("v0", "SELECT 1 AS a")
    for n in range(1, 9):
        view = await tenant.create_view(f"v{n}", f"SELECT x.a FROM v{n - 1} x JOIN v{n - 1} y USING (a)")
    body = {"name": "v9", "query": {"query": "SELECT x.a FROM v8 x JOIN v8 y USING (a)"}}
    refused = await tenant.error("POST", VIEWS, body, status=400)
    assert (refused["type"], refused["attr"]) == ("validation_error", "query")
    assert "reads tables and views 1,022 times; 1,000 are the most" in refused["detail"]
    assert "Materialize some of the views" in refused["detail"]
    await tenant.act(view["id"], "materialize")
    assert (await tenant.ended(view["id"]))["status"] == "Completed"
    # A view that is read from its result counts once.
    await tenant.call("POST", VIEWS, body, expect=201)


async def test_a_cte_hides_only_what_duckdb_takes_for_its_name(tenant: Tenant) -> None:
    for name in ("duc\u212adb_views", "DUC\u212aDB_VIEWS"):
        sql = f'WITH "{name}" AS (SELECT 1) SELECT sql FROM duckdb_views'
        refused = await tenant.error("POST", VIEWS, {"name": "v", "query": {"query": sql}}, status=400)
        assert "Table with name duckdb_views does not exist" in refused["detail"]
