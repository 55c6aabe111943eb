"""Changing and deleting views, reverting materialization, and the entries of these in the activity log."""

from pathlib import Path
from uuid import UUID, uuid4

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from orchestrator.temporal import contract
from tests.support.tenants import ENDLESS, Json, Tenant, a_tenant, write_parquet

VIEWS, TABLES = "/warehouse_saved_queries/", "/warehouse_tables/"


async def has_schedule(temporal: Client, view: Json) -> bool:
    try:
        await temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"]))).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def patch(tenant: Tenant, view: Json, **fields: object) -> Json:
    return await tenant.call("PATCH", f"{VIEWS}{view['id']}/", fields)


async def refused(tenant: Tenant, view: Json, **fields: object) -> Json:
    return await tenant.error("PATCH", f"{VIEWS}{view['id']}/", fields, status=400)


async def journal(tenant: Tenant, view: Json) -> list[Json]:
    body = await tenant.call("GET", f"{VIEWS}{view['id']}/activity/?limit=100")
    assert body["total_count"] == len(body["results"])
    entries: list[Json] = body["results"]
    return entries


async def test_a_change_of_the_query_needs_the_latest_history_id_and_gives_a_new_one(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    query = {"kind": "HogQLQuery", "query": "SELECT 2 AS m"}
    for token in ({}, {"edited_history_id": None}, {"edited_history_id": str(uuid4())}):
        said = await refused(tenant, view, query=query, **token)
        assert said["detail"] == "The query was modified by someone else."
    assert await tenant.view(view["id"]) == view

    edited = await patch(tenant, view, query=query, edited_history_id=view["latest_history_id"].upper())
    assert edited["status"] == "Modified"
    assert [column["name"] for column in edited["columns"]] == ["m"]
    assert edited["latest_history_id"] != view["latest_history_id"]
    again = await patch(tenant, view, query=query)
    assert again["latest_history_id"] == edited["latest_history_id"], "the same query is no new revision"
    other = {"query": "SELECT 3 AS m"}
    await refused(tenant, view, query=other, edited_history_id=view["latest_history_id"])
    soft = await patch(tenant, view, query=other, soft_update=True)
    assert soft["query"] == other


async def test_a_put_changes_a_view_as_a_patch_does(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    changed = await tenant.call("PUT", f"{VIEWS}{view['id']}/", {"name": "w", "description": "d"})
    assert (changed["name"], changed["description"], changed["query"]) == ("w", "d", view["query"])


async def test_a_rename_keeps_the_history_id_and_the_status_and_frees_the_old_name(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    renamed = await patch(tenant, view, name="w")
    assert (renamed["name"], renamed["latest_history_id"]) == ("w", view["latest_history_id"])
    assert renamed["status"] == "Completed"
    assert (await tenant.create_view("v", "SELECT n FROM w"))["id"] != view["id"]
    assert (await patch(tenant, view, name="W"))["name"] == "W", "another spelling of the same name"


async def test_a_rename_that_would_break_other_views_is_refused_and_they_are_named(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    await tenant.create_view("b", "SELECT n FROM v")
    await tenant.create_view("a", "SELECT n FROM v")
    said = await refused(tenant, view, name="w", description="not kept either")
    assert said["detail"] == "Cannot rename this view because other views depend on it: a, b."
    assert await tenant.view(view["id"]) == view


async def test_a_rename_to_a_taken_or_bad_name_is_refused(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    await tenant.create_view("taken", "SELECT 1 AS n")
    assert (await refused(tenant, view, name="TAKEN"))["attr"] == "name"
    assert (await refused(tenant, view, name="1x"))["attr"] == "name"
    assert (await refused(tenant, view, name=""))["attr"] == "name"


async def test_a_change_that_closes_a_cycle_is_refused_with_its_path(tenant: Tenant) -> None:
    a = await tenant.create_view("a", "SELECT 1 AS n")
    await tenant.create_view("b", "SELECT n FROM a")
    said = await refused(tenant, a, query={"query": "SELECT n FROM b"}, soft_update=True)
    assert said["detail"] == "Model contains a cycle: a -> b -> a"


async def test_a_frequency_that_is_set_materializes_a_plain_view(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    assert (await patch(tenant, view, sync_frequency="never"))["sync_frequency"] is None
    assert (await patch(tenant, view, sync_frequency=None))["sync_frequency"] is None
    assert not await has_schedule(temporal, view)
    changed = await patch(tenant, view, sync_frequency="6hour")
    assert (changed["is_materialized"], changed["sync_frequency"]) == (True, "6hour")
    assert (await tenant.ended(view["id"]))["trigger"] == "first"


async def test_never_pauses_the_schedule_and_any_other_frequency_resumes_it(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    paused = await patch(tenant, view, sync_frequency="never")
    assert (paused["sync_frequency"], paused["is_materialized"], paused["schedule_paused"]) == ("never", True, True)
    assert "never" in paused["paused_reason"]
    assert paused["next_run_at"] is None
    resumed = await patch(tenant, view, sync_frequency="1hour")
    assert (resumed["sync_frequency"], resumed["schedule_paused"]) == ("1hour", False)
    await temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"]))).pause(note="an operator")
    assert not (await patch(tenant, view, sync_frequency="1hour"))["schedule_paused"]
    assert len(await tenant.history(view["id"])) == 1, "none of this starts a run"
    assert (await refused(tenant, view, sync_frequency=None))["attr"] == "sync_frequency"
    assert (await refused(tenant, view, sync_frequency="fortnight"))["attr"] == "sync_frequency"


async def test_a_deleted_view_is_gone_with_its_schedule_and_its_name_is_free(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    assert await has_schedule(temporal, view)
    await tenant.call("DELETE", f"{VIEWS}{view['id']}/", expect=204)
    await tenant.error("GET", f"{VIEWS}{view['id']}/", status=404)
    await tenant.error("DELETE", f"{VIEWS}{view['id']}/", status=404)
    assert (await tenant.call("GET", VIEWS))["count"] == 0
    assert not await has_schedule(temporal, view)
    assert (await tenant.create_view("v", "SELECT 2 AS n"))["id"] != view["id"]
    assert (await journal(tenant, view))[0]["activity"] == "deleted"


async def test_deleted_true_deletes_as_the_official_client_does(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    gone = await patch(tenant, view, deleted=True)
    assert (gone["id"], gone["deleted"], gone["is_materialized"]) == (view["id"], True, False)
    await tenant.error("GET", f"{VIEWS}{view['id']}/", status=404)
    assert not await has_schedule(temporal, view)


async def test_a_view_that_others_read_is_not_deleted_and_they_are_named(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    reader = await tenant.create_view("a", "SELECT n FROM v")
    await tenant.create_view("b", "SELECT n FROM v")
    said = await tenant.error("DELETE", f"{VIEWS}{view['id']}/", status=400)
    assert said["detail"] == "Cannot delete this view because other views depend on it: a, b."
    assert (await refused(tenant, view, deleted=True))["detail"] == said["detail"]
    assert await tenant.view(view["id"]) == view
    await tenant.call("DELETE", f"{VIEWS}{reader['id']}/", expect=204)
    assert "b." in (await refused(tenant, view, deleted=True))["detail"]


async def test_deleting_a_running_view_stops_its_query_and_publishes_nothing(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    await tenant.running(view["id"])
    await tenant.call("DELETE", f"{VIEWS}{view['id']}/", expect=204)
    run = await temporal.get_workflow_handle(contract.run_workflow_id(UUID(view["id"]))).describe()
    assert run.close_time is not None
    assert tenant.files(view) == []
    assert tenant.staged() == []


async def test_reverting_makes_a_plain_view_of_it_and_keeps_its_history(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await tenant.create_view("reader", "SELECT n FROM v")
    plain = await tenant.act(view["id"], "revert_materialization")
    empty = ("sync_frequency", "last_run_at", "latest_error", "status", "current_snapshot_id", "row_count")
    assert {field: plain[field] for field in empty} == dict.fromkeys(empty)
    assert not plain["is_materialized"]
    assert not await has_schedule(temporal, view)
    assert len(await tenant.history(view["id"])) == 1
    again = await tenant.act(view["id"], "revert_materialization")
    assert again == plain
    assert (await tenant.call("GET", f"{VIEWS}{view['id']}/dependencies/"))["downstream_count"] == 1
    over = await tenant.materialized("over", "SELECT n FROM v")
    assert await tenant.rows(over) == [{"n": 1}]
    back = await tenant.act(view["id"], "materialize")
    assert back["is_materialized"]
    assert (await tenant.ended(view["id"], 2))["trigger"] == "first"


async def test_reverting_a_running_view_stops_its_query(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    await tenant.running(view["id"])
    plain = await tenant.act(view["id"], "revert_materialization", {"any": "object"})
    assert (plain["status"], plain["is_materialized"]) == (None, False)
    assert [run["status"] for run in await tenant.history(view["id"])] == ["Cancelled"]


async def test_paused_schedules_are_resumed_and_everything_else_is_passed_over(
    stack: DevStack, tenant: Tenant, temporal: Client
) -> None:
    paused = [await tenant.materialized(f"paused_{n}", "SELECT 1 AS n") for n in range(2)]
    running = await tenant.materialized("running", "SELECT 1 AS n")
    never = await tenant.materialized("never", "SELECT 1 AS n")
    plain = await tenant.create_view("plain", "SELECT 1 AS n")
    await patch(tenant, never, sync_frequency="never")
    for view in paused:
        await temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"]))).pause(note="an operator")
    async with a_tenant(stack) as other:
        foreign = await other.materialized("foreign", "SELECT 1 AS n")
        handle = temporal.get_schedule_handle(contract.schedule_id(UUID(foreign["id"])))
        await handle.pause(note="theirs")
        ids = [view["id"] for view in (*paused, running, never, plain, foreign)] + [str(uuid4())]
        body = await tenant.call("POST", f"{VIEWS}resume_schedules/", {"view_ids": ids})
        assert sorted(body["resumed"]) == sorted(view["id"] for view in paused)
        assert (await handle.describe()).schedule.state.paused
    assert not (await tenant.view(paused[0]["id"]))["schedule_paused"]
    assert (await tenant.view(never["id"]))["schedule_paused"]
    assert await tenant.call("POST", f"{VIEWS}resume_schedules/", {"view_ids": ids}) == {"resumed": []}


async def test_resume_schedules_wants_a_list_of_ids(tenant: Tenant) -> None:
    wrong: list[Json] = [{}, {"view_ids": []}, {"view_ids": None}]
    for body in wrong:
        said = await tenant.error("POST", f"{VIEWS}resume_schedules/", body, status=400)
        assert (said["detail"], said["attr"]) == ("view_ids is required", "view_ids")
    for ids in (["nope"], "nope", [1]):
        await tenant.error("POST", f"{VIEWS}resume_schedules/", {"view_ids": ids}, status=400)


async def test_the_journal_tells_who_did_what_with_every_field_before_and_after(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    query = {"query": "SELECT 2 AS n"}
    await patch(tenant, view, query=query, soft_update=True, description="d", name="w")
    await patch(tenant, view, description="d", name="w", query=query)
    await tenant.act(view["id"], "materialize")
    await tenant.ended(view["id"])
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)
    await patch(tenant, view, sync_frequency="1hour")
    await tenant.act(view["id"], "revert_materialization")
    await tenant.call("DELETE", f"{VIEWS}{view['id']}/", expect=204)

    entries = await journal(tenant, view)
    assert [entry["activity"] for entry in entries] == [
        "deleted",
        "materialization_disabled",
        "updated",
        "sync_triggered",
        "materialization_enabled",
        "updated",
        "created",
    ]
    created, edited, enabled = entries[6], entries[5], entries[4]
    assert created["user"]["email"] == "tester@example.com"
    (change,) = created["detail"]["changes"]
    assert (change["field"], change["action"], change["before"], change["after"]) == (
        "query",
        "created",
        None,
        view["query"],
    )
    reported = {change["field"]: (change["before"], change["after"]) for change in edited["detail"]["changes"]}
    assert reported == {"query": (view["query"], query), "description": (None, "d"), "name": ("v", "w")}
    (change,) = enabled["detail"]["changes"]
    assert (change["field"], change["before"], change["after"]) == ("sync_frequency", None, "24hour")
    assert {entry["item_id"] for entry in entries} == {view["id"]}
    assert {entry["scope"] for entry in entries} == {"DataWarehouseSavedQuery"}


async def test_the_journal_comes_in_pages_and_needs_its_own_scope(stack: DevStack, tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    for number in range(12):
        await patch(tenant, view, description=str(number))
    first = await tenant.call("GET", f"{VIEWS}{view['id']}/activity/")
    assert (first["total_count"], len(first["results"]), first["previous"]) == (13, 10, None)
    second = (await tenant.http.get(first["next"])).json()
    assert (len(second["results"]), second["next"]) == (3, None)
    await tenant.error("GET", f"{VIEWS}{uuid4()}/activity/", status=404)
    async with a_tenant(stack, Scope.VIEW_WRITE) as writer:
        own = await writer.create_view("v", "SELECT 1 AS n")
        said = await writer.error("GET", f"{VIEWS}{own['id']}/activity/", status=403)
        assert "activity_log:read" in said["detail"]


async def relatives(tenant: Tenant, view: Json, which: str, body: object = None) -> set[str]:
    found = await tenant.call("POST", f"{VIEWS}{view['id']}/{which}/", body)
    return set(found[which])


async def test_ancestors_and_descendants_are_those_a_way_of_exactly_so_many_steps_leads_to(
    tenant: Tenant, sources: Path
) -> None:
    await tenant.add_table("events", write_parquet(sources / "lineage.parquet", a=[1]))
    a = await tenant.create_view("a", "SELECT a AS n FROM events")
    b = await tenant.create_view("b", "SELECT n FROM a JOIN events ON events.a = n")
    c = await tenant.create_view("c", "WITH events AS (SELECT 1) SELECT b.n FROM b, a, events")
    ids = [view["id"] for view in (a, b, c)]
    assert await relatives(tenant, a, "ancestors") == {"events"}
    assert await relatives(tenant, b, "ancestors") == {ids[0], "events"}
    assert await relatives(tenant, c, "ancestors", {"level": 1}) == {ids[0], ids[1]}
    assert await relatives(tenant, c, "ancestors", {"level": 2}) == {ids[0], "events"}
    assert await relatives(tenant, c, "ancestors", {"level": 3}) == {"events"}
    assert await relatives(tenant, c, "ancestors", {"level": 4}) == set()
    assert await relatives(tenant, c, "ancestors", {"level": 10**9}) == set()
    assert await relatives(tenant, c, "ancestors", {"level": "all"}) == {ids[0], ids[1], "events"}
    assert await relatives(tenant, a, "descendants") == {ids[1], ids[2]}
    assert await relatives(tenant, a, "descendants", {"level": 2}) == {ids[2]}
    assert await relatives(tenant, a, "descendants", {"level": "all"}) == {ids[1], ids[2]}
    assert await relatives(tenant, c, "descendants") == set()
    counts = [await tenant.call("GET", f"{VIEWS}{view}/dependencies/") for view in ids]
    assert [(count["upstream_count"], count["downstream_count"]) for count in counts] == [(1, 2), (2, 1), (2, 0)]
    for level in (0, -1, "x", 1.5, True, "2"):
        await tenant.error("POST", f"{VIEWS}{ids[0]}/ancestors/", {"level": level}, status=400)


async def test_lineage_follows_an_edit(tenant: Tenant) -> None:
    await tenant.create_view("a", "SELECT 1 AS n")
    b = await tenant.create_view("b", "SELECT n FROM a")
    await patch(tenant, b, query={"query": "SELECT 2 AS n"}, soft_update=True)
    assert await relatives(tenant, b, "ancestors") == set()


async def test_a_table_is_changed_and_its_columns_are_read_anew(tenant: Tenant, sources: Path) -> None:
    path = write_parquet(sources / "changing" / "1.parquet", a=[1])
    table = await tenant.add_table("t", path)
    write_parquet(path, a=[1], b=["x"])
    fresh = await tenant.call("POST", f"{TABLES}{table['id']}/refresh_schema/")
    assert [column["name"] for column in fresh["columns"]] == ["a", "b"]
    other = write_parquet(sources / "changing" / "2.parquet", c=[1.5])
    changed = await tenant.call("PATCH", f"{TABLES}{table['id']}/", {"url_pattern": str(other), "name": "u"})
    assert (changed["name"], [column["type"] for column in changed["columns"]]) == ("u", ["float"])
    await tenant.create_view("v", "SELECT c FROM u")
    said = await tenant.error("PATCH", f"{TABLES}{table['id']}/", {"name": "w"}, status=400)
    assert "other views" not in said["detail"]
    assert said["detail"].endswith("views depend on it: v.")
    await tenant.error("PATCH", f"{TABLES}{table['id']}/", {"url_pattern": "/etc/passwd"}, status=400)
    assert {**await tenant.call("GET", f"{TABLES}{table['id']}/"), "changes": changed["changes"]} == changed


async def test_a_credential_is_never_shown(tenant: Tenant, sources: Path) -> None:
    body = {
        "name": "t",
        "format": "Parquet",
        "url_pattern": str(write_parquet(sources / "secret.parquet", a=[1])),
        "credential": {"access_key": "AKIA-visible", "access_secret": "hunter2"},
    }
    table = await tenant.call("POST", TABLES, body, expect=201)
    shown = str(table) + str(await tenant.call("GET", TABLES))
    assert "hunter2" not in shown
    assert "AKIA" not in shown
