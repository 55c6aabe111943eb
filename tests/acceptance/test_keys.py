"""API keys that are listed, revoked, expired and used, with the real commands beside a running stack."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from sqlalchemy.engine import make_url

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.base import now
from orchestrator.services.access import AccessService
from tests.contract.test_rules_unreachable import an_api
from tests.support.commands import run_matview
from tests.support.tenants import PATIENCE, Json, Tenant, until

VIEWS = "/warehouse_saved_queries/"


async def matview(stack: DevStack, *arguments: str, cwd: Path | None = None, status: int = 0) -> tuple[str, str]:
    """The output and errors of a command. It finds the stack by `--home` or `cwd`, not by its environment."""
    home = [] if cwd else ["--home", str(stack.servers.home.path)]
    ended = await asyncio.to_thread(run_matview, *arguments, *home, cwd=cwd)
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended.stdout, ended.stderr


@asynccontextmanager
async def holding(tenant: Tenant, token: str, url: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    base_url = str(tenant.http.base_url) if url is None else f"{url}/api/projects/{tenant.project_id}"
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=PATIENCE) as http:
        yield http


async def a_new_key(stack: DevStack, tenant: Tenant, *more: str) -> str:
    out, _ = await matview(
        stack, "key", "create", "--email", "k@example.com", "--project", str(tenant.project_id), *more
    )
    return out.strip()


async def listed(stack: DevStack, label: str) -> list[Json]:
    out, _ = await matview(stack, "key", "list", "--all", "--json")
    return [key for key in json.loads(out) if key["label"] == label]


async def test_a_revoked_key_is_refused_at_once_by_every_api_process(
    stack: DevStack, tenant: Tenant, tmp_path: Path
) -> None:
    label = f"label-{uuid4()}"
    token = await a_new_key(stack, tenant, "--label", label)
    async with an_api(stack, tmp_path) as url, holding(tenant, token) as one, holding(tenant, token, url) as other:
        for http in (one, other, one, other):  # each process has seen the key, and could have cached it
            assert (await http.get(VIEWS)).status_code == 200
        out, _ = await matview(stack, "key", "revoke", label)
        assert label in out
        for http in (one, other):
            answer = await http.get(VIEWS)
            assert answer.status_code == 401
            assert answer.json()["type"] == "authentication_error"
            assert answer.json()["detail"].startswith("This API key was revoked at ")
            assert answer.headers["www-authenticate"] == "Bearer"
    (key,) = await listed(stack, label)
    assert key["state"] == "revoked"
    assert token not in json.dumps(key)
    out, _ = await matview(stack, "key", "list")
    assert label not in out, "only --all shows what is revoked"


@pytest.mark.parametrize("by", ["id", "beginning of the id", "label", "hint", "hint as shown", "token"])
async def test_a_key_is_revoked_by_anything_that_a_person_knows_of_it(stack: DevStack, tenant: Tenant, by: str) -> None:
    label = f"label-{uuid4()}"
    token = await a_new_key(stack, tenant, "--label", label)
    (key,) = await listed(stack, label)
    names = {
        "id": key["id"].upper(),
        "beginning of the id": key["id"][:13],
        "label": label,
        "hint": token[:8],
        "hint as shown": f"{token[:8]}…",
        "token": token,
    }
    out, _ = await matview(stack, "key", "revoke", names[by])
    assert out == f"revoked {key['id']} ({label}) of k@example.com\n"
    async with holding(tenant, token) as http:
        assert (await http.get(VIEWS)).status_code == 401
    await matview(stack, "key", "revoke", names[by])  # revoking it again succeeds too


async def test_what_two_keys_are_called_revokes_neither_unless_both_are_meant(stack: DevStack, tenant: Tenant) -> None:
    label = f"label-{uuid4()}"
    tokens = [await a_new_key(stack, tenant, "--label", label) for _ in range(2)]
    _, err = await matview(stack, "key", "revoke", label, status=1)
    ids = [key["id"] for key in await listed(stack, label)]
    assert all(one in err for one in ids)
    assert {key["state"] for key in await listed(stack, label)} == {"active"}
    await matview(stack, "key", "revoke", label, "--every")
    assert {key["state"] for key in await listed(stack, label)} == {"revoked"}
    async with holding(tenant, tokens[0]) as http:
        assert (await http.get(VIEWS)).status_code == 401


@pytest.mark.parametrize("named", ["", "no such key", "mv_", "%", "0"])
async def test_what_is_no_key_revokes_none(stack: DevStack, tenant: Tenant, named: str) -> None:
    _, err = await matview(stack, "key", "revoke", named, status=1)
    assert "There is no such key" in err
    assert (await tenant.call("GET", VIEWS))["count"] == 0


async def test_an_expired_key_is_refused_and_says_since_when(tenant: Tenant) -> None:
    database = Database(tenant.database_url, pool_size=1)
    try:
        made = await AccessService(database).create_key(
            email="k@example.com",
            label="soon over",
            scopes=[],
            project_ids=None,
            expires_at=now() + timedelta(seconds=5),
        )
    finally:
        await database.close()
    async with holding(tenant, made.token) as http:
        assert (await http.get(VIEWS)).status_code == 403, "it works, and lacks the scope"

        async def over() -> httpx.Response | None:
            answer = await http.get(VIEWS)
            return answer if answer.status_code == 401 else None

        answer = await until(over, "the end of a key")
    assert made.expires_at is not None
    assert answer.json()["detail"] == f"This API key expired at {made.expires_at:%Y-%m-%d %H:%M:%S} UTC."


async def test_a_key_shows_when_it_was_last_used_and_is_noted_once_a_minute_at_most(
    stack: DevStack, tenant: Tenant
) -> None:
    label = f"label-{uuid4()}"
    token = await a_new_key(stack, tenant, "--label", label, "--expires", "30d")
    (key,) = await listed(stack, label)
    assert key["last_used_at"] is None
    assert key["expires_at"] > key["created_at"]
    async with holding(tenant, token) as http:
        await asyncio.gather(*(http.get(VIEWS) for _ in range(20)))

        async def used() -> str | None:
            last: str | None = (await listed(stack, label))[0]["last_used_at"]
            return last

        first = await until(used, "the use of a key")
        versions = await _row_version(tenant, label)
        for _ in range(10):
            assert (await http.get(VIEWS)).status_code == 200
        assert (await used(), await _row_version(tenant, label)) == (first, versions), "nothing more was written"
        await _sql(tenant, f"UPDATE api_keys SET last_used_at = now() - interval '2 minutes' WHERE label = '{label}'")
        await http.get(VIEWS)

        async def noted() -> bool:
            return (await used() or "") > first

        await until(noted, "a later use")


async def test_a_catalog_that_takes_no_writes_still_lets_keys_in(
    stack: DevStack, tenant: Tenant, tmp_path: Path
) -> None:
    token = await a_new_key(stack, tenant)
    name = f"reader_{uuid4().hex}"
    await _sql(tenant, f"CREATE ROLE {name} LOGIN PASSWORD 'reads'")
    await _sql(tenant, f"GRANT pg_read_all_data TO {name}")
    url = make_url(tenant.database_url).set(username=name, password="reads")  # noqa: S106 - for a moment
    readable = url.render_as_string(hide_password=False)
    try:
        async with an_api(stack, tmp_path, MATVIEW_DATABASE_URL=readable) as api, holding(tenant, token, api) as http:
            for _ in range(3):
                assert (await http.get(VIEWS)).status_code == 200
            assert (await http.post(VIEWS, json={"name": "v", "query": {"query": "SELECT 1"}})).status_code == 500
    finally:
        await _sql(tenant, f"DROP ROLE {name}")


async def test_the_commands_of_an_operator_find_the_stack_above_the_current_folder(
    stack: DevStack, tmp_path: Path
) -> None:
    (tmp_path / ".matview").symlink_to(stack.servers.home.path)
    below = tmp_path / "deep" / "down"
    below.mkdir(parents=True)
    made, _ = await matview(stack, "project", "create", "found it", cwd=below)
    out, _ = await matview(stack, "project", "list", cwd=below)
    assert f"{made.strip()} " in out
    token, _ = await matview(stack, "key", "create", "--email", "k@example.com", "--project", made.strip(), cwd=below)
    assert token.startswith("mv_")
    out, _ = await matview(stack, "reconcile", "--dry-run", cwd=below)
    assert "found" in out
    out, _ = await matview(stack, "view", "list", cwd=below)
    assert out.startswith("NAME")


async def test_a_stack_that_is_not_running_is_named_and_not_a_missing_setting(tmp_path: Path, stack: DevStack) -> None:
    (tmp_path / ".matview").mkdir()
    away = {**stack.info, "database_url": f"postgresql://u@/d?host={tmp_path}/nowhere"}
    (tmp_path / ".matview" / "dev.json").write_text(json.dumps(away))
    _, err = await matview(stack, "key", "list", cwd=tmp_path, status=1)
    assert "PostgreSQL is out of reach" in err
    assert "not running: start it with '" in err
    assert f"dev' in {tmp_path}" in err


async def _row_version(tenant: Tenant, label: str) -> str:
    return await _sql(tenant, f"SELECT xmin::text FROM api_keys WHERE label = '{label}'")


async def _sql(tenant: Tenant, statement: str) -> str:
    async with await psycopg.AsyncConnection.connect(tenant.database_url, autocommit=True) as connection:
        cursor = await connection.execute(statement)
        return str((await cursor.fetchone() or [""])[0]) if cursor.description else ""
