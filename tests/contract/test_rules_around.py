"""The rules of all other endpoints and commands: source tables, identity, OpenAPI document, health and keys."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from tests.contract.rules import is_error
from tests.contract.support import TABLES, VIEWS
from tests.support.commands import run_matview
from tests.support.tenants import PATIENCE, Json, Tenant, a_tenant, as_listed, write_parquet

FIELDS = {
    "id",
    "name",
    "format",
    "url_pattern",
    "columns",
    "file_count",
    "bytes",
    "description",
    "created_by",
    "created_at",
    "deleted",
    *("on_bad_row", "union_by_name", "hive_partitioning", "delimiter", "quote", "header", "null_text"),
    *("date_format", "decimal_separator", "encoding"),
}
TAKEN = "A table or view with this name already exists. Choose a different name."


@pytest.fixture
async def nobody(stack: DevStack) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    async with httpx.AsyncClient(base_url=stack.info["api_url"], timeout=PATIENCE) as http:
        yield http


def table(pattern: Path | str, **fields: object) -> Json:
    return {"name": "t", "format": "Parquet", "url_pattern": str(pattern)} | fields


async def stored(tenant: Tenant, statement: str) -> str:
    """Rows of the catalog, as text."""
    database = Database(tenant.database_url, pool_size=1)
    try:
        async with database.begin() as tx:
            return str((await tx.execute(text(statement))).all())
    finally:
        await database.close()


# --- source tables ----------------------------------------------------------------------------------------------------


async def test_a_table_is_created_listed_shown_changed_refreshed_and_deleted(tenant: Tenant, sources: Path) -> None:
    path = write_parquet(sources / "around" / "life.parquet", a=[1])
    made = await tenant.call("POST", TABLES, table(path), expect=201)
    assert set(made) == FIELDS
    own = f"{TABLES}{made['id']}/"
    assert await tenant.call("GET", own) == made
    assert (await tenant.call("GET", TABLES))["results"] == [as_listed(made)]
    assert (await tenant.call("GET", f"{TABLES}?search=T"))["count"] == 1
    for method, name in (("PATCH", "u"), ("PUT", "w")):
        assert await tenant.call(method, own, {"name": name}) == made | {"name": name}
    write_parquet(path, a=["now text"], b=[2.5])
    fresh = await tenant.call("POST", f"{own}refresh_schema/")
    assert [(column["name"], column["type"]) for column in fresh["columns"]] == [("a", "string"), ("b", "float")]
    assert (await tenant.http.delete(own)).content == b""
    assert (await tenant.call("GET", TABLES))["count"] == 0
    await tenant.call("POST", TABLES, table(path), expect=201)


@pytest.mark.parametrize(
    ("file_format", "content", "columns"),
    [
        ("CSV", "1,x\n2,y\n", [("column0", "integer"), ("column1", "string")]),
        ("CSVWithNames", "a,b\n1,x\n", [("a", "integer"), ("b", "string")]),
        ("JSONEachRow", '{"a": 1, "b": [true]}\n', [("a", "integer"), ("b", "array")]),
    ],
)
async def test_every_format_is_read(
    tenant: Tenant, sources: Path, file_format: str, content: str, columns: list[tuple[str, str]]
) -> None:
    file = sources / "around" / f"{file_format}.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    made = await tenant.call("POST", TABLES, table(file, format=file_format), expect=201)
    assert [(column["name"], column["type"]) for column in made["columns"]] == columns


async def test_a_star_matches_within_one_segment_of_the_path(tenant: Tenant, sources: Path) -> None:
    folder = sources / "around" / "stars"
    write_parquet(folder / "2026" / "1.parquet", a=[1])
    write_parquet(folder / "2026" / "deep" / "2.parquet", b=[1])
    made = await tenant.call("POST", TABLES, table(folder / "*" / "*.parquet"), expect=201)
    assert [column["name"] for column in made["columns"]] == ["a"]
    said = await tenant.error("POST", TABLES, table(folder / "*.parquet", name="u"), status=400)
    assert (said["attr"], f"{folder}/*.parquet" in said["detail"]) == ("url_pattern", True)
    at_last = f"{folder}/*/*.parquet".ljust(500, "*")
    assert (await tenant.error("POST", TABLES, table(at_last + "*", name="u"), status=400))["attr"] == "url_pattern"


@pytest.mark.parametrize(
    "pattern",
    [
        *("/etc/passwd", "/proc/self/environ", "/proc/*/environ", "/dev/stdin", "relative.parquet", "~/x", "", "/"),
        *("{sources}/../../etc/passwd", "{sources}/around/../../x", "file://{sources}/../x", "file://etc/passwd"),
        *("http://127.0.0.1/x.parquet", "http://[::1]/x", "http://169.254.169.254/latest", "http://10.0.0.1/x"),
        *("http://localhost/x", "http://0/x", "https://192.168.1.1/x.parquet", "ftp://127.0.0.1/x", "\\\\host\\share"),
    ],
)
async def test_a_path_outside_the_allowed_roots_is_refused(tenant: Tenant, sources: Path, pattern: str) -> None:
    said = await tenant.error("POST", TABLES, table(pattern.replace("{sources}", str(sources))), status=400)
    assert (said["type"], said["attr"]) == ("validation_error", "url_pattern")
    assert (await tenant.call("GET", TABLES))["count"] == 0


async def test_a_file_url_and_a_symlink_that_stay_inside_a_root_are_taken_and_one_that_leaves_is_not(
    tenant: Tenant, sources: Path
) -> None:
    path = write_parquet(sources / "around" / "linked.parquet", a=[1])
    (sources / "around" / "inside").symlink_to(path)
    (sources / "around" / "outside").symlink_to("/etc/hostname")
    await tenant.call("POST", TABLES, table(f"file://{path}", name="by_url"), expect=201)
    await tenant.call("POST", TABLES, table(sources / "around" / "inside", name="by_link"), expect=201)
    await tenant.error("POST", TABLES, table(sources / "around" / "outside", name="x"), status=400)


async def test_files_that_are_missing_or_unreadable_are_named_and_the_table_stays_as_it_was(
    tenant: Tenant, sources: Path
) -> None:
    path = write_parquet(sources / "around" / "spoiled.parquet", a=[1])
    made = await tenant.call("POST", TABLES, table(path), expect=201)
    own = f"{TABLES}{made['id']}/"
    for spoil in (path.unlink, lambda: path.write_bytes(b"not parquet")):
        await asyncio.to_thread(spoil)
        for method, where, body in (
            ("POST", f"{own}refresh_schema/", None),
            ("PATCH", own, {"union_by_name": True}),
            ("POST", TABLES, table(path, name="other")),
        ):
            said = await tenant.error(method, where, body, status=400)
            assert (said["attr"], "spoiled.parquet" in said["detail"]) == ("url_pattern", True), said
    assert await tenant.call("GET", own) == made
    assert (await tenant.call("GET", TABLES))["count"] == 1


async def test_tables_and_views_share_one_namespace_and_a_taken_name_is_no_update(
    tenant: Tenant, sources: Path
) -> None:
    path = write_parquet(sources / "around" / "names.parquet", a=[1])
    made = await tenant.call("POST", TABLES, table(path), expect=201)
    await tenant.create_view("v", "SELECT a FROM t")
    view = {"query": {"query": "SELECT 1 AS n"}}
    for where, body in ((TABLES, table(path)), (TABLES, table(path, name="V")), (VIEWS, view | {"name": "T"})):
        assert (await tenant.error("POST", where, body, status=400))["detail"] == TAKEN
    other = await tenant.call("POST", TABLES, table(path, name="other"), expect=201)
    assert (await tenant.error("PATCH", f"{TABLES}{other['id']}/", {"name": "v"}, status=400))["detail"] == TAKEN
    said = await tenant.error("DELETE", f"{TABLES}{made['id']}/", status=400)
    assert said["detail"] == "Cannot delete this table because views depend on it: v."


async def test_a_credential_is_stored_encrypted_and_never_returned(tenant: Tenant, sources: Path) -> None:
    path = write_parquet(sources / "around" / "sealed.parquet", a=[1])
    secret = {"access_key": "AKIA-visible", "access_secret": "hunter2"}
    made = await tenant.call("POST", TABLES, table(path, credential=secret), expect=201)
    own = f"{TABLES}{made['id']}/"
    answers = [made, await tenant.call("GET", own), await tenant.call("PATCH", own, {"credential": secret})]
    answers += [await tenant.call("POST", f"{own}refresh_schema/"), await tenant.call("GET", TABLES)]
    kept = f"SELECT t::text FROM source_tables t WHERE id = '{made['id']}' AND credential IS NOT NULL"
    rows = await stored(tenant, kept)
    assert made["id"] in rows, "it is kept"
    for shown in (*map(str, answers), rows, rows.encode().hex()):
        assert "hunter2" not in shown
        assert "AKIA" not in shown
        assert b"hunter2".hex() not in shown
    half = await tenant.error("PATCH", own, {"credential": {"access_key": "x"}}, status=400)
    assert half["attr"] == "credential.access_secret"


# --- identity ---------------------------------------------------------------------------------------------------------


async def test_posthogs_client_gets_its_key_its_owner_and_the_project(stack: DevStack, tenant: Tenant) -> None:
    root = stack.info["api_url"]
    key = (await tenant.http.get(f"{root}/api/personal_api_keys/@current")).json()
    assert (key["scopes"], key["scoped_teams"], key["scoped_organizations"]) == (sorted(Scope), [tenant.project_id], [])
    me = (await tenant.http.get(f"{root}/api/users/@me/")).json()
    assert (me["email"], me["id"]) == ("tester@example.com", key["user_id"])
    for alias in ("projects", "environments"):
        project = (await tenant.http.get(f"{root}/api/{alias}/{tenant.project_id}/")).json()
        assert (project["id"], project["name"]) == (tenant.project_id, "a test")
    async with a_tenant(stack) as other:
        foreign = await tenant.http.get(f"{root}/api/projects/{other.project_id}/")
        assert (foreign.status_code, is_error(foreign)) == (403, True)


# --- the document and health ------------------------------------------------------------------------------------------


async def test_the_document_and_its_page_need_no_key(nobody: httpx.AsyncClient) -> None:
    schema = await nobody.get("/api/schema/")
    assert schema.json()["openapi"].startswith("3.")
    page = await nobody.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    (script,) = re.findall(r'src="(/static/\w+/docs\.js)"', page.text)
    assert "/api/schema/" in (await nobody.get(script)).text


async def test_livez_and_readyz_need_no_key_and_mind_none(nobody: httpx.AsyncClient) -> None:
    for path in ("/livez", "/readyz"):
        for headers in ({}, {"Authorization": "Bearer nonsense"}):
            assert (await nobody.get(path, headers=headers)).json() == {"status": "ok"}


# --- keys and projects ------------------------------------------------------------------------------------------------


async def matview(stack: DevStack, *arguments: str) -> tuple[int, str]:
    """The exit status of a command, and its output."""
    env = {"MATVIEW_DATABASE_URL": stack.info["database_url"], "MATVIEW_DATA_DIR": stack.info["data_dir"]}
    ended = await asyncio.to_thread(run_matview, *arguments, env=env)
    return ended.returncode, (ended.stdout + ended.stderr).strip()


async def test_projects_and_keys_are_made_with_the_command_line_and_a_key_is_kept_as_a_hash(
    stack: DevStack, nobody: httpx.AsyncClient, tenant: Tenant
) -> None:
    code, project_id = await matview(stack, "project", "create", "from the command line")
    assert (code, project_id.isdigit()) == (0, True)
    scopes = ("--scope", "warehouse_view:read", "--scope", "activity_log:read")
    code, said = await matview(stack, "key", "create", "--email", "c@example.com", *scopes, "--project", project_id)
    token, *note = said.splitlines()
    assert (code, len(note), "it does not expire" in said) == (0, 1, True)
    headers = {"Authorization": f"Bearer {token}"}
    own = f"/api/projects/{project_id}{VIEWS}"
    assert (await nobody.get(own, headers=headers)).json()["count"] == 0
    refused = await nobody.post(own, headers=headers, json={})
    assert (refused.status_code, "warehouse_view:write" in refused.text) == (403, True)
    assert (await nobody.get(f"/api/projects/{tenant.project_id}{VIEWS}", headers=headers)).status_code == 403

    code, said = await matview(stack, "key", "create", "--email", "c@example.com", "--scope", "everything")
    assert (code != 0, "warehouse_view:read" in said) == (True, True)
    kept = await stored(tenant, "SELECT k::text FROM api_keys k")
    assert token not in kept
    assert token.removeprefix("mv_") not in kept
    assert token.encode().hex() not in kept
    key = (await nobody.get("/api/personal_api_keys/@current/", headers=headers)).json()
    assert (token not in json.dumps(key), str(UUID(key["id"])) in kept) == (True, True)
