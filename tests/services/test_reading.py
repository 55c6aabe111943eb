"""Leases of queries, with the service in the test's own process."""

import asyncio

import httpx
import pytest
from sqlalchemy import text

from orchestrator.container import Container
from orchestrator.model.errors import QueryCancelled
from orchestrator.model.reading import ResultFormat
from orchestrator.services import reads
from orchestrator.services.reading import QueryText
from tests.services.conftest import Project
from tests.support.tenants import Tenant, until

ROWS = "SELECT i, n FROM range(100000000000) t(i), v"


async def leased(container: Container, project: Project) -> int:
    """The number of snapshots that reads of the project keep."""
    query = "SELECT count(*) FROM read_leases JOIN reads ON reads.id = read_id WHERE project_id = :project"
    async with container.database.begin() as tx:
        return int(await tx.scalar(text(query), {"project": project.id}) or 0)


async def test_a_query_that_lasts_takes_a_lease_and_a_short_one_does_not(
    container: Container, project: Project, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tenant.materialized("v", "SELECT 1 AS n")
    reading = container.services.reading
    monkeypatch.setattr(reads, "_UNLEASED_SECONDS", 1000.0)
    async with reading.query(project.id, QueryText(sql=ROWS), ResultFormat.CSV) as stream:
        await anext(stream.chunks())
        assert await leased(container, project) == 0
    monkeypatch.setattr(reads, "_UNLEASED_SECONDS", 0.1)
    async with reading.query(project.id, QueryText(sql=ROWS), ResultFormat.CSV) as stream:
        await anext(stream.chunks())

        async def is_leased() -> bool:
            return await leased(container, project) == 1

        await until(is_leased, "the lease", patience=60)
    assert await leased(container, project) == 0


async def test_a_query_with_an_id_is_recorded_at_once_so_that_any_process_can_cancel_it(
    container: Container, project: Project, tenant: Tenant
) -> None:
    await tenant.materialized("v", "SELECT 1 AS n")
    reading = container.services.reading
    query = QueryText(sql=ROWS, client_query_id="mine")
    cancelling: list[asyncio.Task[httpx.Response]] = []

    async def read() -> None:
        async with reading.query(project.id, query, ResultFormat.CSV) as stream:
            await anext(stream.chunks())
            assert await leased(container, project) == 1
            # The API of the stack is another process than this one, which runs the query.
            cancelling.append(asyncio.create_task(tenant.http.delete("/query/mine/")))
            async for _ in stream.chunks():
                pass

    with pytest.raises(QueryCancelled):
        await read()
    assert (await cancelling[0]).status_code == 204
    assert await leased(container, project) == 0
