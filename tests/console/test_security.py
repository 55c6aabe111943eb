"""Who may do what in the console: the same as over HTTP, and only from its own pages."""

import re
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.console.app import add_console
from api.console.routes import OpenRoute, PageRoute
from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from orchestrator.services.access import AccessService
from tests.console.support import Console, a_console, address, sign_in_link
from tests.support.tenants import NO_TLS, Tenant, a_tenant

# Acts that change nothing: they show a form or a plan, or read. They need the token of acts all the same.
HARMLESS = {"/projects/{project_id}/new", "/sign-out"}
# These need another scope than to write views.
READING = {"/projects/{project_id}/query", "/projects/{project_id}/query/cancel"}


def routes() -> Iterator[APIRoute]:
    app = FastAPI()
    add_console(app)
    yield from _below(app.router.routes)


def _below(found: object) -> Iterator[APIRoute]:
    for route in found:  # type: ignore[attr-defined]
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from _below(route.original_router.routes)


ALL = list(routes())
ACTS = sorted({one.path for one in ALL if "POST" in (one.methods or ())})
PAGES = sorted({one.path for one in ALL if "GET" in (one.methods or ()) and not isinstance(one, OpenRoute)})


def filled(path: str, tenant: Tenant, **ids: str) -> str:
    """A path with the project of a tenant, and with ids."""
    values = {"project_id": str(tenant.project_id), "rest": "zzz", "link": "x", **ids}
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: values.get(found[1], str(uuid4())), path)


def test_every_route_of_the_console_has_the_class_that_guards_it() -> None:
    assert ALL
    assert all(isinstance(one, PageRoute) for one in ALL)
    opened = {one.path for one in ALL if isinstance(one, OpenRoute)}
    assert opened == {"/sign-in", "/sign-in/{link}", "/static/{digest}/{name:path}", "/docs", "/redoc"}
    assert all(set(one.methods or ()) <= {"GET", "POST"} for one in ALL)
    assert len(ACTS) > 20


@pytest.mark.parametrize("path", [*PAGES, *ACTS])
async def test_nothing_is_shown_or_done_without_a_session(tenant: Tenant, path: str) -> None:
    async with httpx.AsyncClient(base_url=address(tenant), verify=NO_TLS) as http:
        if path in PAGES:
            answer = await http.get(filled(path, tenant))
            found = (answer.status_code, answer.headers.get("location", "")[:8])
            assert found == ((401, "") if path.endswith("/live") else (303, "/sign-in"))
        if path in ACTS:
            assert (await http.post(filled(path, tenant), data={"key": "mv_wrong"})).status_code == 401


@pytest.mark.parametrize("path", ACTS)
async def test_no_act_is_done_for_a_page_of_another_site(tenant: Tenant, path: str) -> None:
    async with a_console(tenant) as console:
        for site in ("cross-site", "same-site"):
            answer = await console.http.post(
                filled(path, tenant), data={"csrf": console.csrf, "key": tenant.token}, headers={"sec-fetch-site": site}
            )
            assert answer.status_code == 403
            assert "comes from another site" in answer.text
        headers = {"origin": "https://elsewhere.example"}
        answer = await console.http.post(filled(path, tenant), data={"csrf": console.csrf}, headers=headers)
        assert answer.status_code == 403


@pytest.mark.parametrize("path", [path for path in ACTS if path != "/sign-in"])
async def test_no_act_is_done_without_the_token_of_its_own_session(tenant: Tenant, path: str) -> None:
    async with a_console(tenant) as console, a_console(tenant) as other:
        for token in ("", "0" * 64, other.csrf):
            answer = await console.http.post(filled(path, tenant), data={"csrf": token})
            assert answer.status_code == 403
            assert "no longer valid" in answer.text
        assert (await console.http.get("/projects")).status_code == 200


@pytest.mark.parametrize("path", [path for path in ACTS if path != "/sign-in"])
async def test_the_session_of_a_revoked_key_does_nothing(tenant: Tenant, shared_catalog: Database, path: str) -> None:
    access = AccessService(shared_catalog)
    key = await access.create_key(
        email="tester@example.com", label="", scopes=list(Scope), project_ids=[tenant.project_id]
    )
    async with a_console(tenant, key.token) as console:
        await access.revoke_key(str(key.id))
        answer = await console.act(filled(path, tenant))
        assert answer.status_code == 401
        assert "revoked" in answer.text
        answer = await console.http.get(f"/projects/{tenant.project_id}/views")
        assert answer.headers["location"].startswith("/sign-in")
    await access.close()


@pytest.mark.parametrize("path", [path for path in ACTS if path not in HARMLESS | READING | {"/sign-in"}])
async def test_a_key_that_only_reads_does_nothing(stack: DevStack, path: str) -> None:
    scopes = [scope for scope in Scope if scope.endswith(":read")]
    async with a_tenant(stack, *scopes) as reader, a_console(reader) as console:
        view, ids = uuid4(), {"view_id": str(uuid4())}
        answer = await console.act(filled(path, reader, **ids), name="a", sql="SELECT 1", version=str(view))
        if answer.status_code == 404:  # an act that reads the view first: with a view that is there, it is refused
            ids["view_id"] = await _a_view(stack, reader)
            answer = await console.act(filled(path, reader, **ids), name="a", sql="SELECT 1", version=str(view))
        assert answer.status_code in {400, 403}, answer.text
        if answer.status_code == 400:
            assert "Look at the plan again" in answer.text  # nothing is saved before its plan, which needs the scope
        else:
            assert "API key missing required scope" in answer.text


async def _a_view(stack: DevStack, reader: Tenant) -> str:
    database = Database(stack.info["database_url"], pool_size=1)
    access = AccessService(database)
    key = await access.create_key(email="w@example.com", label="", scopes=list(Scope), project_ids=[reader.project_id])
    headers = {"Authorization": f"Bearer {key.token}"}
    body = {"name": "one", "query": {"query": "SELECT 1 AS one"}}
    answer = await reader.http.post("/warehouse_saved_queries/", json=body, headers=headers)
    assert answer.status_code in {200, 201}
    await access.close()
    await database.close()
    return str(answer.json()["id"])


@pytest.mark.parametrize("path", [*PAGES, *ACTS])
async def test_another_project_is_not_shown_or_touched(stack: DevStack, tenant: Tenant, path: str) -> None:
    if "{project_id}" not in path:
        return
    async with a_tenant(stack) as other, a_console(tenant) as console:
        view = await other.create_view("theirs", "SELECT 'secret' AS word")
        asked = filled(path, other, view_id=view["id"])
        foreign = await (console.http.get(asked) if path in PAGES else console.act(asked))
        assert foreign.status_code == 403
        assert "does not have access to the requested project" in foreign.text
        assert "theirs" not in foreign.text
        # The id of a view of another project, below the project of the key, is an id of nothing.
        if "{view_id}" in path:
            borrowed = filled(path, tenant, view_id=view["id"])
            answer = await (console.http.get(borrowed) if path in PAGES else console.act(borrowed, sql="SELECT 2"))
            if path.endswith("/resume"):  # as over HTTP, ids of no view are passed over
                assert answer.status_code == 303
            elif path.endswith("/save"):
                assert answer.status_code == 400
            else:
                assert answer.status_code in {400, 404}, answer.text
            assert "theirs" not in answer.text
        assert (await other.view(view["id"]))["query"]["query"] == "SELECT 'secret' AS word"


async def test_the_cookie_is_of_no_use_after_signing_out(tenant: Tenant) -> None:
    async with a_console(tenant) as console:
        stolen = console.http.cookies["matview-session"]
        assert (await console.act("/sign-out")).status_code == 303
        async with httpx.AsyncClient(base_url=address(tenant), verify=NO_TLS) as thief:
            answer = await thief.get("/projects", headers={"cookie": f"matview-session={stolen}"})
            assert answer.status_code == 303


async def test_the_cookie_is_kept_from_scripts_and_other_sites(tenant: Tenant) -> None:
    console = Console(address(tenant))
    cookie = (await console.sign_in(tenant.token)).headers["set-cookie"]
    await console.http.aclose()
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
    assert tenant.token not in cookie


async def test_the_catalog_has_no_token_of_a_session(tenant: Tenant, database: Database) -> None:
    async with a_console(tenant) as console, database.begin() as tx:
        token = console.http.cookies["matview-session"]
        found = (await tx.exec_driver_sql("SELECT row_to_json(s)::text AS row FROM console_sessions s")).all()
        assert found
        assert not any(token in row.row or token.encode().hex() in row.row for row in found)


async def test_a_session_ends_after_its_time(tenant: Tenant, database: Database) -> None:
    async with a_console(tenant) as console:
        async with database.begin() as tx:
            await tx.exec_driver_sql("UPDATE console_sessions SET expires_at = now() - interval '1 second'")
        assert (await console.http.get("/projects")).status_code == 303


async def test_a_link_signs_in_once(tenant: Tenant) -> None:
    link = await sign_in_link(tenant)
    async with httpx.AsyncClient(verify=NO_TLS) as http:
        first = await http.get(link)
        assert (first.status_code, first.headers["location"]) == (303, f"/projects/{tenant.project_id}/views")
    async with httpx.AsyncClient(verify=NO_TLS) as http:
        again = await http.get(link)
        assert again.status_code == 401
        assert "was used before" in again.text
        assert "set-cookie" not in again.headers


async def test_a_link_is_no_session(tenant: Tenant) -> None:
    token = (await sign_in_link(tenant)).rpartition("/")[2].partition("?")[0]
    async with httpx.AsyncClient(base_url=address(tenant), verify=NO_TLS) as http:
        answer = await http.get("/projects", headers={"cookie": f"matview-session={token}"})
        assert answer.status_code == 303


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
async def test_signing_in_leads_to_no_other_site(tenant: Tenant, path: str) -> None:
    async with httpx.AsyncClient(base_url=address(tenant), verify=NO_TLS) as http:
        answer = await http.post("/sign-in", data={"key": tenant.token, "next": path})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize(
    "path", ["/sign-in", "/projects", "/projects/{project_id}/views", "/projects/{project_id}/zzz"]
)
async def test_every_page_says_what_it_may_load(tenant: Tenant, path: str) -> None:
    async with a_console(tenant) as console:
        headers = (await console.http.get(filled(path, tenant))).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    expected = {"x-frame-options": "DENY", "x-content-type-options": "nosniff", "referrer-policy": "same-origin"}
    assert expected.items() <= dict(headers).items()
    assert headers["cache-control"] == "no-store"


async def test_a_link_on_another_site_finds_the_session(tenant: Tenant) -> None:
    """The browser keeps a strict cookie back there, so the page loads itself again."""
    async with httpx.AsyncClient(base_url=address(tenant), verify=NO_TLS) as http:
        answer = await http.get("/projects", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert 'http-equiv="refresh"' in answer.text


@pytest.mark.parametrize(
    "name", ["../console/app.py", "..%2fapp.py", "/etc/passwd", "vendor/../../security.py", "vendor"]
)
async def test_no_other_file_is_served(tenant: Tenant, name: str) -> None:
    async with httpx.AsyncClient(base_url=address(tenant), verify=NO_TLS) as http:
        assert (await http.get(f"/static/x/{name}")).status_code == 404
