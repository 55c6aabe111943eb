"""The SQL statements and calls to Temporal that a list needs do not depend on how many views it shows."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import Engine, event

from api.app import create_app
from orchestrator.catalog import names, runs, saved_queries
from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.base import now
from orchestrator.model.run import RunRequest, Trigger
from orchestrator.model.saved_query import Revision, SavedQuery, SyncFrequency, Timing
from tests.contract.support import VIEWS
from tests.support.tenants import Tenant

MANY = 300
# For the key, the count and the page.
MOST_FOR_A_LIST = 6
MOST_FOR_ONE = 8


@contextmanager
def _statements() -> Iterator[list[str]]:
    """The SQL statements that this process sends within the context."""
    sent: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@asynccontextmanager
async def _an_api(tenant: Tenant, temporal_address: str) -> AsyncIterator[httpx.AsyncClient]:
    """The API in this process, on the stack's database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATVIEW_DATABASE_URL", tenant.database_url)
        patch.setenv("MATVIEW_DATA_DIR", str(tenant.data_dir))
        patch.setenv("MATVIEW_TEMPORAL_ADDRESS", temporal_address)
        app = create_app()
    headers = {"Authorization": f"Bearer {tenant.token}"}
    base_url = f"http://api/api/projects/{tenant.project_id}"
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url, headers=headers) as http,
    ):
        yield http


async def _make_views(tenant: Tenant, first: int, count: int) -> UUID:
    """Make materialized views with a run each, of which each reads the one before. Returns the last one's id."""
    database = Database(tenant.database_url, pool_size=1)
    try:
        for number in range(first, first + count):
            async with database.begin() as tx:
                view = _view(tenant.project_id, f"v{number}")
                inputs = (await names.resolve(tx, tenant.project_id, [f"v{number - 1}"])).values()
                await saved_queries.insert_new(tx, view, list(inputs))
                await names.reserve_name(tx, tenant.project_id, view.name, saved_query_id=view.id)
                await saved_queries.set_timing(tx, view.id, Timing(frequency=SyncFrequency.HOUR_1))
                request = RunRequest(saved_query_id=view.id, trigger=Trigger.FIRST)
                await runs.ensure_run(tx, request, f"materialize/{view.id}", uuid4())
    finally:
        await database.close()
    return view.id


def _view(project_id: int, name: str) -> SavedQuery:
    moment = now()
    return SavedQuery(
        id=uuid4(),
        project_id=project_id,
        name=name,
        description=None,
        revision=Revision(id=uuid4(), number=1, query={"query": "SELECT 1 AS n"}, created_at=moment),
        columns=(),
        sync_frequency=None,
        sync_frequency_set_at=moment,
        created_by=None,
        created_at=moment,
    )


async def _cost(http: httpx.AsyncClient, path: str) -> int:
    await http.get(path)  # the statements of a first connection do not count
    with _statements() as sent:
        answer = await http.get(path)
    assert answer.status_code == 200, answer.text
    return len(sent)


async def test_a_list_costs_the_same_statements_however_many_views_it_shows(tenant: Tenant, stack: DevStack) -> None:
    await _make_views(tenant, 0, 2)
    async with _an_api(tenant, stack.info["temporal_address"]) as http:
        path = f"{VIEWS}?page_size=1000"
        few = await _cost(http, path)
        await _make_views(tenant, 2, MANY - 2)
        assert len((await http.get(path)).json()["results"]) == MANY
        assert await _cost(http, path) == few
        assert await _cost(http, f"{VIEWS}?search=v1") == few
    assert 0 < few <= MOST_FOR_A_LIST


async def test_the_conditions_of_a_page_cost_the_same_statements_however_many_views_it_shows(
    tenant: Tenant, stack: DevStack
) -> None:
    await _make_views(tenant, 0, 2)
    async with _an_api(tenant, stack.info["temporal_address"]) as http:
        path = "/status/?page_size=1000"
        few = await _cost(http, path)
        await _make_views(tenant, 2, MANY - 2)
        assert len((await http.get(path)).json()["results"]) == MANY
        assert await _cost(http, path) == few
    assert 0 < few <= MOST_FOR_A_LIST + 1


async def test_a_list_makes_no_call_to_temporal(tenant: Tenant) -> None:
    await _make_views(tenant, 0, 20)
    calls: list[object] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(writer)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with _an_api(tenant, f"{host}:{port}") as http:
            listed = await http.get(VIEWS)
            assert (listed.status_code, listed.json()["count"]) == (200, 20)
            assert calls == []
            assert (await http.get(f"{VIEWS}{listed.json()['results'][0]['id']}/")).status_code == 200
            assert calls, "one view is asked after: so a call would have been seen"


async def test_a_view_costs_the_same_statements_however_many_there_are(tenant: Tenant, stack: DevStack) -> None:
    first = await _make_views(tenant, 0, 1)
    async with _an_api(tenant, stack.info["temporal_address"]) as http:
        paths = [f"{VIEWS}{first}/{end}" for end in ("", "run_history/", "activity/", "dependencies/")]
        for path in paths:
            await http.get(path)  # closes the run, which Temporal does not know
        few = [await _cost(http, path) for path in paths]
        last = await _make_views(tenant, 1, MANY - 1)
        assert [await _cost(http, path) for path in paths] == few
        await http.get(f"{VIEWS}{last}/")
        assert await _cost(http, f"{VIEWS}{last}/") == few[0]
    assert 0 < max(few) <= MOST_FOR_ONE
