"""The rule for servers that are out of reach: 503 with Retry-After, and nothing half done."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from orchestrator.devstack.ports import LOOPBACK, choose_ports
from orchestrator.devstack.stack import DevStack
from tests.contract.rules import ENDPOINTS, ask, is_error
from tests.contract.support import VIEWS, schedule_of, temporal_of
from tests.support.tenants import PATIENCE, Json, Tenant, until

pytestmark = pytest.mark.timeout(300)


@asynccontextmanager
async def an_api(stack: DevStack, folder: Path, **instead: str) -> AsyncIterator[str]:
    """Another API process on the stack's servers; `instead` replaces some of its settings. Yields its URL."""
    (port,) = choose_ports({"--api-port": 0})
    own = {
        "MATVIEW_DATABASE_URL": stack.info["database_url"],
        "MATVIEW_DATA_DIR": stack.info["data_dir"],
        "MATVIEW_TEMPORAL_ADDRESS": stack.info["temporal_address"],
        "MATVIEW_API_PORT": str(port),
    }
    with (folder / "api.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "orchestrator", "api"),
            env={**os.environ, **own, **instead},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    url = f"http://{LOOPBACK}:{port}"
    try:
        async with httpx.AsyncClient(base_url=url) as http:
            await until(lambda: _lives(http), "the other API")
        yield url
    finally:
        process.terminate()
        await process.wait()


async def _lives(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/livez")).is_success
    except httpx.TransportError:
        return False


@asynccontextmanager
async def asking(tenant: Tenant, url: str) -> AsyncIterator[Tenant]:
    """The same tenant as a client of another API process."""
    base_url = f"{url}/api/projects/{tenant.project_id}"
    async with httpx.AsyncClient(base_url=base_url, headers=tenant.http.headers, timeout=PATIENCE) as http:
        yield replace(tenant, http=http)


@pytest.fixture
def nobody_listens() -> str:
    """An address at which there is no server."""
    (port,) = choose_ports({"--port": 0})
    return f"{LOOPBACK}:{port}"


async def test_without_postgresql_every_endpoint_is_503_with_retry_after(
    stack: DevStack, tenant: Tenant, tmp_path: Path, nobody_listens: str
) -> None:
    away = f"postgresql://matview:matview@{nobody_listens}/matview"
    async with an_api(stack, tmp_path, MATVIEW_DATABASE_URL=away) as url, asking(tenant, url) as alone:
        for endpoint in ENDPOINTS:
            answer = await ask(alone, endpoint)
            assert (answer.status_code, is_error(answer)) == (503, True), f"{endpoint}: {answer.text}"
            assert answer.json()["type"] == "server_error"
            assert int(answer.headers["retry-after"]) > 0
            assert "matview:" not in answer.text
        ready = await alone.http.get(f"{url}/readyz")
        assert (ready.status_code, is_error(ready), bool(ready.headers["retry-after"])) == (503, True, True)


async def test_without_temporal_what_needs_it_is_503_and_nothing_is_half_done(
    stack: DevStack, tenant: Tenant, tmp_path: Path, nobody_listens: str
) -> None:
    plain = await tenant.create_view("plain", "SELECT 1 AS n")
    kept = await tenant.materialized("kept", "SELECT 1 AS n")
    before = await _state(stack, tenant, plain, kept)
    levers: list[tuple[str, str, object]] = [
        ("POST", f"{plain['id']}/materialize/", None),
        ("PATCH", f"{plain['id']}/", {"sync_frequency": "1hour", "description": "not kept either"}),
        ("POST", f"{kept['id']}/run/", None),
        ("POST", f"{kept['id']}/cancel/", None),
        ("POST", f"{kept['id']}/materialize/", {"sync_frequency": "1hour"}),
        ("POST", f"{kept['id']}/revert_materialization/", None),
        ("PATCH", f"{kept['id']}/", {"sync_frequency": "never", "name": "not_kept"}),
        ("PATCH", f"{kept['id']}/", {"deleted": True}),
        ("DELETE", f"{kept['id']}/", None),
        ("POST", "resume_schedules/", {"view_ids": [kept["id"]]}),
    ]
    async with an_api(stack, tmp_path, MATVIEW_TEMPORAL_ADDRESS=nobody_listens) as url, asking(tenant, url) as alone:
        for method, path, body in levers:
            answer = await alone.http.request(method, VIEWS + path, json=body)
            assert (answer.status_code, is_error(answer)) == (503, True), f"{method} {path}: {answer.text}"
            assert answer.json()["code"] == "temporal_unavailable"
            assert int(answer.headers["retry-after"]) > 0
        shown = await alone.view(kept["id"])
        assert shown == kept | {"next_run_at": None, "schedule_paused": None}, "reading does not need it"
        assert (await alone.http.get(f"{url}/readyz")).status_code == 503
    assert await _state(stack, tenant, plain, kept) == before


async def _state(stack: DevStack, tenant: Tenant, plain: Json, kept: Json) -> Json:
    """All that one of the actions could have changed."""
    temporal = await temporal_of(stack)
    schedule = await schedule_of(temporal, kept["id"])
    assert schedule is not None
    return {
        "views": [await tenant.view(view["id"]) for view in (plain, kept)],
        "runs": [await tenant.history(view["id"]) for view in (plain, kept)],
        "journals": [await tenant.call("GET", f"{VIEWS}{view['id']}/activity/") for view in (plain, kept)],
        "schedule": (schedule.schedule.state.paused, schedule.schedule.spec.intervals),
        "no schedule": await schedule_of(temporal, plain["id"]),
    }
