"""Readers that go away, projects that want more than their share, and answers that are of one moment."""

import asyncio
import contextlib
import os
import time
from pathlib import Path

import httpx
import psycopg

from orchestrator.devstack.stack import DevStack
from tests.reading.support import query, reads_of
from tests.support.tenants import ENDLESS, Json, Tenant, a_tenant, until

ROWS = "SELECT i, repeat('x', 100) AS text FROM range(100000000000) t(i)"


def processor_seconds() -> float:
    """The processor time of all processes that this one has started, directly or not."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1])
            ticks[int(stat.parent.name)] = int(fields[11]) + int(fields[12])
    mine = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return sum(ticks.get(pid, 0) for pid in mine - {os.getpid()}) / os.sysconf("SC_CLK_TCK")


async def test_a_hundred_clients_that_hang_up_leave_no_process_and_no_lease(tenant: Tenant) -> None:
    await tenant.materialized("v", "SELECT 1 AS one")

    async def hang_up(number: int) -> None:
        body = {"query": {"query": f"{ROWS}, v"}, "client_query_id": f"query-{number}"}
        headers = {"Accept": "text/csv"} if number % 2 else {}
        with contextlib.suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(1 + number / 100):
                async with tenant.http.stream("POST", "/query/", json=body, headers=headers) as answer:
                    async for _ in answer.aiter_bytes():
                        if number % 3:
                            return

    await asyncio.gather(*(hang_up(number) for number in range(100)))

    async def is_quiet() -> bool:
        """No read is recorded, and no process computes: one of these endless queries takes a second a second."""
        before = processor_seconds()
        await asyncio.sleep(1)
        return await reads_of(tenant) == 0 and processor_seconds() - before < 0.5

    await until(is_quiet, "the end of what the clients began", patience=60)
    assert (await query(tenant, "SELECT * FROM v"))["results"] == [[1]]


async def test_a_crowd_of_endless_queries_does_not_keep_another_project_out(stack: DevStack, tenant: Tenant) -> None:
    async with a_tenant(stack) as crowd:
        tasks = [asyncio.create_task(crowd.http.post("/query/", json={"query": {"query": ENDLESS}})) for _ in range(50)]
        await asyncio.sleep(2)
        for _ in range(5):
            began = time.monotonic()
            assert (await query(tenant, "SELECT 40 + 2"))["results"] == [[42]]
            assert time.monotonic() - began < 5
        # Those that waited too long are sent away, and may come again.
        answers = [await task for task in tasks[-3:]]
        assert {answer.status_code for answer in answers} == {429}
        assert answers[0].headers["retry-after"] == "5"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_query_over_many_views_is_of_one_moment(tenant: Tenant, sources: Path) -> None:
    """Five views show a counter. They are refreshed in turn, so that at any moment none is ahead of one before it."""
    file = sources / "moments" / "t.csv"
    file.parent.mkdir(exist_ok=True)
    file.write_text("n\n0\n")
    await tenant.add_table("t", file, "CSVWithNames")
    views = [await tenant.materialized(f"v{k}", "SELECT max(n) AS n FROM t") for k in range(5)]
    over = asyncio.Event()

    async def refresh() -> None:
        for number in range(1, 5):
            file.write_text(f"n\n{number}\n")
            for view in views:
                await tenant.act(view["id"], "run")
                await tenant.ended(view["id"], number + 1)
        over.set()

    seen: set[tuple[int, ...]] = set()
    refreshing = asyncio.create_task(refresh())
    sql = "SELECT v0.n, v1.n, v2.n, v3.n, v4.n FROM v0, v1, v2, v3, v4"
    while not over.is_set() and not refreshing.done():
        (row,) = (await query(tenant, sql))["results"]
        seen.add(tuple(row))
    await refreshing
    assert all(row == tuple(sorted(row, reverse=True)) and row[0] - row[-1] <= 1 for row in seen), seen
    assert len(seen) > 5  # there were moments in the middle of a refresh


async def test_a_version_that_is_read_is_not_removed(tenant: Tenant) -> None:
    """The reconciler removes what retention does not keep, except the files that a client is reading."""
    view: Json = await tenant.materialized("v", "SELECT i, repeat('x', 1000) AS text FROM range(100000) t(i)")
    old = view["current_snapshot_id"]
    url = f"/warehouse_saved_queries/{view['id']}/data/?format=csv&snapshot_id={old}"
    connection = await psycopg.AsyncConnection.connect(tenant.database_url, autocommit=True)
    async with connection, tenant.http.stream("GET", url) as answer:
        chunks = answer.aiter_bytes()
        size = len(await anext(chunks))
        await tenant.act(view["id"], "run")
        await tenant.ended(view["id"], 2)
        leased = await connection.execute("SELECT snapshot_id FROM read_leases WHERE snapshot_id = %s", [old])
        assert len(await leased.fetchall()) == 1
        async for chunk in chunks:
            size += len(chunk)
    assert size > 100_000_000
