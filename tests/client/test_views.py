"""The view tools of PostHog's own client, each checked by its effect in the API."""

import asyncio
from dataclasses import replace
from uuid import uuid4

from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from tests.client.support import Client
from tests.support.tenants import Tenant, a_tenant

ONE = {"kind": "HogQLQuery", "query": "SELECT 1 AS n"}
TWO = {"kind": "HogQLQuery", "query": "SELECT 2 AS n"}


async def test_a_view_is_created_and_created_again_as_an_update(client: Client, tenant: Tenant) -> None:
    said = await client.call("view-create", name="sales.daily", query=ONE, description="first", is_test=False)
    view = await tenant.view(said["id"])
    assert {name: said[name] for name in view} == view
    assert (view["name"], view["query"], view["description"]) == ("sales.daily", ONE, "first")

    again = await client.call("view-create", name="sales.daily", query=ONE, description="second")
    assert again["id"] == view["id"]
    assert (await tenant.view(view["id"]))["description"] == "second"


async def test_a_view_that_is_refused_says_why(client: Client, tenant: Tenant) -> None:
    name, query = await asyncio.gather(
        client.attempt("view-create", name="1st", query=ONE),
        client.attempt("view-create", name="v", query={"query": "SELECT nothing FROM nowhere"}),
    )
    name.refused("1st is not a valid view name.")
    query.refused("Invalid query: ", "nowhere")
    assert (await tenant.call("GET", "/warehouse_saved_queries/"))["count"] == 0


async def test_views_are_listed_searched_and_shown(client: Client, tenant: Tenant) -> None:
    first = await tenant.create_view("apples", "SELECT 1 AS n")
    second = await tenant.create_view("pears", "SELECT 1 AS n")
    everything, found, shown, unknown = await asyncio.gather(
        client.call("view-list"),
        client.call("view-list", search="APP", page=1),
        client.call("view-get", id=first["id"]),
        client.attempt("view-get", id=str(uuid4())),
    )
    assert [view["id"] for view in everything["results"]] == [second["id"], first["id"]]
    assert [view["name"] for view in found["results"]] == ["apples"]
    assert {name: shown[name] for name in first} == first
    unknown.refused("404", "Not found.")


async def test_an_update_of_the_query_needs_the_latest_history_id(client: Client, tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    missing, stale = await asyncio.gather(
        client.attempt("view-update", id=view["id"], query=TWO),
        client.attempt("view-update", id=view["id"], query=TWO, edited_history_id=str(uuid4())),
    )
    for refused in (missing, stale):
        refused.refused("Validation error: The query was modified by someone else.")
    assert await tenant.view(view["id"]) == view

    said = await client.call("view-update", id=view["id"], query=TWO, edited_history_id=view["latest_history_id"])
    now = await tenant.view(view["id"])
    assert now["query"] == TWO
    assert said["latest_history_id"] == now["latest_history_id"] != view["latest_history_id"]


async def test_an_update_of_anything_else_does_not(client: Client, tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await client.call("view-update", id=view["id"], name="w", description="better", sync_frequency="6hour")
    now = await tenant.view(view["id"])
    assert (now["name"], now["description"], now["sync_frequency"]) == ("w", "better", "6hour")
    assert now["latest_history_id"] == view["latest_history_id"]

    await client.call("view-update", id=view["id"], sync_frequency="never")
    now = await tenant.view(view["id"])
    assert (now["sync_frequency"], now["schedule_paused"]) == ("never", True)


async def test_a_view_is_materialized_daily_or_as_asked(client: Client, tenant: Tenant) -> None:
    daily = await tenant.create_view("daily", "SELECT 1 AS n")
    hourly = await tenant.create_view("hourly", "SELECT 2 AS n")
    await asyncio.gather(
        client.call("view-materialize", id=daily["id"]),
        client.call("view-materialize", id=hourly["id"], sync_frequency="1hour"),
    )
    for view, frequency, rows in ((daily, "24hour", [{"n": 1}]), (hourly, "1hour", [{"n": 2}])):
        await tenant.ended(view["id"])
        now = await tenant.view(view["id"])
        assert (now["is_materialized"], now["sync_frequency"], now["status"]) == (True, frequency, "Completed")
        assert await tenant.rows(now) == rows


async def test_a_view_with_a_cron_schedule_is_one_that_the_client_knows_how_to_read_and_to_change(
    client: Client, tenant: Tenant
) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    await tenant.act(view["id"], "materialize", {"cron": "0 6 * * 1-5", "time_zone": "Europe/Berlin"})
    await tenant.ended(view["id"])
    shown, listed = await asyncio.gather(client.call("view-get", id=view["id"]), client.call("view-list"))
    assert (shown["sync_frequency"], shown["is_materialized"]) == ("24hour", True)
    assert listed["results"][0]["sync_frequency"] == "24hour"
    await client.call("view-update", id=view["id"], description="better")
    assert (await tenant.view(view["id"]))["cron"] == "0 6 * * 1-5", "a change of another field keeps it"
    await client.call("view-update", id=view["id"], sync_frequency="never")
    paused = await client.call("view-get", id=view["id"])
    assert (paused["sync_frequency"], paused["cron"]) == ("never", "0 6 * * 1-5")
    await client.call("view-materialize", id=view["id"])
    now = await tenant.view(view["id"])
    assert (now["sync_frequency"], now["cron"], now["schedule_paused"]) == ("24hour", None, False), (
        "the client sends 24hour unless it is given another frequency"
    )


async def test_a_run_is_started_and_seen_in_the_history(client: Client, tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    plain = await tenant.create_view("plain", "SELECT 1 AS n")
    _, refused = await asyncio.gather(
        client.call("view-run", id=view["id"], full_refresh=True), client.attempt("view-run", id=plain["id"])
    )
    refused.refused("400", "This view is not materialized.")
    run = await tenant.ended(view["id"], runs=2)
    assert (run["status"], run["trigger"]) == ("Completed", "api")

    reported = await client.call("view-run-history", id=view["id"])
    assert reported["run_history"] == await tenant.history(view["id"])


async def test_a_view_is_unmaterialized(client: Client, tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n", "1hour")
    await client.call("view-unmaterialize", id=view["id"], name="v", query=TWO)  # the tool requires name and query
    now = await tenant.view(view["id"])
    assert [now[name] for name in ("is_materialized", "sync_frequency", "status", "last_run_at")] == [
        False,
        *[None] * 3,
    ]
    assert now["query"] == view["query"]
    assert now["next_run_at"] is None
    assert len(await tenant.history(view["id"])) == 1


async def test_a_view_is_deleted_once_that_is_confirmed(client: Client, tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    unconfirmed = await client.attempt("view-delete", id=view["id"])
    unconfirmed.refused("is destructive")
    assert await tenant.view(view["id"]) == view

    await client.call("view-delete", "--confirm", id=view["id"])
    await tenant.error("GET", f"/warehouse_saved_queries/{view['id']}/", status=404)
    again = await tenant.create_view("v", "SELECT 1 AS n")
    assert again["id"] != view["id"]


async def test_a_view_that_others_read_is_not_deleted(client: Client, tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    await tenant.create_view("reader", "SELECT n FROM v")
    refused = await client.attempt("view-delete", "--confirm", id=view["id"])
    refused.refused("Cannot delete this view because other views depend on it: reader.")
    assert await tenant.view(view["id"]) == view


async def test_a_wrong_key_and_one_without_the_scope_are_refused_as_that(client: Client, stack: DevStack) -> None:
    async with a_tenant(stack, Scope.VIEW_READ) as reader:
        limited = replace(client, token=reader.token, project_id=reader.project_id)
        stranger = replace(client, token=reader.token + "x")
        wrong, scopeless, elsewhere = await asyncio.gather(
            stranger.attempt("view-list"),
            limited.attempt("view-create", name="v", query=ONE),
            replace(limited, project_id=client.project_id).attempt("view-list"),
        )
        wrong.refused("INVALID_API_KEY: Invalid personal API key.")
        scopeless.refused("Missing PostHog API scope: 'warehouse_view:write'")
        elsewhere.refused("API key does not have access to the requested project.")
        assert (await reader.call("GET", "/warehouse_saved_queries/"))["count"] == 0, "it works, and lacks the scope"
