"""Open pages hear of what changes, from one poll of the catalog, and of nothing once their session has ended."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from orchestrator.services.access import AccessService
from tests.console.support import Console, a_console
from tests.support.tenants import PATIENCE, Tenant, a_tenant, dev_stack, write_parquet


class Stream:
    """The events of a project, as a page hears them."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()

    async def next(self) -> tuple[str, Any]:
        """The next event: its name and its data."""
        name = ""
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    return name, json.loads(line.removeprefix("data: "))
        return "", None

    async def until(self, name: str, view: str = "", condition: str = "") -> Any:
        while True:
            event, data = await self.next()
            assert event, f"the stream ended before {name}"
            if event == name and (not view or any(one["id"] == view and one["condition"] == condition for one in data)):
                return data


@asynccontextmanager
async def listening(console: Console, project: int) -> AsyncIterator[Stream]:
    async with console.http.stream("GET", f"/projects/{project}/live") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = Stream(answer)
        await stream.until("ready")
        yield stream


async def test_a_page_hears_of_a_run_and_how_it_ended(tenant: Tenant, folder: Path) -> None:
    write_parquet(folder / "a.parquet", n=[1, 2, 3])
    await tenant.add_table("numbers", folder / "*.parquet")
    view = await tenant.create_view("doubled", "SELECT 2 * n AS n FROM numbers")
    async with a_console(tenant) as console, listening(console, tenant.project_id) as stream:
        await tenant.act(view["id"], "materialize")
        found = await stream.until("views", view["id"], "Fresh")
        (state,) = [one for one in found if one["id"] == view["id"]]
        assert state["rows"] == 3
        assert state["data_as_of"]


async def test_a_page_hears_of_what_other_people_change(tenant: Tenant) -> None:
    view = await tenant.materialized("one", "SELECT 1 AS one")
    async with a_console(tenant) as console, listening(console, tenant.project_id) as stream:
        body = {"query": {"query": "SELECT 2 AS one"}, "edited_history_id": view["latest_history_id"]}
        await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", body)
        await stream.until("views", view["id"], "Modified")


async def test_a_page_hears_nothing_of_another_project(stack: DevStack, tenant: Tenant) -> None:
    async with a_tenant(stack) as other, a_console(tenant) as console, listening(console, tenant.project_id) as stream:
        await other.materialized("theirs", "SELECT 1 AS one")
        mine = await tenant.create_view("mine", "SELECT 1 AS one")
        await tenant.act(mine["id"], "materialize")
        event, data = await stream.next()
        while not (event == "views" and data[0]["condition"] == "Fresh"):
            assert event != "views" or [one["id"] for one in data] == [mine["id"]]
            event, data = await stream.next()


async def test_a_revoked_key_ends_the_pages_that_are_open(tenant: Tenant, shared_catalog: Database) -> None:
    access = AccessService(shared_catalog)
    scopes = list(Scope)
    key = await access.create_key(email="a@example.com", label="", scopes=scopes, project_ids=[tenant.project_id])
    async with a_console(tenant, key.token) as console, listening(console, tenant.project_id) as stream:
        await access.revoke_key(str(key.id))
        assert (await stream.next())[0] == "ended"
        assert (await stream.next())[0] == ""
    await access.close()


async def test_open_pages_do_not_keep_the_api_from_stopping(session_folder: Path) -> None:
    async with dev_stack(session_folder / "stopped") as stack:
        info = stack.info
        headers = {"Authorization": f"Bearer {info['api_key']}"}
        async with httpx.AsyncClient(base_url=info["api_url"], timeout=PATIENCE) as http:
            made = await http.post(f"/api/projects/{info['project_id']}/console_links/", headers=headers)
            await http.get(made.json()["url"])
            async with http.stream("GET", f"/projects/{info['project_id']}/live") as answer:
                await Stream(answer).until("ready")
                began = asyncio.get_running_loop().time()
                await stack.stop("api")
                assert asyncio.get_running_loop().time() - began < 15  # it waits 30 seconds for requests in progress
