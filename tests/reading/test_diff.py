"""The diff of two versions over HTTP and on the command line."""

import asyncio
from uuid import uuid4

from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from tests.reading.support import rows_of
from tests.support.commands import run_matview
from tests.support.tenants import Json, Tenant, a_tenant

FIRST = "SELECT * FROM (VALUES (1, 'a', 1.50), (2, 'b', 2.50), (3, 'c', 3.50)) t(id, name, x)"
SECOND = "SELECT * FROM (VALUES (1, 'a', 1.50::DOUBLE), (2, 'B', 2.25), (4, 'd', 4)) t(id, name, x), (SELECT 9 AS y)"


async def rerun(tenant: Tenant, view: Json, sql: str) -> Json:
    runs = len(await tenant.history(view["id"]))
    body = {"query": {"query": sql}, "soft_update": True}
    await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", body)
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"], runs + 1))["status"] == "Completed"
    return await tenant.view(view["id"])


def diff_url(view: Json, version: str) -> str:
    return f"/warehouse_saved_queries/{view['id']}/snapshots/{version}/diff/"


async def test_a_diff_names_both_versions_their_columns_and_their_rows(tenant: Tenant) -> None:
    before = await tenant.materialized("v", FIRST)
    after = await rerun(tenant, before, SECOND)
    earlier, later = before["current_snapshot_id"], after["current_snapshot_id"]
    diff = await tenant.call("GET", f"{diff_url(before, earlier)}?key=id")

    assert (diff["from"]["snapshot_id"], diff["from"]["row_count"]) == (earlier, 3)
    assert (diff["to"]["snapshot_id"], diff["to"]["row_count"]) == (later, 3)
    assert diff["key"] == ["id"]
    assert diff["columns"] == [
        {"name": "id", "from": "INTEGER", "to": "INTEGER"},
        {"name": "name", "from": "VARCHAR", "to": "VARCHAR"},
        {"name": "x", "from": "DECIMAL(3,2)", "to": "DOUBLE"},
    ]
    assert diff["schema"] == {
        "added": [{"name": "y", "type": "INTEGER"}],
        "removed": [],
        "retyped": [{"name": "x", "from": "DECIMAL(3,2)", "to": "DOUBLE"}],
    }
    assert diff["rows"] == {"added": 1, "removed": 1, "changed": 1, "unchanged": 1}
    assert not diff["is_identical"]
    assert diff["changed"] == [{"columns": ["name", "x"], "from": [2, "b", 2.5], "to": [2, "B", 2.25]}]
    assert diff["added"] == [{"count": 1, "row": [4, "d", 4.0]}]
    assert diff["removed"] == [{"count": 1, "row": [3, "c", 3.5]}]

    back = await tenant.call("GET", f"{diff_url(before, later)}?to={earlier}&key=id&limit=0")
    assert (back["rows"]["added"], back["changed"]) == (1, [])
    assert back["schema"]["removed"] == [{"name": "y", "type": "INTEGER"}]
    whole = await tenant.call("GET", diff_url(before, earlier))
    assert (whole["rows"], whole["key_faults"]) == ({"added": 2, "removed": 2, "changed": 0, "unchanged": 1}, None)


async def test_values_have_the_form_that_they_have_among_the_rows_of_a_version(tenant: Tenant) -> None:
    sql = """SELECT {} AS id, 170141183460469231731687303715884105727::HUGEINT AS huge, 'nan'::DOUBLE AS nan,
        '\\xFF'::BLOB AS blob, TIMESTAMPTZ '2024-02-29 12:00:00+00' AS zoned, [1.5::DOUBLE, 'inf'] AS list,
        {{'a': INTERVAL 1 MONTH}} AS part, '{{"n": 1.10}}'::JSON AS json, MAP {{1: 0.10}} AS map,
        'ß "x"' AS "é ""q"" """
    before = await tenant.materialized("types", sql.format(1) + '"')
    after = await rerun(tenant, before, sql.format(2) + '"')
    for numbers in ("number", "string"):
        (row,) = (await rows_of(tenant, after, numbers=numbers)).json()["results"]
        diff = await tenant.call("GET", f"{diff_url(before, before['current_snapshot_id'])}?key=id&numbers={numbers}")
        assert diff["added"] == [{"count": 1, "row": row}]
        assert diff["columns"][-1]["name"] == 'é "q" '


async def test_what_cannot_be_compared_is_refused_and_says_why(stack: DevStack, tenant: Tenant) -> None:
    before = await tenant.materialized("v", FIRST)
    view = await rerun(tenant, before, SECOND)
    other = await tenant.materialized("other", "SELECT 1 AS n")
    version = before["current_snapshot_id"]
    url = diff_url(view, version)

    error = await tenant.error("GET", f"{url}?key=y", status=400)
    assert error["attr"] == "key"
    assert error["detail"] == 'The column "y" of the key is not in both versions. These are: id, name, x.'
    for wrong in ("limit=-1", "limit=1001", "key=", "to=x", "numbers=x", "&".join(["key=id"] * 33)):
        await tenant.error("GET", f"{url}?{wrong}", status=400)
    for path in (diff_url(view, str(uuid4())), diff_url(view, other["current_snapshot_id"]), f"{url}?to={uuid4()}"):
        assert "no longer kept" in (await tenant.error("GET", path, status=404))["detail"]
    plain = await tenant.create_view("plain", "SELECT 1 AS n")
    assert "no current version" in (await tenant.error("GET", diff_url(plain, version), status=404))["detail"]
    async with a_tenant(stack) as stranger:
        await stranger.error("GET", url, status=404)
    async with a_tenant(stack, Scope.ACTIVITY_READ) as without:
        assert "warehouse_view:read" in (await without.error("GET", url, status=403))["detail"]


async def test_the_command_shows_numbers_first_and_then_what_differs(tenant: Tenant, stack: DevStack) -> None:
    before = await tenant.materialized("v", FIRST)
    after = await rerun(tenant, before, SECOND)

    async def shown(*arguments: str, status: int = 0) -> list[str]:
        env = {
            "MATVIEW_API_URL": stack.info["api_url"],
            "MATVIEW_API_KEY": tenant.token,
            "MATVIEW_PROJECT_ID": str(tenant.project_id),
        }
        result = await asyncio.to_thread(run_matview, "view", "diff", "v", *arguments, env=env)
        assert result.returncode == status, result.stderr
        return (result.stdout or result.stderr).splitlines()

    lines = await shown("--key", "id")
    assert lines[1:4] == [
        "1 added, 1 removed, 1 changed, 1 unchanged",
        "column ~ x DECIMAL(3,2) → DOUBLE",
        "column + y INTEGER",
    ]
    assert lines[-3:] == ["-   3  c             3.50", "~   2  b → B  2.50 → 2.25", "+   4  d              4.0"]
    assert (await shown("--exit-code", status=1))[1] == "2 added, 2 removed, 1 unchanged"
    same = await shown("1", after["current_snapshot_id"], "--exit-code")
    assert same[1:] == ["identical: 3 rows"]
    assert (await shown("1", "-1"))[1] == (await shown(after["current_snapshot_id"][:8], "2"))[1]
    assert "is_identical" in (await shown("--json"))[0]
    assert await shown("-2", status=1) == ["error: there is no version -2 of v: 2 are kept"]
    assert "is no version" in (await shown("--nonsense", status=1))[0]
