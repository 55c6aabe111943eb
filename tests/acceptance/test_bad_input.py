"""The API refuses bad input with a clear error, and nothing is lost or changed."""

from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from tests.support.tenants import Tenant, a_tenant, write_parquet

VIEWS, TABLES = "/warehouse_saved_queries/", "/warehouse_tables/"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT 1; SELECT 2", "exactly one statement"),
        ("INSERT INTO t VALUES (1)", "INSERT"),
        ("COPY (SELECT 1) TO '/tmp/x'", "COPY"),
        ("ATTACH '/tmp/x'", "ATTACH"),
        ("SET threads = 1", "SET"),
        ("SELECT * FROM nowhere", "Table with name nowhere does not exist"),
        ("SELECT * FROM v", "Table with name v does not exist"),
        ("SELECT nope FROM (SELECT 1 AS n)", '"nope"'),
        ("SELECT * FROM read_csv('/etc/passwd')", "read_csv"),
        ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
        ("SELECT * FROM duckdb_settings()", "duckdb_settings"),
        ("SELECT * FROM information_schema.tables", "information_schema.tables"),
        ("SELECT {filters}", "Filters and placeholder expressions are not allowed in views"),
        ("SELECT {variables.foo}", "Variables like {variables.foo} are not allowed in views"),
        ("", "SELECT statement"),
        ("-- nothing", "Invalid query"),
    ],
)
async def test_a_query_that_is_not_one_select_over_known_names_is_refused(tenant: Tenant, sql: str, said: str) -> None:
    body = {"name": "v", "query": {"kind": "HogQLQuery", "query": sql}}
    refused = await tenant.error("POST", VIEWS, body, status=400)
    assert (refused["type"], refused["attr"]) == ("validation_error", "query")
    assert said in refused["detail"]
    assert (await tenant.call("GET", VIEWS))["count"] == 0


@pytest.mark.parametrize("query", ["select 1", 7, ["select 1"], None, {}, {"kind": "TrendsQuery", "query": "select 1"}])
async def test_a_query_that_is_not_an_object_with_a_statement_is_refused(tenant: Tenant, query: object) -> None:
    refused = await tenant.error("POST", VIEWS, {"name": "v", "query": query}, status=400)
    assert refused["attr"] == "query"


async def test_a_refused_edit_changes_nothing(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    body = {"name": "v", "query": {"query": "SELECT nope"}, "description": "changed", "soft_update": True}
    await tenant.error("POST", VIEWS, body, status=400)
    assert await tenant.view(view["id"]) == view


@pytest.mark.parametrize("name", ["1abc", "a-b", "a b", "x" * 129, "system.x", "", None, 7])
async def test_a_bad_name_is_refused(tenant: Tenant, name: object) -> None:
    refused = await tenant.error("POST", VIEWS, {"name": name, "query": {"query": "select 1"}}, status=400)
    assert (refused["type"], refused["attr"]) == ("validation_error", "name")


async def test_a_name_is_unique_over_views_and_tables(tenant: Tenant, sources: Path) -> None:
    path = write_parquet(sources / "names.parquet", a=[1])
    await tenant.add_table("taken", path)
    taken = "A table or view with this name already exists. Choose a different name."
    refused = await tenant.error("POST", VIEWS, {"name": "Taken", "query": {"query": "select 1"}}, status=400)
    assert (refused["detail"], refused["attr"]) == (taken, "name")
    await tenant.create_view("v", "SELECT 1 AS n")
    body = {"name": "V", "format": "Parquet", "url_pattern": str(path)}
    refused = await tenant.error("POST", TABLES, body, status=400)
    assert (refused["detail"], refused["attr"]) == (taken, "name")
    assert (await tenant.call("GET", TABLES))["count"] == 1


async def test_a_path_outside_the_roots_is_refused(tenant: Tenant, sources: Path) -> None:
    inside = write_parquet(sources / "roots" / "t.parquet", a=[1])
    (sources / "roots" / "link.parquet").symlink_to("/etc/hostname")
    for pattern in (
        "/etc/passwd",
        f"{sources}/../secret.parquet",
        f"{sources}/roots/link.parquet",
        "/proc/self/environ",
        "http://127.0.0.1/x.parquet",
        "s3://bucket/x.parquet",
        "relative.parquet",
        f"{sources}/nothing/*.parquet",
        f"{sources}/" + "x" * 500,
        "",
    ):
        body = {"name": "t", "format": "Parquet", "url_pattern": pattern}
        refused = await tenant.error("POST", TABLES, body, status=400)
        assert refused["attr"] == "url_pattern", pattern
        assert refused["detail"]
    assert (await tenant.call("GET", TABLES))["count"] == 0
    await tenant.add_table("t", f"file://{inside}")


async def test_files_that_are_not_what_they_are_said_to_be_are_refused(tenant: Tenant, sources: Path) -> None:
    garbage = sources / "garbage.parquet"
    garbage.write_text("not parquet at all")
    body = {"name": "t", "format": "Parquet", "url_pattern": str(garbage)}
    refused = await tenant.error("POST", TABLES, body, status=400)
    assert "garbage.parquet" in refused["detail"]
    refused = await tenant.error("POST", TABLES, {**body, "format": "Excel"}, status=400)
    assert refused["attr"] == "format"
    assert "JSONEachRow" in refused["detail"]


async def test_a_table_that_views_read_cannot_be_deleted(tenant: Tenant, sources: Path) -> None:
    table = await tenant.add_table("t", write_parquet(sources / "used.parquet", a=[1]))
    await tenant.create_view("b", "SELECT a FROM t")
    await tenant.create_view("a", "SELECT a FROM t")
    path = f"{TABLES}{table['id']}/"
    refused = await tenant.error("DELETE", path, status=400)
    assert refused["detail"] == "Cannot delete this table because views depend on it: a, b."
    assert (await tenant.call("GET", path))["id"] == table["id"]


async def test_a_table_that_nothing_reads_is_deleted_and_its_name_is_free(tenant: Tenant, sources: Path) -> None:
    file = write_parquet(sources / "unused.parquet", a=[1])
    table = await tenant.add_table("t", file)
    await tenant.call("DELETE", f"{TABLES}{table['id']}/", expect=204)
    await tenant.error("GET", f"{TABLES}{table['id']}/", status=404)
    await tenant.add_table("t", file)


async def test_a_body_that_is_not_json_is_refused(tenant: Tenant) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (b"{", b"name=x", b"\xff\xfe", b'{"name": NaNope}'):
        answer = await tenant.http.post(VIEWS, content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "parse_error"), body
    for body in (b"[]", b'"x"', b"7", b"null", b""):
        answer = await tenant.http.post(VIEWS, content=body, headers=headers)
        assert answer.status_code == 400, body
    assert (await tenant.call("GET", VIEWS))["count"] == 0


@pytest.mark.parametrize("frequency", ["never", "2hour", "", 7, "every_fortnight"])
async def test_a_frequency_that_does_not_exist_is_refused(tenant: Tenant, frequency: object) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    path = f"{VIEWS}{view['id']}/materialize/"
    refused = await tenant.error("POST", path, {"sync_frequency": frequency}, status=400)
    assert refused["attr"] == "sync_frequency"
    if frequency != "never":
        assert "'24hour'" in refused["detail"]
    assert not (await tenant.view(view["id"]))["is_materialized"]


async def test_running_a_view_that_is_not_materialized_is_refused(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    refused = await tenant.error("POST", f"{VIEWS}{view['id']}/run/", status=400)
    assert "not materialized" in refused["detail"]


async def test_no_key_or_an_unknown_one_is_401(stack: DevStack, tenant: Tenant) -> None:
    for headers in ({}, {"Authorization": "Bearer nope"}, {"Authorization": "Basic x"}, {"Authorization": "Bearer"}):
        async with httpx.AsyncClient(base_url=stack.info["api_url"], headers=headers) as http:
            for path in (f"/api/projects/{tenant.project_id}{VIEWS}", "/api/projects/1/nothing/"):
                answer = await http.get(path)
                assert (answer.status_code, answer.json()["type"]) == (401, "authentication_error")


async def test_a_key_without_the_scope_is_403_and_the_scope_is_named(stack: DevStack, tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    async with a_tenant(stack, Scope.VIEW_READ) as reader:
        refused = await reader.error("POST", VIEWS, {"name": "x", "query": {"query": "select 1"}}, status=403)
        assert (refused["type"], "warehouse_view:write" in refused["detail"]) == ("permission_error", True)
        refused = await reader.error("GET", TABLES, status=403)
        assert "warehouse_table:read" in refused["detail"]
        assert (await reader.call("GET", VIEWS))["count"] == 0
        for action in ("materialize", "run", "cancel"):
            await reader.error("POST", f"{VIEWS}{view['id']}/{action}/", status=403)
    async with a_tenant(stack, Scope.VIEW_WRITE) as writer:
        await writer.create_view("x", "SELECT 1 AS n")
        assert (await writer.call("GET", VIEWS))["count"] == 1, "write implies read"


async def test_another_projects_key_is_403_and_its_views_are_404(stack: DevStack, tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    async with a_tenant(stack) as other:
        url = f"{stack.info['api_url']}/api/projects/{tenant.project_id}{VIEWS}"
        assert (await other.http.get(url)).status_code == 403
        await other.error("GET", f"{VIEWS}{view['id']}/", status=404)
        for action in ("materialize", "run", "cancel"):
            await other.error("POST", f"{VIEWS}{view['id']}/{action}/", status=404)
        refused = await other.error("POST", VIEWS, {"name": "x", "query": {"query": "select * from v"}}, status=400)
        assert "does not exist" in refused["detail"]


async def test_ids_that_are_unknown_or_malformed_are_404(tenant: Tenant) -> None:
    for view_id in (uuid4(), "nope", "1", "%00", "0" * 40):
        refused = await tenant.error("GET", f"{VIEWS}{view_id}/", status=404)
        assert refused["type"] == "not_found"
    await tenant.error("GET", "/nothing/", status=404)
    refused = await tenant.error("PUT", VIEWS, status=405)
    assert refused["code"] == "method_not_allowed"


async def test_every_path_answers_with_and_without_its_slash_and_under_both_bases(
    stack: DevStack, tenant: Tenant
) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    for base in ("projects", "environments"):
        for slash in ("", "/"):
            url = f"{stack.info['api_url']}/api/{base}/{tenant.project_id}/warehouse_saved_queries"
            assert (await tenant.http.get(f"{url}/{view['id']}{slash}")).json() == view
            assert (await tenant.http.post(f"{url}/{view['id']}/run{slash}")).status_code == 400
            listed = (await tenant.http.get(f"{url}{slash}?page_size=1")).json()
            assert [item["id"] for item in listed["results"]] == [view["id"]]


async def test_a_wrong_page_is_refused(tenant: Tenant) -> None:
    await tenant.create_view("v", "SELECT 1 AS n")
    for page in (2, 10**12, 10**30):
        assert (await tenant.error("GET", f"{VIEWS}?page={page}", status=404))["detail"] == "Invalid page."
    for query in ("page=0", "page=x", "page_size=0", "page_size=1001"):
        await tenant.error("GET", f"{VIEWS}?{query}", status=400)


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "v"}',
        b'{"name": "v", "query": {"query": "select 1"}, "soft_update": null}',
        b'{"name": "v", "query": {"query": "select 1"}, "description": "a\\u0000b"}',
        b'{"name": "v", "query": {"query": "select 1"}, "description": "\\ud800"}',
        b'{"name": "v", "query": {"query": "select 1", "extra": "\\u0000"}}',
        b'{"name": "v", "query": {"query": "select 1", "\\ud800": 1}}',
        b'{"name": "v", "query": {"query": "select 1", "extra": NaN}}',
        b'{"name": "v", "query": {"query": "select 1", "extra": 1e999}}',
        b'{"name": "v", "query": {"query": "select 1", "extra": ' + b"[" * 400 + b"]" * 400 + b"}}",
        b"[" * 100_000,
    ],
)
async def test_json_that_cannot_be_kept_is_refused(tenant: Tenant, body: bytes) -> None:
    answer = await tenant.http.post(VIEWS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert set(answer.json()) == {"type", "code", "detail", "attr"}


async def test_odd_paths_and_searches_are_answered(stack: DevStack, tenant: Tenant) -> None:
    assert (await tenant.call("GET", VIEWS + "?search=%00"))["count"] == 0
    key = {"Authorization": f"Bearer {stack.info['api_key']}"}  # a key to every project
    async with httpx.AsyncClient(base_url=stack.info["api_url"], headers=key) as http:
        for project_id in ("0", "-1", "99999999", "99999999999999999999", "x", "%00"):
            answer = await http.get(f"/api/projects/{project_id}{VIEWS}")
            assert (answer.status_code, answer.json()["type"]) == (404, "not_found"), project_id
