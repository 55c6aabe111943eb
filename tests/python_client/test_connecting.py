"""How the Python client finds its server and project, and what it does while the server is away."""

import time

import pytest

import matview
from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from orchestrator.services.access import AccessService
from tests.python_client.support import a_relay, aside, connected, no_read_is_left, variables
from tests.support.tenants import ENDLESS, Tenant, a_tenant


async def test_a_key_of_one_project_needs_no_project(stack: DevStack, tenant: Tenant) -> None:
    await tenant.create_view("v", "SELECT 1 AS n")
    mv = await aside(matview.connect, f"{stack.info['api_url']}/", f" {tenant.token}\n")
    with mv:
        assert mv.project == tenant.project_id
        assert (await aside(mv.view, "v")).name == "v"
        assert tenant.token not in repr(mv)


async def test_a_key_of_several_projects_needs_the_project(stack: DevStack, tenant: Tenant) -> None:
    async with a_tenant(stack) as other:
        both = sorted([tenant.project_id, other.project_id])
        for projects, words in [(both, f"{both[0]}, {both[1]}"), (None, "all of them")]:
            key = await key_for(stack, projects)
            with pytest.raises(matview.MatviewError, match=words):
                await aside(matview.connect, stack.info["api_url"], key)
            with matview.connect(stack.info["api_url"], key, project=other.project_id) as mv:
                assert await aside(mv.views) == []


async def key_for(stack: DevStack, projects: list[int] | None) -> str:
    database = Database(stack.info["database_url"], pool_size=1)
    try:
        key = await AccessService(database).create_key(
            email="tester@example.com", label="", scopes=list(Scope), project_ids=projects
        )
    finally:
        await database.close()
    return key.token


async def test_the_environment_names_what_is_not_given(
    stack: DevStack, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(matview.MatviewError, match="MATVIEW_API_URL"):
        matview.connect()
    with pytest.raises(matview.MatviewError, match="MATVIEW_API_KEY"):
        matview.connect(stack.info["api_url"])
    for name, value in variables(stack, tenant).items():
        monkeypatch.setenv(name, value)
    with matview.connect() as mv:
        assert (mv.project, await aside(mv.views)) == (tenant.project_id, [])
    monkeypatch.setenv("MATVIEW_PROJECT_ID", "mine")
    with pytest.raises(matview.MatviewError, match="'mine'"):
        matview.connect()


async def test_a_wrong_key_is_refused(stack: DevStack) -> None:
    with pytest.raises(matview.Unauthorized) as refused:
        await aside(matview.connect, stack.info["api_url"], "mv_wrong")
    assert refused.value.status == 401
    with matview.connect(stack.info["api_url"], "mv_wrong", project=1) as mv:
        for call in (mv.views, mv.query("SELECT 1").to_arrow):
            with pytest.raises(matview.Unauthorized):
                await aside(call)
    with pytest.raises(matview.Unauthorized):
        matview.connect(stack.info["api_url"], "schlüssel", project=1)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port", "nonsense"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(matview.MatviewError, match="is no URL"):
        matview.connect(url, "mv_key", project=1)


async def test_a_server_that_is_no_matview_is_an_error(stack: DevStack, tenant: Tenant) -> None:
    async with a_relay(stack) as relay:
        with matview.connect(f"http://127.0.0.1:{relay.port}/elsewhere", tenant.token, project=1) as mv:
            with pytest.raises(matview.MatviewError):
                await aside(mv.views)
            assert relay.requests == ["GET /elsewhere/api/projects/1/warehouse_saved_queries/?page=1"]


async def test_a_server_that_cannot_be_reached_is_unavailable() -> None:
    with matview.connect("http://127.0.0.1:1", "mv_key", project=1) as mv:
        with pytest.raises(matview.Unavailable, match="cannot be reached") as away:
            await aside(mv.views)
        assert away.value.status is None


async def test_a_silent_server_is_waited_for_no_longer_than_asked(stack: DevStack, tenant: Tenant) -> None:
    async with a_relay(stack) as relay:
        url = f"http://127.0.0.1:{relay.port}"
        with matview.connect(url, tenant.token, project=tenant.project_id, timeout=0.5) as mv:
            with pytest.raises(matview.Unavailable, match="timed out"):
                await aside(mv.query(ENDLESS).to_arrow)
            assert [one.split()[0] for one in relay.requests] == ["POST", "DELETE"]
    await no_read_is_left(tenant)


async def test_what_is_asked_of_a_busy_server_is_asked_again_if_it_changes_nothing(
    stack: DevStack, tenant: Tenant
) -> None:
    await tenant.materialized("v", "SELECT 1 AS n")
    async with a_relay(stack) as relay:
        with connected(stack, tenant, f"http://127.0.0.1:{relay.port}") as mv:
            view = await aside(mv.view, "v")
            for call in (mv.views, view.to_arrow, view.runs, mv.query("SELECT 1").to_arrow):
                relay.requests.clear()
                relay.refusals = 3
                await aside(call)
                assert (relay.refusals, len(relay.requests), len(set(relay.requests))) == (0, 4, 1)

            relay.refusals, relay.retry_after = 1, "1"
            began = time.monotonic()
            await aside(mv.views)
            assert time.monotonic() - began >= 1


async def test_what_changes_something_is_asked_once(stack: DevStack, tenant: Tenant) -> None:
    made = await tenant.materialized("v", "SELECT 1 AS n")
    async with a_relay(stack) as relay:
        with connected(stack, tenant, f"http://127.0.0.1:{relay.port}") as mv:
            view = await aside(mv.view, "v")
            relay.requests.clear()
            relay.refusals, relay.retry_after = 1, "7"
            with pytest.raises(matview.Unavailable) as busy:
                await aside(view.refresh)
            assert (busy.value.status, busy.value.retry_after, len(relay.requests)) == (503, 7.0, 1)
    assert len(await tenant.history(made["id"])) == 1


async def test_a_server_that_stays_busy_or_asks_for_a_long_pause_is_unavailable(
    stack: DevStack, tenant: Tenant
) -> None:
    async with a_relay(stack) as relay:
        with connected(stack, tenant, f"http://127.0.0.1:{relay.port}") as mv:
            for pause, tries in [("0", 4), ("3600", 1)]:
                relay.requests.clear()
                relay.refusals, relay.retry_after = 10, pause
                with pytest.raises(matview.Unavailable) as busy:
                    await aside(mv.views)
                assert (busy.value.retry_after, len(relay.requests)) == (float(pause), tries)


async def test_a_closed_connection_says_so(stack: DevStack, tenant: Tenant) -> None:
    with connected(stack, tenant) as mv:
        await aside(mv.views)
        batches = mv.query("SELECT i, repeat('x', 100) AS text FROM range(100000000000) t(i)").batches()
        await aside(next, batches)
    with pytest.raises(matview.MatviewError, match="closed"):
        await aside(mv.views)
    await no_read_is_left(tenant)
    with pytest.raises(matview.Incomplete):
        await aside(list, batches)
    batches = mv.query("SELECT 1").batches()
    batches.close()
