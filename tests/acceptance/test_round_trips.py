"""The cost of a run beside its query, counted in trips to PostgreSQL and in events in Temporal's history.

The numbers are the current ones. A change that needs more must raise them here.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, event
from temporalio.client import Client

from api.app import create_app
from orchestrator.devstack.stack import DevStack
from orchestrator.settings import Settings, load_settings
from orchestrator.worker import run_worker
from tests.support.tenants import Tenant, a_tenant, dev_stack, until

EVENTS_OF_A_RUN = 14
TRIPS_OF_A_WORKER = 28
TRIPS_OF_A_REQUEST = 10
RUNS = 5


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts what this process sends to PostgreSQL: statements, and BEGIN and COMMIT of transactions of several."""
    sent: Counter[str] = Counter()

    def note(_: object, __: object, statement: str, *___: object) -> None:
        sent[statement] += 1

    def note_ends(_: object) -> None:
        sent["BEGIN, COMMIT"] += 2

    event.listen(Engine, "before_cursor_execute", note)
    event.listen(Engine, "commit", note_ends)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        event.remove(Engine, "commit", note_ends)


@pytest.fixture
async def hollow(session_folder: Path) -> AsyncIterator[DevStack]:
    """A stack without its worker."""
    async with dev_stack(session_folder / "hollow") as stack:
        await stack.stop("worker")
        yield stack


def settings_of(stack: DevStack, monkeypatch: pytest.MonkeyPatch, ready: Path) -> Settings:
    """The settings of a stack's own processes, for a worker or an API in this process."""
    for name, value in stack.servers.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MATVIEW_DATA_DIR", str(stack.servers.home.data))
    monkeypatch.setenv("MATVIEW_READY_FILE", str(ready))
    monkeypatch.setenv("MATVIEW_RECONCILE_SECONDS", "86400")  # so that the reconciler does not run during the test
    return load_settings()


@asynccontextmanager
async def a_worker(settings: Settings) -> AsyncIterator[None]:
    """A worker in this process, once it is ready and no workflow is running."""
    stop = asyncio.Event()
    working = asyncio.create_task(run_worker(settings, stop))
    temporal = await Client.connect(settings.temporal_address or "")

    async def rested() -> bool:
        open_ones = [e async for e in temporal.list_workflows("ExecutionStatus = 'Running'")]
        return settings.ready_file is not None and settings.ready_file.exists() and not open_ones

    try:
        await until(rested, "a worker at rest")
        yield
    finally:
        stop.set()
        await working


async def test_a_run_makes_no_more_trips_to_postgresql_than_it_did(
    hollow: DevStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = settings_of(hollow, monkeypatch, tmp_path / "ready")
    async with a_tenant(hollow) as tenant, a_worker(settings):
        view = await tenant.materialized("v", "SELECT 1 AS n")
        with counted() as sent:
            for number in range(RUNS):
                await tenant.act(view["id"], "run")
                await tenant.ended(view["id"], number + 2)
        assert 0 < sent.total() <= RUNS * TRIPS_OF_A_WORKER, (sent.total() / RUNS, sent.most_common())


async def test_asking_for_a_run_makes_no_more_trips_to_postgresql_than_it_did(
    stack: DevStack, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings_of(stack, monkeypatch, tmp_path / "ready")
    view = await tenant.materialized("v", "SELECT 1 AS n")
    app = create_app()
    transport, headers = httpx.ASGITransport(app), {"Authorization": f"Bearer {tenant.token}"}
    path = f"/api/projects/{tenant.project_id}/warehouse_saved_queries/{view['id']}/run/"
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as http,
    ):
        body = {"full_refresh": True}
        assert (
            await http.post(path, json=body)
        ).status_code == 200  # the statements of a first connection do not count
        await tenant.closed(await tenant.ended(view["id"], 2))
        with counted() as sent:
            assert (await http.post(path, json=body)).status_code == 200
    assert (await tenant.ended(view["id"], 3))["status"] == "Completed"
    assert 0 < sent.total() <= TRIPS_OF_A_REQUEST, sent.most_common()


async def test_a_run_takes_no_more_steps_in_temporal_than_it_did(tenant: Tenant, stack: DevStack) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    run = await tenant.ended(view["id"])
    temporal = await Client.connect(stack.info["temporal_address"])
    handle = temporal.get_workflow_handle(run["workflow_id"], run_id=run["workflow_run_id"])
    history = await handle.fetch_history()
    assert 0 < len(history.events) <= EVENTS_OF_A_RUN, [event.event_type for event in history.events]
