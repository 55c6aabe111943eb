"""The requests that the client makes before it calls a tool."""

import json
from dataclasses import replace

import httpx
import pytest

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from orchestrator.services.access import AccessService
from tests.client.support import LOCK, Client
from tests.support.tenants import Json, Tenant, a_tenant

TOOLS = {
    *("view-create", "view-get", "view-list", "view-update", "view-delete", "view-materialize", "view-unmaterialize"),
    *("view-run", "view-run-history", "warehouse-tables-create", "warehouse-tables-refresh-schema-create"),
}


def test_the_lock_holds_hashes_and_names_no_registry() -> None:
    packages: Json = json.loads(LOCK.read_text())["packages"]
    assert packages.pop("")["dependencies"] == {"@posthog/cli": "0.18.3"}
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert "://" not in LOCK.read_text()


async def test_the_client_knows_the_tools_that_the_tests_use(client: Client) -> None:
    answer = await client.run("tools")
    assert set(json.loads(answer.stdout)) >= TOOLS


async def test_without_a_project_the_client_takes_the_one_that_its_key_is_for(client: Client, tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    listed = await replace(client, project_id=None).call("view-list")
    assert [one["id"] for one in listed["results"]] == [view["id"]]


@pytest.mark.parametrize("end", ["", "/"])
async def test_a_key_gets_what_it_may_do_and_where(stack: DevStack, end: str) -> None:
    async with a_tenant(stack, Scope.VIEW_WRITE, Scope.TABLE_READ) as tenant:
        key = await ask(stack, tenant.token, f"/api/personal_api_keys/@current{end}")
        assert key["scopes"] == ["warehouse_table:read", "warehouse_view:write"]
        assert (key["scoped_teams"], key["scoped_organizations"]) == ([tenant.project_id], [])
        user = await ask(stack, tenant.token, f"/api/users/@me{end}")
        assert (user["id"], user["email"]) == (key["user_id"], "tester@example.com")


async def test_a_project_is_shown_to_the_keys_that_may_be_used_in_it(stack: DevStack, tenant: Tenant) -> None:
    shown = {"id": tenant.project_id, "name": "a test", "organization": None}
    for alias in ("projects", "environments"):
        assert await ask(stack, tenant.token, f"/api/{alias}/{tenant.project_id}/") == shown
    await ask(stack, tenant.token, f"/api/projects/{tenant.project_id + 1}/", status=403)
    await ask(stack, "mv_wrong", f"/api/projects/{tenant.project_id}/", status=401)

    anywhere = await unlimited_key(tenant)
    assert (await ask(stack, anywhere, "/api/personal_api_keys/@current"))["scoped_teams"] == []
    assert await ask(stack, anywhere, f"/api/projects/{tenant.project_id}") == shown
    for unknown in (2**31 - 1, 2**31, 0, "x"):
        await ask(stack, anywhere, f"/api/projects/{unknown}/", status=404)


async def ask(stack: DevStack, token: str, path: str, *, status: int = 200) -> Json:
    async with httpx.AsyncClient(base_url=stack.info["api_url"]) as http:
        answer = await http.get(path, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == status, answer.text
    body: Json = answer.json()
    assert status == 200 or set(body) == {"type", "code", "detail", "attr"}
    return body


async def unlimited_key(tenant: Tenant) -> str:
    """A key that may be used in every project."""
    database = Database(tenant.database_url, pool_size=1)
    try:
        key = await AccessService(database).create_key(
            email="operator@example.com", label="", scopes=[Scope.VIEW_READ], project_ids=None
        )
    finally:
        await database.close()
    return key.token
