"""The rules of the actions: materialize, revert, run, cancel, run history and resume."""

import json
from uuid import UUID, uuid4

import pytest
from temporalio.client import Client, ScheduleHandle

from orchestrator.temporal import contract
from tests.contract.rules import ACTIONS, JSON
from tests.contract.support import VIEWS, schedule_of
from tests.support.tenants import ENDLESS, Json, Tenant

ONE = "SELECT 1 AS n"
NOT_RUNNING = "Cannot cancel a query that is not running"
# The page of the API lists these fields in the body of every action, where they have no effect.
PAGE: Json = {
    "deleted": True,
    "name": "other",
    "query": {"query": "SELECT 2"},
    "edited_history_id": "x",
    "soft_update": 1,
}


def handle_of(temporal: Client, view: Json) -> ScheduleHandle:
    return temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"])))


async def patch(tenant: Tenant, view: Json, **fields: object) -> Json:
    return await tenant.call("PATCH", f"{VIEWS}{view['id']}/", fields)


async def resume(tenant: Tenant, *ids: str) -> list[str]:
    answer = await tenant.call("POST", f"{VIEWS}resume_schedules/", {"view_ids": list(ids)})
    assert set(answer) == {"resumed"}
    resumed: list[str] = answer["resumed"]
    return resumed


@pytest.mark.parametrize("action", ACTIONS)
async def test_an_action_takes_any_json_object_or_none_at_all_and_heeds_none_of_the_views_fields(
    tenant: Tenant, action: str
) -> None:
    view = await tenant.create_view("v", ENDLESS)
    for content in (b"", b"{}", b'{"anything": [1, {"at": "all"}]}', json.dumps(PAGE).encode()):
        await tenant.act(view["id"], "materialize")
        await tenant.act(view["id"], "run")  # so that there is something to cancel
        answer = await tenant.http.post(f"{VIEWS}{view['id']}/{action}/", content=content, headers=JSON)
        assert answer.status_code == 200, answer.text
    await tenant.act(view["id"], "revert_materialization")
    after = await tenant.view(view["id"])
    assert (after["name"], after["query"], after["deleted"]) == ("v", view["query"], False)


# --- materialize ------------------------------------------------------------------------------------------------------


async def test_materializing_makes_a_schedule_of_24_hours_unless_asked_otherwise_and_starts_a_run_at_once(
    tenant: Tenant, temporal: Client
) -> None:
    for name, body, frequency, seconds in (
        ("daily", None, "24hour", 86_400),
        ("hourly", {"sync_frequency": "1hour"}, "1hour", 3_600),
        ("null", {"sync_frequency": None}, "24hour", 86_400),
    ):
        view = await tenant.create_view(name, ONE)
        answer = await tenant.act(view["id"], "materialize", body)
        assert (answer["is_materialized"], answer["sync_frequency"]) == (True, frequency)
        (run,) = await tenant.history(view["id"])
        assert run["trigger"] == "first"
        schedule = await schedule_of(temporal, view["id"])
        assert schedule is not None
        assert [one.every.total_seconds() for one in schedule.schedule.spec.intervals] == [seconds]
        await tenant.ended(view["id"])


async def test_materializing_again_keeps_the_frequency_the_pause_and_the_one_run(
    tenant: Tenant, temporal: Client
) -> None:
    view = await tenant.materialized("v", ONE, "6hour")
    await handle_of(temporal, view).pause(note="not now")
    again = await tenant.act(view["id"], "materialize")
    assert (again["sync_frequency"], again["schedule_paused"], again["paused_reason"]) == ("6hour", True, "not now")
    assert len(await tenant.history(view["id"])) == 1


async def test_materializing_a_view_set_to_never_leaves_it_so_unless_a_frequency_is_asked_for(tenant: Tenant) -> None:
    view = await tenant.materialized("v", ONE)
    await patch(tenant, view, sync_frequency="never")
    again = await tenant.act(view["id"], "materialize")
    assert (again["sync_frequency"], again["schedule_paused"]) == ("never", True)
    asked = await tenant.act(view["id"], "materialize", {"sync_frequency": "1hour"})
    assert (asked["sync_frequency"], asked["schedule_paused"]) == ("1hour", False)


async def test_materializing_with_never_is_refused(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.create_view("v", ONE)
    path = f"{VIEWS}{view['id']}/materialize/"
    assert (await tenant.error("POST", path, {"sync_frequency": "never"}, status=400))["attr"] == "sync_frequency"
    assert await tenant.view(view["id"]) == view
    assert await schedule_of(temporal, view["id"]) is None


# --- revert -----------------------------------------------------------------------------------------------------------


async def test_reverting_reads_null_where_the_contract_says_so_and_keeps_lineage_and_history(
    tenant: Tenant, temporal: Client
) -> None:
    await tenant.create_view("below", ONE)
    view = await tenant.materialized("v", "SELECT error('no luck ' || n) AS n FROM below", "1hour")
    assert view["latest_error"]
    history = await tenant.history(view["id"])
    plain = await tenant.act(view["id"], "revert_materialization")
    nulls = ("sync_frequency", "last_run_at", "latest_error", "status", "current_snapshot_id", "next_run_at")
    assert {field: plain[field] for field in nulls} == dict.fromkeys(nulls)
    assert plain["is_materialized"] is False
    assert await schedule_of(temporal, view["id"]) is None
    assert await tenant.history(view["id"]) == history
    assert (await tenant.call("GET", f"{VIEWS}{view['id']}/dependencies/"))["upstream_count"] == 1
    assert await tenant.act(view["id"], "revert_materialization") == plain, "as often as one likes"
    assert (await tenant.create_view("over", "SELECT n FROM v"))["columns"][0]["name"] == "n"


async def test_reverting_an_edited_view_that_is_not_materialized_reads_null_too(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ONE)
    await patch(tenant, view, query={"query": "SELECT 2 AS n"}, soft_update=True)
    assert (await tenant.act(view["id"], "revert_materialization"))["status"] is None


# --- run and cancel ---------------------------------------------------------------------------------------------------


async def test_a_view_that_is_not_materialized_cannot_be_run(tenant: Tenant) -> None:
    view = await tenant.materialized("v", ONE)
    await tenant.act(view["id"], "revert_materialization")
    await tenant.error("POST", f"{VIEWS}{view['id']}/run/", status=400)
    assert len(await tenant.history(view["id"])) == 1


@pytest.mark.parametrize("body", [None, {"full_refresh": True}, {"full_refresh": False}])
async def test_a_run_works_on_a_paused_schedule_and_leaves_it_paused(tenant: Tenant, body: Json | None) -> None:
    view = await tenant.materialized("v", ONE)
    await patch(tenant, view, sync_frequency="never")
    ran = await tenant.act(view["id"], "run", body)
    assert (ran["schedule_paused"], ran["sync_frequency"]) == (True, "never")
    run = await tenant.ended(view["id"], 2)
    skipped = body == {"full_refresh": False}  # nothing has changed
    assert (run["status"], run["trigger"]) == ("Skipped" if skipped else "Completed", "api")
    assert (await tenant.view(view["id"]))["schedule_paused"] is True


async def test_a_run_in_progress_is_joined(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    for _ in range(3):
        assert (await tenant.act(view["id"], "run", {"full_refresh": True}))["status"] == "Running"
    assert len(await tenant.history(view["id"])) == 1
    await tenant.act(view["id"], "cancel")


async def test_what_does_not_run_cannot_be_cancelled(tenant: Tenant) -> None:
    plain = await tenant.create_view("plain", ONE)
    done = await tenant.materialized("done", ONE)
    for view in (plain, done):
        said = await tenant.error("POST", f"{VIEWS}{view['id']}/cancel/", status=400)
        assert (said["detail"], said["attr"]) == (NOT_RUNNING, None)
        assert await tenant.view(view["id"]) == view


async def test_a_cancel_answers_cancelled_and_publishes_nothing(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    await tenant.running(view["id"])
    stopped = await tenant.act(view["id"], "cancel")
    assert (stopped["status"], stopped["is_materialized"], stopped["schedule_paused"]) == ("Cancelled", True, False)
    (run,) = await tenant.history(view["id"])
    assert (run["status"], run["snapshot_id"], tenant.files(view)) == ("Cancelled", None, [])
    assert run["timestamp"] == run["finished_at"] == stopped["last_run_at"]


# --- run history ------------------------------------------------------------------------------------------------------


async def test_an_entry_of_the_history_has_the_fields_of_the_contract(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ENDLESS)
    assert await tenant.call("GET", f"{VIEWS}{view['id']}/run_history/") == {"run_history": []}
    await tenant.act(view["id"], "materialize")
    (run,) = await tenant.history(view["id"])
    assert set(run) >= {
        *("status", "timestamp", "id", "started_at", "finished_at", "duration_seconds", "trigger", "rows", "bytes"),
        *("error", "workflow_id", "workflow_run_id", "snapshot_id", "skipped_reason"),
    }
    assert (run["status"], run["timestamp"], run["finished_at"]) == ("Running", run["started_at"], None)
    await tenant.act(view["id"], "cancel")
    (run,) = await tenant.history(view["id"])
    assert run["timestamp"] == run["finished_at"] > run["started_at"]


async def test_the_history_is_of_five_runs_unless_asked_for_up_to_a_hundred(tenant: Tenant) -> None:
    view = await tenant.materialized("v", ONE)
    for runs in range(2, 7):
        await tenant.act(view["id"], "run")
        await tenant.ended(view["id"], runs)
    path = f"{VIEWS}{view['id']}/run_history/"
    six = (await tenant.call("GET", f"{path}?limit=100"))["run_history"]
    assert len(six) == 6
    assert (await tenant.call("GET", path))["run_history"] == six[:5]
    assert (await tenant.call("GET", f"{path}?limit=1"))["run_history"] == six[:1]
    for limit in ("0", "-1", "101", "x", ""):
        assert (await tenant.error("GET", f"{path}?limit={limit}", status=400))["attr"] == "limit"


# --- resume -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, b"", b"{}", b'{"view_ids": null}', b'{"view_ids": []}'])
async def test_without_a_list_of_ids_there_is_nothing_to_resume(tenant: Tenant, body: bytes | None) -> None:
    answer = await tenant.http.post(f"{VIEWS}resume_schedules/", content=body, headers=JSON)
    said = answer.json()
    assert (answer.status_code, said["detail"], said["attr"]) == (400, "view_ids is required", "view_ids")


@pytest.mark.parametrize("ids", ["x", 7, {}, ["x"], [None], [1], [[]]])
async def test_what_are_no_ids_are_refused(tenant: Tenant, ids: object) -> None:
    said = await tenant.error("POST", f"{VIEWS}resume_schedules/", {"view_ids": ids}, status=400)
    assert said["attr"].startswith("view_ids")


async def test_resuming_is_of_paused_schedules_each_once_however_often_and_however_it_is_named(
    tenant: Tenant, temporal: Client
) -> None:
    paused = await tenant.materialized("paused", ONE)
    never = await tenant.materialized("never", ONE)
    plain = await tenant.create_view("plain", ONE)
    gone = await tenant.create_view("gone", ONE)
    await tenant.call("DELETE", f"{VIEWS}{gone['id']}/", expect=204)
    await patch(tenant, never, sync_frequency="never")
    await handle_of(temporal, paused).pause(note="not now")
    spelled = [paused["id"], paused["id"], paused["id"].upper(), paused["id"].replace("-", "")]
    others = [never["id"], plain["id"], gone["id"], str(uuid4())]
    assert await resume(tenant, *spelled, *others) == [paused["id"]]
    assert (await tenant.view(paused["id"]))["schedule_paused"] is False
    assert (await tenant.view(never["id"]))["schedule_paused"] is True
    assert await resume(tenant, *spelled, *others) == []
    assert len(await tenant.history(paused["id"])) == 1, "it starts no run"
