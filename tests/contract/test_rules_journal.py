"""The rules of the activity log: who did what to a view, also to a deleted one."""

from uuid import UUID

from temporalio.client import Client

from orchestrator.temporal import contract
from tests.contract.support import VIEWS
from tests.support.tenants import ENDLESS, Json, Tenant

ONE = "SELECT 1 AS n"


async def patch(tenant: Tenant, view: Json, **fields: object) -> Json:
    return await tenant.call("PATCH", f"{VIEWS}{view['id']}/", fields)


async def entries(tenant: Tenant, view: Json) -> list[Json]:
    """All entries about a view, the oldest first."""
    body = await tenant.call("GET", f"{VIEWS}{view['id']}/activity/?limit=100")
    found: list[Json] = body["results"]
    return found[::-1]


async def verbs(tenant: Tenant, view: Json) -> list[str]:
    return [entry["activity"] for entry in await entries(tenant, view)]


async def test_an_entry_has_exactly_the_fields_of_the_contract(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ONE)
    page = await tenant.call("GET", f"{VIEWS}{view['id']}/activity/")
    assert set(page) == {"results", "next", "previous", "total_count"}
    assert (page["total_count"], page["next"], page["previous"]) == (1, None, None)
    (entry,) = page["results"]
    assert set(entry) == {"id", "user", "activity", "scope", "item_id", "detail", "created_at"}
    assert str(UUID(entry["id"])) == entry["id"]
    assert (entry["item_id"], entry["scope"], entry["activity"]) == (view["id"], "DataWarehouseSavedQuery", "created")
    assert {"first_name", "last_name", "email"} <= set(entry["user"])
    assert entry["user"]["email"] == view["created_by"]["email"]
    change = {"type": "DataWarehouseSavedQuery", "action": "created", "field": "query", "before": None}
    assert entry["detail"] == {"name": "v", "changes": [change | {"after": view["query"]}]}


async def test_pages_are_of_ten_newest_first_unless_asked_otherwise(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ONE)
    for number in range(11):
        await patch(tenant, view, description=f"number {number}")
    path = f"{VIEWS}{view['id']}/activity/"
    first = await tenant.call("GET", path)
    assert (len(first["results"]), first["total_count"], first["previous"]) == (10, 12, None)
    second = (await tenant.http.get(first["next"])).json()
    assert (len(second["results"]), second["next"]) == (2, None)
    assert (await tenant.http.get(second["previous"])).json() == first
    whole = await tenant.call("GET", f"{path}?limit=12")
    assert whole["results"] == first["results"] + second["results"]
    moments = [entry["created_at"] for entry in whole["results"]]
    assert moments == sorted(moments, reverse=True)
    assert (await tenant.call("GET", f"{path}?limit=1&page=12"))["results"] == second["results"][1:]


async def test_a_change_that_changes_nothing_is_not_recorded(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ONE, description="d")
    same: Json = {"name": "v", "description": "d", "query": view["query"], "sync_frequency": "never", "deleted": False}
    for body in ({}, same, {"soft_update": True}, {"edited_history_id": view["latest_history_id"]}, {"unknown": 1}):
        assert await patch(tenant, view, **body) == view
    assert await tenant.create_view("v", ONE, expect=200) == view | {"query": view["query"]}
    await tenant.act(view["id"], "revert_materialization")
    assert await verbs(tenant, view) == ["created"]


async def test_the_activity_of_a_deleted_view_stays_and_ends_with_its_deletion(tenant: Tenant) -> None:
    for delete in (True, False):
        view = await tenant.create_view("v", ONE)
        await patch(tenant, view, name="w")
        if delete:
            await tenant.call("DELETE", f"{VIEWS}{view['id']}/", expect=204)
        else:
            await patch(tenant, view, deleted=True)
        reported = await entries(tenant, view)
        assert [entry["activity"] for entry in reported] == ["created", "updated", "deleted"]
        assert [entry["detail"]["name"] for entry in reported] == ["v", "v", "w"]


async def test_runs_cancels_and_reverts_have_verbs_of_their_own(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    await tenant.act(view["id"], "run")  # joins the first run, and so makes no entry
    await tenant.act(view["id"], "cancel")
    await tenant.act(view["id"], "run")
    await tenant.act(view["id"], "cancel")
    await tenant.act(view["id"], "revert_materialization")
    reported = ["created", "materialization_enabled", "sync_cancelled", "sync_triggered", "sync_cancelled"]
    assert await verbs(tenant, view) == [*reported, "materialization_disabled"]
    enabled, disabled = [(await entries(tenant, view))[index]["detail"]["changes"] for index in (1, -1)]
    assert [(one["field"], one["before"], one["after"]) for one in enabled] == [("sync_frequency", None, "24hour")]
    assert [(one["field"], one["before"], one["after"]) for one in disabled] == [("sync_frequency", "24hour", None)]


async def test_a_resumed_schedule_has_an_entry(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.materialized("v", ONE)
    await temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"]))).pause(note="not now")
    for _ in range(2):
        await tenant.call("POST", f"{VIEWS}resume_schedules/", {"view_ids": [view["id"]]})
    assert await verbs(tenant, view) == ["created", "materialization_enabled", "sync_resumed"]


async def test_a_changed_frequency_is_recorded_with_what_it_was(tenant: Tenant) -> None:
    view = await tenant.materialized("v", ONE, "6hour")
    await patch(tenant, view, sync_frequency="1hour")
    (change,) = (await entries(tenant, view))[-1]["detail"]["changes"]
    assert (change["field"], change["before"], change["after"]) == ("sync_frequency", "6hour", "1hour")


async def test_a_frequency_that_materializes_a_view_is_recorded_as_materialization_enabled(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ONE)
    await patch(tenant, view, sync_frequency="1hour")
    await tenant.ended(view["id"])
    assert "materialization_enabled" in await verbs(tenant, view)


async def test_a_frequency_of_never_is_recorded_as_sync_paused(tenant: Tenant) -> None:
    view = await tenant.materialized("v", ONE)
    await patch(tenant, view, sync_frequency="never")
    assert "sync_paused" in await verbs(tenant, view)


async def test_a_frequency_that_lifts_never_is_recorded_as_sync_resumed(tenant: Tenant) -> None:
    view = await tenant.materialized("v", ONE)
    await patch(tenant, view, sync_frequency="never")
    await patch(tenant, view, sync_frequency="1hour")
    assert "sync_resumed" in await verbs(tenant, view)
