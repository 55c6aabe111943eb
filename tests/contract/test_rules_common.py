"""The rules that hold for every endpoint: paths, keys and scopes, errors, times."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from tests.contract.rules import ENDPOINTS, JSON, TIME, ask, is_error, times_in
from tests.contract.support import TABLES, VIEWS, a_key
from tests.support.tenants import Json, Tenant, write_parquet

FORBIDDEN, UNAUTHENTICATED = 403, 401


async def test_every_path_answers_alike_with_and_without_its_slash_under_both_bases_and_never_redirects(
    tenant: Tenant,
) -> None:
    unknown = uuid4()
    root = str(tenant.http.base_url).partition("/api/")[0]
    for endpoint in ENDPOINTS:
        reported = set()
        for base in ("projects", "environments"):
            for end in ("", "/"):
                url = f"{root}/api/{base}/{tenant.project_id}{endpoint.of(unknown).rstrip('/')}{end}"
                answer = await tenant.http.request(endpoint.method, url, json={})
                reported.add((answer.status_code, answer.content, answer.headers.get("location")))
        assert len(reported) == 1, f"{endpoint}: {reported}"
        ((status, _, location),) = reported
        assert location is None
        assert status in {200, 400, 404}, f"{endpoint}: {status}"


async def test_paths_outside_a_project_answer_with_and_without_their_slash(stack: DevStack, tenant: Tenant) -> None:
    for path in ("/livez", "/readyz", "/docs", "/api/schema", "/api/users/@me", "/api/personal_api_keys/@current"):
        answers = [await tenant.http.get(f"{stack.info['api_url']}{path}{end}") for end in ("", "/")]
        assert [answer.status_code for answer in answers] == [200, 200], path
        assert answers[0].content == answers[1].content


async def test_links_to_other_pages_keep_the_base_that_was_asked_for(stack: DevStack, tenant: Tenant) -> None:
    for number in range(2):
        await tenant.create_view(f"v{number}", "SELECT 1 AS n")
    url = f"{stack.info['api_url']}/api/environments/{tenant.project_id}/warehouse_saved_queries"
    following = (await tenant.http.get(f"{url}?page_size=1&search=v")).json()["next"]
    assert following.startswith(f"{url}?")
    assert {"page=2", "page_size=1", "search=v"} == set(following.partition("?")[2].split("&"))


@asynccontextmanager
async def holding(stack: DevStack, tenant: Tenant, *scopes: Scope) -> AsyncIterator[Tenant]:
    async with a_key(stack, tenant.project_id, tenant.project_id, scopes=scopes) as key:
        yield key


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_key_needs_the_scope_of_the_endpoint_and_no_other(
    stack: DevStack, tenant: Tenant, scope: Scope
) -> None:
    includes = {scope, scope.replace(":read", ":write")}
    others = [one for one in Scope if one not in includes]
    async with holding(stack, tenant, *others) as without, holding(stack, tenant, scope) as with_it:
        for endpoint in [one for one in ENDPOINTS if one.scope is scope]:
            refused = await ask(without, endpoint)
            assert refused.status_code == FORBIDDEN, f"{endpoint}: {refused.status_code}"
            assert is_error(refused)
            assert (refused.json()["type"], f"'{scope}'" in refused.json()["detail"]) == ("permission_error", True)
            let_in = await ask(with_it, endpoint)
            assert let_in.status_code in {200, 400, 404}, f"{endpoint}: {let_in.text}"


@pytest.mark.parametrize("scope", [Scope.VIEW_WRITE, Scope.TABLE_WRITE])
async def test_write_implies_read(stack: DevStack, tenant: Tenant, scope: Scope) -> None:
    async with holding(stack, tenant, scope) as writer:
        for endpoint in [one for one in ENDPOINTS if one.scope == scope.replace(":write", ":read")]:
            assert (await ask(writer, endpoint)).status_code in {200, 404}, str(endpoint)


async def test_who_asks_is_settled_before_what_is_asked(tenant: Tenant) -> None:
    async with httpx.AsyncClient(base_url=tenant.http.base_url) as nobody:
        for endpoint in ENDPOINTS:
            answer = await nobody.request(endpoint.method, endpoint.of("nope"), content=b"{", headers=JSON)
            assert (answer.status_code, answer.json()["type"]) == (UNAUTHENTICATED, "authentication_error")
            assert is_error(answer)
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_malformed_id_is_404_on_every_endpoint_whatever_else_is_wrong(tenant: Tenant) -> None:
    wrong: Json = {"level": 0, "name": 7, "deleted": "?", "sync_frequency": 7, "full_refresh": "?", "format": 7}
    for endpoint in [one for one in ENDPOINTS if one.has_id]:
        for malformed in ("nope", "1", "%00", "%F0%9F%92%A9", "g" * 32, "0" * 33, f"{uuid4()}%20"):
            path = endpoint.of(malformed) + "?page=0&limit=0"
            answer = await tenant.http.request(endpoint.method, path, json=wrong)
            assert (answer.status_code, is_error(answer)) == (404, True), f"{endpoint} {malformed}: {answer.text}"
            assert answer.json()["type"] == "not_found"


async def test_an_unknown_or_deleted_id_is_404_on_every_endpoint_but_the_activity(
    tenant: Tenant, sources: Path
) -> None:
    view = await tenant.create_view("gone", "SELECT 1 AS n")
    table = await tenant.add_table("lost", write_parquet(sources / "gone.parquet", a=[1]))
    await tenant.call("DELETE", f"{VIEWS}{view['id']}/", expect=204)
    await tenant.call("DELETE", f"{TABLES}{table['id']}/", expect=204)
    for endpoint in [one for one in ENDPOINTS if one.has_id]:
        gone = table if endpoint.path.startswith(TABLES) else view
        unknown, deleted = await ask(tenant, endpoint, uuid4()), await ask(tenant, endpoint, gone["id"])
        assert (unknown.status_code, is_error(unknown)) == (404, True), f"{endpoint}: {unknown.text}"
        if endpoint.path.endswith("/activity/"):
            assert deleted.is_success
        else:
            assert (deleted.status_code, deleted.content) == (404, unknown.content), str(endpoint)


async def test_how_a_uuid_in_a_path_is_spelled_does_not_matter(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    for spelling in (view["id"].upper(), view["id"].replace("-", "")):
        assert await tenant.view(spelling) == view


async def test_an_unknown_route_is_404_with_the_body_of_every_error(stack: DevStack, tenant: Tenant) -> None:
    project = f"/api/projects/{tenant.project_id}"
    known = f"{project}{VIEWS}{uuid4()}"
    for path in (
        "/nothing",
        "/api",
        "/api/nothing/",
        f"{project}/nothing/",
        f"{known}/nothing/",
        f"{known}/run/x/",
    ):
        for method in ("GET", "POST", "DELETE"):
            answer = await tenant.http.request(method, stack.info["api_url"] + path)
            assert (answer.status_code, is_error(answer)) == (404, True), f"{method} {path}: {answer.text}"
            assert (answer.json()["type"], answer.json()["attr"]) == ("not_found", None)


async def test_a_method_that_a_route_does_not_have_is_405_with_the_body_of_every_error(tenant: Tenant) -> None:
    methods = {"GET", "POST", "PUT", "PATCH", "DELETE"}
    routes = {endpoint.path for endpoint in ENDPOINTS} - {f"{VIEWS}resume_schedules/"}  # it could be the id of a view
    for route in sorted(routes):
        for method in sorted(methods - {one.method for one in ENDPOINTS if one.path == route}):
            answer = await tenant.http.request(method, route.replace("{id}", str(uuid4())))
            assert (answer.status_code, is_error(answer)) == (405, True), f"{method} {route}: {answer.text}"
            assert answer.json()["type"] == "invalid_request"
            assert answer.headers["allow"]


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'{"name": "\xff"}', b"[]", b'"x"', b"7", b"true", b"{} {}"])
async def test_a_body_that_is_not_a_json_object_is_400_wherever_one_is_read(tenant: Tenant, body: bytes) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    for endpoint in [one for one in ENDPOINTS if one.method in {"POST", "PATCH", "PUT"}]:
        answer = await tenant.http.request(endpoint.method, endpoint.of(view["id"]), content=body, headers=JSON)
        assert (answer.status_code, is_error(answer)) == (400, True), f"{endpoint}: {answer.status_code} {answer.text}"
        assert answer.json()["type"] in {"invalid_request", "validation_error"}
    assert await tenant.view(view["id"]) == view


@pytest.mark.parametrize(
    ("method", "path", "body", "attr"),
    [
        ("POST", VIEWS, {"query": {"query": "SELECT 1"}}, "name"),
        ("POST", VIEWS, {"name": "x"}, "query"),
        ("POST", VIEWS, {"name": "x", "query": {"query": "SELECT 1"}, "description": 7}, "description"),
        ("PATCH", f"{VIEWS}{{id}}/", {"name": None}, "name"),
        ("PATCH", f"{VIEWS}{{id}}/", {"deleted": None}, "deleted"),
        ("PATCH", f"{VIEWS}{{id}}/", {"sync_frequency": "2hour"}, "sync_frequency"),
        ("PATCH", f"{VIEWS}{{id}}/", {"edited_history_id": 7}, "edited_history_id"),
        ("POST", f"{VIEWS}{{id}}/ancestors/", {"level": 0}, "level"),
        ("POST", f"{VIEWS}{{id}}/descendants/", {"level": "x"}, "level"),
        ("POST", f"{VIEWS}{{id}}/materialize/", {"sync_frequency": "never"}, "sync_frequency"),
        ("POST", f"{VIEWS}{{id}}/run/", {"full_refresh": "perhaps"}, "full_refresh"),
        ("POST", f"{VIEWS}resume_schedules/", {"view_ids": []}, "view_ids"),
        ("POST", TABLES, {"name": "x", "format": "Parquet", "url_pattern": "/" + "x" * 500}, "url_pattern"),
        ("GET", f"{VIEWS}?page=x", None, "page"),
        ("GET", f"{VIEWS}{{id}}/run_history/?limit=0", None, "limit"),
    ],
)
async def test_a_field_that_is_not_valid_is_400_and_named(
    tenant: Tenant, method: str, path: str, body: Json | None, attr: str
) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    refused = await tenant.error(method, path.replace("{id}", view["id"]), body, status=400)
    assert (refused["type"], refused["attr"]) == ("validation_error", attr)
    assert await tenant.view(view["id"]) == view


async def test_an_unforeseen_error_is_500_and_shows_nothing_of_the_inside(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    database = Database(tenant.database_url, pool_size=1)
    columns = text("UPDATE saved_queries SET columns = CAST(:columns AS jsonb) WHERE id = :id RETURNING columns")
    try:
        async with database.begin() as tx:
            await tx.execute(columns, {"columns": '[{"nobody": "wrote this"}]', "id": view["id"]})
        answer = await tenant.http.get(f"{VIEWS}{view['id']}/")
    finally:
        async with database.begin() as tx:  # other tests read all views
            await tx.execute(columns, {"columns": "[]", "id": view["id"]})
        await database.close()
    assert answer.status_code == 500
    assert answer.json() == {
        "type": "server_error",
        "code": "error",
        "detail": "A server error occurred.",
        "attr": None,
    }
    assert answer.headers["x-request-id"]


async def test_every_time_is_iso_8601_in_utc_and_ends_with_z(tenant: Tenant, sources: Path) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    table = await tenant.add_table("t", write_parquet(sources / "times.parquet", a=[1]))
    answers = [
        view,
        table,
        await tenant.call("GET", VIEWS),
        await tenant.call("GET", TABLES),
        await tenant.call("GET", f"{VIEWS}{view['id']}/activity/"),
        await tenant.call("GET", f"{VIEWS}{view['id']}/run_history/"),
    ]
    found = [(name, value) for answer in answers for name, value in times_in(answer)]
    assert {name for name, _ in found} == {
        *("created_at", "last_run_at", "next_run_at", "started_at", "finished_at", "timestamp")
    }
    assert [pair for pair in found if not TIME.fullmatch(pair[1])] == []
