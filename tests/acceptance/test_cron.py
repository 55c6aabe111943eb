"""A view that is refreshed at the moments of a cron expression, from the request to its ticks."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from temporalio.client import (
    Client,
    ScheduleDescription,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from orchestrator.catalog.database import Database
from orchestrator.model.findings import FindingKind
from orchestrator.model.saved_query import SyncFrequency
from orchestrator.temporal import contract
from orchestrator.temporal.schedule_times import times_of
from orchestrator.temporal.schedules import Schedules
from tests.acceptance.reconciling import Reconcile, about, listed
from tests.contract.support import VIEWS, schedule_of
from tests.support.tenants import Json, Tenant, until

POSTHOG_WORDS = {"15min", "30min", "1hour", "6hour", "12hour", "24hour", "7day", "30day", "never"}
BERLIN: Json = {"cron": "0 6 * * 1-5", "time_zone": "Europe/Berlin"}


async def patch(tenant: Tenant, view: Json, **fields: object) -> Json:
    return await tenant.call("PATCH", f"{VIEWS}{view['id']}/", fields)


async def refused(tenant: Tenant, view: Json, **fields: object) -> Json:
    return await tenant.error("PATCH", f"{VIEWS}{view['id']}/", fields, status=400)


def timing(view: Json) -> tuple[str | None, str | None, str | None]:
    return view["sync_frequency"], view["cron"], view["time_zone"]


async def described(temporal: Client, view: Json) -> ScheduleDescription:
    found = await schedule_of(temporal, view["id"])
    assert found is not None
    return found


async def changes(tenant: Tenant, view: Json) -> list[tuple[str, dict[str, tuple[object, object]]]]:
    """The entries of the view's activity, oldest first: the verb, and each field before and after."""
    entries = (await tenant.call("GET", f"{VIEWS}{view['id']}/activity/?limit=50"))["results"]
    return [
        (one["activity"], {each["field"]: (each["before"], each["after"]) for each in one["detail"]["changes"]})
        for one in reversed(entries)
    ]


async def test_a_view_is_materialized_at_the_times_of_a_cron_expression(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    assert timing(view) == (None, None, None)
    shown = await tenant.act(view["id"], "materialize", BERLIN)
    assert timing(shown) == ("24hour", "0 6 * * 1-5", "Europe/Berlin")
    assert shown["sync_frequency"] in POSTHOG_WORDS
    (of_list,) = (await tenant.call("GET", VIEWS))["results"]
    assert timing(of_list) == timing(await tenant.view(view["id"])) == timing(shown)

    schedule = await described(temporal, view)
    assert schedule.schedule.spec.intervals == []
    assert schedule.schedule.spec.time_zone_name == "Europe/Berlin"
    coming = datetime.fromisoformat(shown["next_run_at"])
    assert coming == schedule.info.next_action_times[0]
    there = coming.astimezone(ZoneInfo("Europe/Berlin"))
    assert (there.hour, there.minute, there.second, there.weekday() < 5) == (6, 0, 0, True)
    assert datetime.now(UTC) < coming <= datetime.now(UTC) + timedelta(days=3, hours=1)
    assert "at the cron times 0 6 * * 1-5 (Europe/Berlin)" in (schedule.schedule.state.note or "")
    assert (await tenant.ended(view["id"]))["trigger"] == "first"


async def test_a_changed_cron_expression_changes_the_one_schedule_in_place(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n", "6hour")
    made = (await described(temporal, view)).info.created_at
    for fields, expected in (
        ({"cron": "0 6 * * *"}, ("24hour", "0 6 * * *", "UTC")),
        ({"time_zone": "Asia/Tokyo"}, ("24hour", "0 6 * * *", "Asia/Tokyo")),
        ({"cron": "  15   7 1,15  * MON "}, ("7day", "15 7 1,15 * MON", "Asia/Tokyo")),
        ({"cron": "@hourly", "time_zone": None}, ("1hour", "@hourly", "UTC")),
        ({"sync_frequency": "12hour"}, ("12hour", None, None)),
    ):
        assert timing(await patch(tenant, view, **fields)) == expected
        now = await described(temporal, view)
        assert (now.info.created_at, now.schedule.state.paused) == (made, False), "it is the same schedule"
        spec = now.schedule.spec
        assert (len(spec.calendars), len(spec.intervals)) == (
            (0, 1) if expected[1] is None else (2 if "MON" in expected[1] else 1, 0)
        )
    assert len(await tenant.history(view["id"])) == 1, "a change of the times starts no run"


async def test_never_pauses_a_cron_schedule_and_another_cron_expression_resumes_it(
    tenant: Tenant, temporal: Client
) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    await tenant.act(view["id"], "materialize", BERLIN)
    paused = await patch(tenant, view, sync_frequency="never")
    assert timing(paused) == ("never", "0 6 * * 1-5", "Europe/Berlin")
    assert (paused["schedule_paused"], paused["next_run_at"]) == (True, None)
    assert len((await described(temporal, view)).schedule.spec.calendars) == 1, "its times are kept"
    moved = await patch(tenant, view, time_zone="UTC")
    assert (timing(moved), moved["schedule_paused"]) == (("never", "0 6 * * 1-5", "UTC"), True)
    resumed = await patch(tenant, view, cron="0 6 * * 1-5")
    assert (timing(resumed), resumed["schedule_paused"]) == (("24hour", "0 6 * * 1-5", "UTC"), False)

    await temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"]))).pause(note="by an operator")
    assert (await patch(tenant, view, time_zone="Europe/Rome"))["paused_reason"] == "by an operator"
    kept = await tenant.act(view["id"], "materialize", {"cron": "0 7 * * *"})
    assert (kept["cron"], kept["paused_reason"]) == ("0 7 * * *", "by an operator")
    assert not (await patch(tenant, view, cron="0 7 * * *"))["schedule_paused"], "as a frequency does"


async def test_what_a_client_reads_it_can_send_back(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    await tenant.act(view["id"], "materialize", BERLIN)
    await tenant.ended(view["id"])
    before = await tenant.view(view["id"])
    assert await tenant.call("PUT", f"{VIEWS}{view['id']}/", before) == before
    await patch(tenant, view, sync_frequency="never")
    paused = await tenant.view(view["id"])
    again = await tenant.call("PUT", f"{VIEWS}{view['id']}/", paused)
    assert (timing(again), again["schedule_paused"]) == (timing(paused), True)


async def test_a_reverted_view_has_no_cron_schedule_any_more(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    await tenant.act(view["id"], "materialize", BERLIN)
    assert timing(await tenant.act(view["id"], "revert_materialization")) == (None, None, None)
    assert await schedule_of(temporal, view["id"]) is None
    assert timing(await tenant.act(view["id"], "materialize")) == ("24hour", None, None)
    gone = await patch(tenant, view, deleted=True)
    assert timing(gone) == (None, None, None)


async def test_materializing_again_keeps_the_cron_schedule(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    first = await tenant.act(view["id"], "materialize", BERLIN)
    assert timing(await tenant.act(view["id"], "materialize")) == timing(first)
    assert timing(await tenant.act(view["id"], "materialize", {"cron": None, "time_zone": None})) == timing(first)
    changed = await tenant.act(view["id"], "materialize", {"sync_frequency": "daily"})
    assert timing(changed) == ("24hour", None, None)


async def test_the_activity_log_has_every_change_of_the_times(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    await tenant.act(view["id"], "materialize", BERLIN)
    await patch(tenant, view, cron="0 7 * * 1-5")
    await patch(tenant, view, cron="0 7 * * 1-5")
    await patch(tenant, view, sync_frequency="never")
    await patch(tenant, view, time_zone="UTC")
    await patch(tenant, view, cron="0 7 * * 1-5")
    await patch(tenant, view, sync_frequency="1hour")
    cron, berlin = "0 7 * * 1-5", "Europe/Berlin"
    found = [entry for entry in await changes(tenant, view) if entry[1] and "query" not in entry[1]]
    assert found == [
        (
            "materialization_enabled",
            {"sync_frequency": (None, "24hour"), "cron": (None, "0 6 * * 1-5"), "time_zone": (None, berlin)},
        ),
        ("updated", {"cron": ("0 6 * * 1-5", cron)}),
        ("sync_paused", {"sync_frequency": ("24hour", "never")}),
        ("updated", {"time_zone": (berlin, "UTC")}),
        ("sync_resumed", {"sync_frequency": ("never", "24hour")}),
        ("updated", {"sync_frequency": ("24hour", "1hour"), "cron": (cron, None), "time_zone": ("UTC", None)}),
    ]


@pytest.mark.parametrize(
    ("fields", "attr", "words"),
    [
        ({"cron": "0 6 * *"}, "cron", "4 fields instead of 5"),
        ({"cron": "0 0 6 * * *"}, "cron", "neither seconds nor years"),
        ({"cron": "0 0 30 2 *"}, "cron", "never fires"),
        ({"cron": "* " * 200}, "cron", "at most 128 characters"),
        ({"cron": 6}, "cron", "valid string"),
        ({"cron": "0 6 * * *", "time_zone": "Berlin"}, "time_zone", "Did you mean Europe/Berlin?"),
        ({"cron": "0 6 * * *", "time_zone": "x" * 65}, "time_zone", "at most 64 characters"),
        ({"cron": "0 6 * * *", "sync_frequency": "6hour"}, "sync_frequency", "Send one of them"),
        ({"time_zone": "Europe/Berlin"}, "time_zone", "Send cron with it"),
        ({"sync_frequency": "20min"}, "sync_frequency", "Did you mean 15min?"),
        ({"max_staleness": "2d"}, "max_staleness", "Did you mean 24hour?"),
    ],
)
async def test_times_that_are_refused_change_nothing(tenant: Tenant, fields: Json, attr: str, words: str) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    for error in (
        await refused(tenant, view, **fields, description="not kept"),
        await tenant.error("POST", f"{VIEWS}{view['id']}/materialize/", fields, status=400),
    ):
        assert error["attr"] == attr
        assert words in error["detail"]
    assert await tenant.view(view["id"]) == view


async def test_a_frequency_in_other_words_reads_back_as_one_of_posthogs(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    assert (await tenant.act(view["id"], "materialize", {"sync_frequency": "1h"}))["sync_frequency"] == "1hour"
    shown = await patch(tenant, view, sync_frequency="weekly", freshness="upstream", max_staleness="1d")
    assert (shown["sync_frequency"], shown["max_staleness"]) == ("7day", "24hour")


async def test_a_lost_or_changed_cron_schedule_is_repaired_and_one_that_is_right_is_left_alone(
    tenant: Tenant, temporal: Client, reconcile: Reconcile
) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    await tenant.act(view["id"], "materialize", {"cron": "5-59/7 6,8 1,15 * MON", "time_zone": "Europe/Berlin"})
    await listed(temporal, view["id"])
    right = (await described(temporal, view)).schedule.spec
    assert about(view, await reconcile()) == set(), "the server's own form of the times is no drift"
    listing = (await Schedules(temporal).list_all())[UUID(view["id"])]
    assert listing.times == times_of(right), "so that a schedule that is right is not described at each pass"

    handle = temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"])))
    await handle.delete()
    assert about(view, await reconcile(dry_run=True)) == {FindingKind.SCHEDULE_MISSING}
    assert about(view, await reconcile()) == {FindingKind.SCHEDULE_MISSING}
    assert (await described(temporal, view)).schedule.spec == right
    await listed(temporal, view["id"])
    assert about(view, await reconcile()) == set()

    def hourly(seen: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = seen.description.schedule
        schedule.spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=1))])
        return ScheduleUpdate(schedule=schedule)

    def elsewhere(seen: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = seen.description.schedule
        schedule.spec.time_zone_name = "Asia/Tokyo"
        return ScheduleUpdate(schedule=schedule)

    for change in (hourly, elsewhere):
        await handle.update(change)

        async def found() -> bool:  # the server's list may still have the schedule as it was
            return about(view, await reconcile()) == {FindingKind.SCHEDULE_DRIFTED}

        await until(found, "the drift")
        assert (await described(temporal, view)).schedule.spec == right


async def test_a_time_zone_that_temporal_does_not_know_stops_no_repair_of_other_schedules(
    tenant: Tenant, temporal: Client, database: Database, reconcile: Reconcile
) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    await tenant.act(view["id"], "materialize", BERLIN)
    other = await tenant.materialized("other", "SELECT 1 AS n")

    async def move(zone: str) -> None:
        async with database.begin() as tx:  # as with a server whose database of time zones is older
            await tx.exec_driver_sql(f"UPDATE saved_queries SET time_zone = '{zone}' WHERE id = '{view['id']}'")

    await move("Atlantis/Center")
    await temporal.get_schedule_handle(contract.schedule_id(UUID(other["id"]))).delete()

    async def repaired() -> bool:  # the server's list may still have the schedule at first
        assert about(view, await reconcile()) == {FindingKind.SCHEDULE_DRIFTED}
        return await schedule_of(temporal, other["id"]) is not None

    await until(repaired, "the other schedule")
    assert (await described(temporal, view)).schedule.spec.time_zone_name == "Europe/Berlin"
    await move("Europe/Berlin")
    assert about(view, await reconcile()) == set()


async def test_cron_schedules_that_are_due_together_are_one_generation(tenant: Tenant) -> None:
    first = await tenant.create_view("first", "SELECT now() AS moment")
    second = await tenant.create_view("second", "SELECT moment FROM first")
    zones = ("UTC", "Asia/Tokyo")
    for view, zone in zip((first, second), zones, strict=True):
        body = {"cron": "* * * * *", "time_zone": zone, "run": False}
        await tenant.call("POST", f"{VIEWS}{view['id']}/materialize/", body)

    async def scheduled() -> list[Json] | None:
        runs = [await tenant.history(view["id"]) for view in (first, second)]
        found = [next((run for run in some if run["status"] == "Completed"), None) for some in runs]
        return [run for run in found if run] if all(found) else None

    one, other = await until(scheduled, "runs by the schedules", patience=100)
    assert (one["trigger"], other["trigger"]) == ("schedule", "schedule")
    assert one["generation_id"] == other["generation_id"]
    assert await tenant.rows(first) == await tenant.rows(second)
    begun = datetime.fromisoformat(one["started_at"])
    assert begun.second < 15, "the ticks are at the full minute, without an offset of the project"


async def test_racing_changes_of_the_times_leave_the_schedule_of_the_last(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    bodies: list[Json] = [
        *({"cron": f"{minute} 6 * * *"} for minute in range(6)),
        *({"sync_frequency": frequency} for frequency in ("1hour", "6hour", "never")),
    ]
    await asyncio.gather(*(patch(tenant, view, **body) for body in bodies))
    shown = await tenant.view(view["id"])
    spec = (await described(temporal, view)).schedule.spec
    if shown["cron"] is None:
        assert [one.every for one in spec.intervals] == [SyncFrequency(shown["sync_frequency"]).interval]
    else:
        (calendar,) = spec.calendars
        assert f"{calendar.minute[0].start} 6 * * *" == shown["cron"]
    assert len(spec.intervals) + len(spec.calendars) == 1
