"""`GET /status/` and `matview status`: what runs, fails, is paused or stale, on real servers."""

import json
from pathlib import Path
from uuid import UUID

from temporalio.client import Client

from orchestrator.devstack.stack import DevStack
from orchestrator.temporal.contract import schedule_id
from tests.contract.test_rules_unreachable import an_api, asking
from tests.support.commands import run_matview
from tests.support.tenants import ENDLESS, Json, Tenant, until, write_parquet

VIEWS = "/warehouse_saved_queries/"


def environment(stack: DevStack, tenant: Tenant) -> dict[str, str]:
    """The variables by which commands find the project."""
    return {
        "MATVIEW_API_URL": stack.info["api_url"],
        "MATVIEW_API_KEY": tenant.token,
        "MATVIEW_PROJECT_ID": str(tenant.project_id),
    }


async def conditions(tenant: Tenant) -> dict[str, Json]:
    return {one["name"]: one for one in (await tenant.call("GET", "/status/?page_size=1000"))["results"]}


async def condition(tenant: Tenant, name: str, word: str) -> Json:
    """The condition of a view, once it is that; Temporal's list may be a moment late."""

    async def ask() -> Json | None:
        found = (await conditions(tenant))[name]
        return found if found["condition"] == word else None

    return await until(ask, f"{name} to be {word}")


async def test_each_condition_is_seen_with_its_reasons(stack: DevStack, tenant: Tenant, sources: Path) -> None:
    file = write_parquet(sources / f"conditions-{tenant.project_id}" / "1.parquet", n=[1, 2])
    await tenant.add_table("numbers", file)
    base = await tenant.materialized("base", "SELECT n, 12 // n AS share FROM numbers")
    await tenant.create_view("between", "SELECT * FROM base WHERE n > 0")
    top = await tenant.materialized("top", "SELECT count(*) AS rows FROM between")

    found = await conditions(tenant)
    assert {name: one["condition"] for name, one in found.items()} == {
        "base": "Fresh",
        "between": "Not materialized",
        "top": "Fresh",
    }
    assert all(one["ok"] for one in found.values())
    assert (found["base"]["row_count"], found["top"]["row_count"]) == (2, 1)
    assert found["top"]["next_run_at"] == (await tenant.view(top["id"]))["next_run_at"]

    # A version of an input that was published since the view's own last run, through a view that is evaluated.
    await tenant.act(base["id"], "run")
    await tenant.ended(base["id"], runs=2)
    stale = await condition(tenant, "top", "Stale")
    assert stale["newer_inputs"] == [{"id": base["id"], "name": "base"}]
    assert stale["stale_reasons"] == ["base, which it reads, is newer"]
    await tenant.act(top["id"], "run", {})
    await tenant.ended(top["id"], runs=2)
    assert (await conditions(tenant))["top"]["condition"] == "Fresh"

    # Its input fails, and it is refreshed nevertheless, from the last good result.
    write_parquet(file, n=["one"])
    await tenant.act(base["id"], "run")
    await tenant.ended(base["id"], runs=3)
    await tenant.act(top["id"], "run")
    await tenant.ended(top["id"], runs=3)
    found = await conditions(tenant)
    assert (found["base"]["condition"], found["base"]["ok"]) == ("Failed", False)
    assert found["base"]["latest_error"]
    (failing,) = found["top"]["failing_inputs"]
    assert (failing["id"], failing["name"]) == (base["id"], "base")
    assert failing["error"].splitlines() == [failing["error"]]
    assert (found["top"]["condition"], found["top"]["ok"]) == ("Stale", False)

    # A run and a refresh that read it say so, and still succeed.
    for command in (["view", "run", "top", "--force", "--wait"], ["refresh", "top", "--force"]):
        ended = run_matview(*command, env=environment(stack, tenant))
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr.startswith("note: base, which top reads, failed in its own last run: ")


async def test_views_that_were_refreshed_together_are_not_newer_than_one_another(tenant: Tenant) -> None:
    for name, sql in (("one", "SELECT random() AS n"), ("two", "SELECT n FROM one"), ("three", "SELECT n FROM two")):
        view = await tenant.create_view(name, sql)
        await tenant.act(view["id"], "materialize", {"run": False})
    assert {one["condition"] for one in (await conditions(tenant)).values()} == {"Never run"}
    for force in (False, True):
        await tenant.call("POST", "/generations/", {"select": {"all": True}, "force": force}, expect=202)

        async def ended() -> bool:
            listed = (await tenant.call("GET", "/generations/"))["results"]
            return bool(listed) and all(one["status"] != "Running" for one in listed)

        await until(ended, "the refresh to end")
        assert {one["condition"] for one in (await conditions(tenant)).values()} == {"Fresh"}


async def test_a_pause_and_a_run_are_seen(tenant: Tenant, temporal: Client) -> None:
    held = await tenant.materialized("held", "SELECT 1 AS n")
    await tenant.call("PATCH", f"{VIEWS}{held['id']}/", {"sync_frequency": "never"})
    paused = await condition(tenant, "held", "Paused")
    assert paused["ok"]
    assert paused["next_run_at"] is None
    by_hand = await tenant.materialized("by_hand", "SELECT 2 AS n")
    handle = temporal.get_schedule_handle(schedule_id(UUID(by_hand["id"])))
    await handle.pause(note="while the disk is replaced")
    paused = await condition(tenant, "by_hand", "Paused")
    assert (paused["schedule_paused"], paused["paused_reason"]) == (True, "while the disk is replaced")
    endless = await tenant.create_view("endless", ENDLESS)
    await tenant.act(endless["id"], "materialize")
    await tenant.running(endless["id"])
    assert (await conditions(tenant))["endless"]["condition"] == "Running"
    await tenant.act(endless["id"], "cancel")
    assert (await conditions(tenant))["endless"]["condition"] == "Cancelled"


async def test_while_temporal_is_away_all_but_the_schedules_is_shown(
    stack: DevStack, tenant: Tenant, tmp_path: Path
) -> None:
    await tenant.materialized("v", "SELECT 1 AS n")
    async with (
        an_api(stack, tmp_path, MATVIEW_TEMPORAL_ADDRESS="127.0.0.1:1") as url,
        asking(tenant, url) as other,
    ):
        found = (await conditions(other))["v"]
    assert (found["condition"], found["schedule_paused"], found["next_run_at"]) == ("Fresh", None, None)


async def test_a_list_finds_a_view_and_a_table_by_the_whole_name(tenant: Tenant, sources: Path) -> None:
    for name in ("Sales", "sales_by_day"):
        await tenant.create_view(name, "SELECT 1 AS n")
    file = write_parquet(sources / f"names-{tenant.project_id}" / "1.parquet", n=[1])
    await tenant.add_table("orders", file)
    await tenant.add_table("orders_old", file)
    for path, name, expected in (
        (VIEWS, "SALES", ["Sales"]),
        (VIEWS, "sale", []),
        (VIEWS, "orders", []),
        (VIEWS, "", []),
        (VIEWS, "a%00b", []),
        ("/status/", "sales", ["Sales"]),
        ("/warehouse_tables/", "Orders", ["orders"]),
        ("/warehouse_tables/", "sales", []),
    ):
        body = await tenant.call("GET", f"{path}?name={name}")
        assert ([one["name"] for one in body["results"]], body["count"]) == (expected, len(expected)), (path, name)
    assert (await tenant.error("GET", f"{VIEWS}?name={'x' * 129}", status=400))["attr"] == "name"


async def test_the_command_shows_what_is_wrong_and_says_so_by_its_exit_status(stack: DevStack, tenant: Tenant) -> None:
    env = environment(stack, tenant)
    await tenant.materialized("good", "SELECT 1 AS n")
    assert run_matview("status", "--exit-code", env=env).returncode == 0
    await tenant.materialized("bad", "SELECT 'x'::INTEGER AS n")
    assert run_matview("status", env=env).returncode == 0
    shown = run_matview("status", "--exit-code", env=env)
    assert shown.returncode == 1
    assert "2 views: 1 failed, 1 fresh" in shown.stdout
    (line,) = [line for line in shown.stdout.splitlines() if line.startswith("bad ")]
    assert "Failed" in line
    assert "Could not convert string 'x' to INT32" in line
    assert "good at " in shown.stdout
    found = json.loads(run_matview("status", "--json", env=env).stdout)
    assert (found["ok"], found["project"]["id"], len(found["views"])) == (False, tenant.project_id, 2)
