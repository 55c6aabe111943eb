"""The gauges of an installation: a server that does not answer does not hide the figures of the other."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from orchestrator.catalog.database import Database
from orchestrator.catalog.stats import InstallationStats
from orchestrator.telemetry.installation import InstallationCollector, InstallationState, make_probe
from orchestrator.temporal.client import connect
from tests.support.tenants import Tenant

FIGURES = InstallationStats(
    views=3, materialized=2, stale=0, oldest_seconds=0, most_overdue=(), running=0, longest_run_seconds=0
)


async def scraped(metrics: InstallationCollector) -> dict[str, float]:
    """The values of one scrape, without the figures of single views."""
    families = await asyncio.to_thread(lambda: list(metrics.collect()))
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


@pytest.fixture
async def silent() -> AsyncIterator[Client]:
    """A client of a Temporal that accepts every connection and never answers."""
    ended = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield await connect(f"{host}:{port}", None, lazy=True)
    ended.set()
    server.close()


async def test_a_temporal_that_never_answers_does_not_hide_the_catalog(silent: Client, tenant: Tenant) -> None:
    await tenant.create_view("v", "SELECT 1 AS n")
    database = Database(tenant.database_url, pool_size=1)
    try:
        reported = await scraped(InstallationCollector(make_probe(database, silent, limit=5)))
    finally:
        await database.close()
    assert reported["matview_catalog_up"] == 1
    assert reported["matview_views"] >= 1
    assert "matview_schedules_present" not in reported


async def test_the_second_of_two_first_scrapes_waits_for_the_answer() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def ask() -> InstallationState:
        asked.set()
        await answer.wait()
        return InstallationState(figures=FIGURES, schedules=None)

    metrics = InstallationCollector(ask)
    first = asyncio.create_task(scraped(metrics))
    await asked.wait()
    second = asyncio.create_task(scraped(metrics))
    done, _ = await asyncio.wait({second}, timeout=0.3)
    answer.set()
    assert not done, "it did not wait"
    assert [reported["matview_catalog_up"] for reported in await asyncio.gather(first, second)] == [1, 1]
