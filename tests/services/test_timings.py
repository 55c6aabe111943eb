"""How a request changes the timing of a view, field by field."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.model.cron import CronSchedule
from orchestrator.model.errors import Invalid
from orchestrator.model.saved_query import Revision, SavedQuery, SyncFrequency, Timing
from orchestrator.services.timings import TimingUpdate, timing_after

NEVER = SyncFrequency.NEVER
HOURLY = Timing(frequency=SyncFrequency.HOUR_1)
BERLIN = CronSchedule(expression="0 6 * * *", time_zone="Europe/Berlin")
AT_SIX = Timing(frequency=SyncFrequency.HOUR_24, cron=BERLIN)
PAUSED = Timing(frequency=NEVER, cron=BERLIN)


def after(present: Timing | None, **fields: Any) -> Timing | None:
    """The timing of a view that has `present`, after a request with these fields."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    view = SavedQuery(
        id=uuid4(),
        project_id=1,
        name="v",
        description=None,
        revision=Revision(id=uuid4(), number=1, query={"query": "SELECT 1"}, created_at=moment),
        columns=(),
        sync_frequency=present.frequency if present else None,
        sync_frequency_set_at=moment,
        cron=present.cron if present else None,
        created_by=None,
        created_at=moment,
    )
    return timing_after(view, TimingUpdate(**fields))


def cron(expression: str, time_zone: str = "UTC") -> CronSchedule:
    return CronSchedule(expression=expression, time_zone=time_zone)


@pytest.mark.parametrize("present", [None, HOURLY, AT_SIX, PAUSED, Timing(frequency=NEVER)])
def test_all_fields_as_they_were_shown_change_nothing(present: Timing | None) -> None:
    shown = {
        "sync_frequency": present.frequency if present else None,
        "cron": present.cron.expression if present and present.cron else None,
        "time_zone": present.cron.time_zone if present and present.cron else None,
    }
    if present is None:
        assert after(present, **shown) is None
    else:
        assert after(present, **shown) == present
    assert after(present) == present


@pytest.mark.parametrize("present", [HOURLY, AT_SIX, PAUSED])
def test_a_frequency_replaces_a_cron_schedule(present: Timing) -> None:
    assert after(present, sync_frequency="24hour") == Timing(frequency=SyncFrequency.HOUR_24)


def test_never_pauses_a_cron_schedule_and_keeps_it() -> None:
    assert after(AT_SIX, sync_frequency="never") == PAUSED
    assert after(AT_SIX, sync_frequency="never", time_zone="UTC") == Timing(frequency=NEVER, cron=cron("0 6 * * *"))
    assert after(None, sync_frequency="never") is None
    assert after(None, sync_frequency="never", cron="0 6 * * *") is None


@pytest.mark.parametrize("present", [None, HOURLY, AT_SIX, PAUSED])
def test_a_cron_expression_replaces_everything_and_ends_never(present: Timing | None) -> None:
    asked = after(present, cron=" 30  7 * * 1-5 ", time_zone="UTC")
    assert asked == Timing(frequency=SyncFrequency.HOUR_24, cron=cron("30 7 * * 1-5"))


def test_the_time_zone_stays_unless_it_is_sent_and_is_utc_at_first() -> None:
    assert after(HOURLY, cron="@weekly") == Timing(frequency=SyncFrequency.DAY_7, cron=cron("@weekly"))
    assert after(AT_SIX, cron="@weekly") == Timing(frequency=SyncFrequency.DAY_7, cron=cron("@weekly", "Europe/Berlin"))
    assert after(AT_SIX, cron="@weekly", time_zone=None) == after(HOURLY, cron="@weekly")
    moved = after(AT_SIX, time_zone="Asia/Tokyo")
    assert moved == Timing(frequency=SyncFrequency.HOUR_24, cron=cron("0 6 * * *", "Asia/Tokyo"))
    assert after(PAUSED, time_zone="Asia/Tokyo") == Timing(frequency=NEVER, cron=cron("0 6 * * *", "Asia/Tokyo"))


def test_cron_null_needs_a_frequency_in_its_place_unless_the_view_is_paused() -> None:
    assert after(AT_SIX, cron=None, sync_frequency="6hour") == Timing(frequency=SyncFrequency.HOUR_6)
    assert after(PAUSED, cron=None) == Timing(frequency=NEVER)
    assert after(HOURLY, cron=None, time_zone=None) == HOURLY


@pytest.mark.parametrize(
    ("present", "fields", "attr"),
    [
        (HOURLY, {"sync_frequency": None}, "sync_frequency"),
        (AT_SIX, {"sync_frequency": "6hour", "cron": "0 6 * * *"}, "sync_frequency"),
        (AT_SIX, {"cron": None}, "cron"),
        (AT_SIX, {"cron": "0 6 * *"}, "cron"),
        (AT_SIX, {"cron": "0 6 * * *", "time_zone": "Berlin"}, "time_zone"),
        (HOURLY, {"time_zone": "Europe/Berlin"}, "time_zone"),
        (None, {"time_zone": "Europe/Berlin"}, "time_zone"),
        (AT_SIX, {"sync_frequency": "1hour", "time_zone": "Europe/Berlin"}, "time_zone"),
        (AT_SIX, {"cron": None, "sync_frequency": "1hour", "time_zone": "Europe/Berlin"}, "time_zone"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(
    present: Timing | None, fields: dict[str, Any], attr: str
) -> None:
    with pytest.raises(Invalid) as refused:
        after(present, **fields)
    assert refused.value.attr == attr


@pytest.mark.parametrize(
    ("fields", "sets", "resumes"),
    [
        ({}, False, False),
        ({"sync_frequency": None}, False, False),
        ({"sync_frequency": "1hour"}, True, True),
        ({"sync_frequency": "never"}, True, False),
        ({"cron": "0 6 * * *"}, True, True),
        ({"cron": "0 6 * * *", "sync_frequency": "never"}, True, False),
        ({"time_zone": "UTC"}, True, False),
        ({"cron": None}, True, False),
    ],
)
def test_what_sets_a_timing_resumes_the_schedule_if_it_says_when(
    fields: dict[str, Any], sets: bool, resumes: bool
) -> None:
    update = TimingUpdate(**fields)
    assert (update.sets_timing, update.resumes) == (sets, resumes)
