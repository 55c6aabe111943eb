"""When Temporal ticks for a cron expression: compared with an independent reading of it, and at changes of the clocks.

`MATVIEW_FUZZ_SEED` gives other expressions, `MATVIEW_CRON_EXPRESSIONS` how many.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from random import Random
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from temporalio.api.workflowservice.v1 import ListScheduleMatchingTimesRequest
from temporalio.client import Client, Schedule, ScheduleActionStartWorkflow, ScheduleSpec, ScheduleState

from orchestrator.model.cron import CronSchedule, normal_cron, parse_cron
from orchestrator.model.errors import Invalid
from orchestrator.model.saved_query import Timing
from orchestrator.model.schedule import DesiredSchedule
from orchestrator.temporal import contract
from orchestrator.temporal.schedules import Schedules
from tests.contract.support import number_from_environment

COUNT = number_from_environment("MATVIEW_CRON_EXPRESSIONS", 25)
SEED = number_from_environment("MATVIEW_FUZZ_SEED", 1)
ZONES = ("UTC", "Europe/Berlin", "America/New_York")
# Elsewhere, the server leaves out ticks in the hour that comes twice in autumn, and in the one after it.
EXACT = {"UTC", "America/New_York"}
NEXT = 5
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# The clocks of both zones change after these days, in spring and in autumn.
DAYS = ((1, 1), (3, 13), (3, 27), (10, 30), (11, 6))
MOMENTS = [datetime(2027, month, day, 13, 7, tzinfo=UTC) for month, day in DAYS]
MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
MONTHS = dict(zip(MONTH_NAMES, range(1, 13), strict=True))
WEEKDAYS = dict(zip(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), range(7), strict=True))
NAMES: tuple[dict[str, int], ...] = ({}, {}, {}, MONTHS, WEEKDAYS)
LOWS, HIGHS = (0, 0, 1, 1, 0), (59, 23, 31, 12, 7)


def desired(cron: CronSchedule) -> DesiredSchedule:
    timing = Timing.of_cron(cron)
    return DesiredSchedule(
        saved_query_id=uuid4(), project_id=0, name="v", frequency=timing.frequency, cron=cron, paused_note="a test"
    )


async def matching(temporal: Client, schedule_id: str, start: datetime, end: datetime) -> list[datetime]:
    """The moments after `start`, up to `end`, at which the server says that the schedule ticks."""
    request = ListScheduleMatchingTimesRequest(namespace=temporal.namespace, schedule_id=schedule_id)
    request.start_time.FromDatetime(start)
    request.end_time.FromDatetime(end)
    answer = await temporal.workflow_service.list_schedule_matching_times(request)
    return [moment.ToDatetime(tzinfo=UTC) for moment in answer.start_time]


def numbers_of(text: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    """The numbers of one field, read in the simplest way."""
    found: set[int] = set()
    for part in text.upper().split(","):
        span, _, step = part.partition("/")
        ends = [str(low), str(high)] if span == "*" else span.split("-")
        first, last = (names.get(end) if end in names else int(end) for end in (ends[0], ends[-1]))
        assert first is not None
        assert last is not None
        found |= set(range(first, last + 1, int(step or 1)))
    return found


def moments(cron: CronSchedule, start: datetime, end: datetime) -> Iterator[datetime]:
    """The minutes after `start`, before `end`, that the zone's clock shows as the expression says, one by one."""
    fields = cron.expression.split()
    minutes, hours, days, months, weekdays = (
        numbers_of(*each) for each in zip(fields, LOWS, HIGHS, NAMES, strict=True)
    )
    star = fields[2].startswith("*") or fields[4].startswith("*")
    zone = ZoneInfo(cron.time_zone)

    def is_due(day: date) -> bool:
        of_month, of_week = day.day in days, not weekdays.isdisjoint({day.isoweekday(), day.isoweekday() % 7})
        return day.month in months and (of_month and of_week if star else of_month or of_week)

    moment = start.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while moment < end:
        there = moment.astimezone(zone)
        if there.hour not in hours or not is_due(there.date()):
            moment += timedelta(minutes=60 - there.minute)  # the clocks of these zones change by full hours
            continue
        if there.minute in minutes:
            yield moment
        moment += timedelta(minutes=1)


def set_back(zone: str, start: datetime, end: datetime) -> list[datetime]:
    """The beginnings of the hours that the clocks of the zone show twice."""
    clocks, moment, found = ZoneInfo(zone), start.replace(minute=0), []
    while moment < end:
        if (moment + HOUR).astimezone(clocks).hour == moment.astimezone(clocks).hour:
            found.append(moment)
        moment += HOUR
    return found


def expressions(choose: Random) -> Iterator[str]:
    """Expressions that fire, with every form that a field may have."""
    while True:
        parts = [a_field(choose, low, high, list(names)) for low, high, names in zip(LOWS, HIGHS, NAMES, strict=True)]
        if choose.random() < 0.5:
            parts[1] = choose.choice(("1", "2", "3", "1-3", "*", "0,2"))  # the hours at which clocks change
        expression = " ".join(parts)
        try:
            parse_cron(expression)
        except Invalid:
            continue
        yield expression


def a_field(choose: Random, low: int, high: int, names: list[str]) -> str:
    first, second = sorted((choose.randint(low, high), choose.randint(low, high)))
    step = choose.randint(1, max(1, second - first))
    forms = ["*", "*", "*", str(first), f"{first}-{second}", f"{first}-{second}/{step}"]
    forms += [f"*/{choose.randint(2, (high - low) // 2)}", f"{first},{second}", f"{first},{second}-{high}"]
    return choose.choice([*forms, *(choose.sample(names, 1) if names else [])])


@pytest.mark.parametrize("zone", ZONES)
async def test_temporal_ticks_when_the_expression_says_also_around_the_changes_of_a_year(
    temporal: Client, zone: str
) -> None:
    schedules = Schedules(temporal)
    plan = desired(CronSchedule(expression="* * * * *", time_zone=zone))
    drawn = expressions(Random(f"{SEED} {zone}"))  # noqa: S311 - the same each time
    for _ in range(COUNT):
        cron = CronSchedule(expression=next(drawn), time_zone=zone)
        plan = plan.model_copy(update={"cron": cron})
        await schedules.ensure(plan)  # changes the schedule in place
        assert await schedules.find_drift(plan, None) is None, cron
        for start in MOMENTS:
            end = start + timedelta(days=70)
            expected = list(islice(moments(cron, start, end), NEXT))
            last = expected[-1] if len(expected) == NEXT else end - timedelta(minutes=1)
            found = await matching(temporal, contract.schedule_id(plan.saved_query_id), start, last)
            case = (cron, start, f"MATVIEW_FUZZ_SEED={SEED}")
            assert set(found) <= set(expected), case
            unsure = [] if zone in EXACT else set_back(zone, start, end)
            missing = set(expected).difference(found)
            assert all(any(0 * HOUR <= one - began < 3 * HOUR for began in unsure) for one in missing), case
    await schedules.delete(plan.saved_query_id)


async def times(temporal: Client, expression: str, zone: str, start: date, days: int) -> list[str]:
    """The ticks of a schedule in UTC, from a day on by the clock of the zone."""
    plan = desired(CronSchedule(expression=normal_cron(expression), time_zone=zone))
    schedules = Schedules(temporal)
    await schedules.ensure(plan)
    begin, end = (datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)) for day in (start, start + days * DAY))
    # The server leaves out the first moment and takes the last one.
    second = timedelta(seconds=1)
    schedule_id = contract.schedule_id(plan.saved_query_id)
    found = await matching(temporal, schedule_id, begin.astimezone(UTC) - second, end.astimezone(UTC) - second)
    await schedules.delete(plan.saved_query_id)
    return [f"{moment:%m-%d %H:%M}" for moment in found]


async def test_a_time_that_the_clocks_skip_in_spring_is_left_out(temporal: Client) -> None:
    # In Berlin 02:00 is followed by 03:00 on 28 March 2027.
    daily = await times(temporal, "30 2 * * *", "Europe/Berlin", date(2027, 3, 27), 3)
    assert daily == ["03-27 01:30", "03-29 00:30"], "there is no 02:30 on the 28th, and no tick in its place"
    early = await times(temporal, "30 1,3 * * *", "Europe/Berlin", date(2027, 3, 28), 1)
    assert early == ["03-28 00:30", "03-28 01:30"], "the times beside it are as always"
    half = await times(temporal, "*/30 1-3 * * *", "Europe/Berlin", date(2027, 3, 28), 1)
    assert half == ["03-28 00:00", "03-28 00:30", "03-28 01:00", "03-28 01:30"]


async def test_a_day_without_a_midnight_has_its_ticks(temporal: Client) -> None:
    # In Santiago, Saturday, 4 September 2027 is followed by 01:00 of Sunday.
    weekly = await times(temporal, "0 6 * * SUN", "America/Santiago", date(2027, 9, 4), 9)
    assert weekly == ["09-05 09:00", "09-12 09:00"]
    midnight = await times(temporal, "0 0,1 * * *", "America/Santiago", date(2027, 9, 4), 2)
    assert midnight == ["09-04 04:00", "09-04 05:00", "09-05 04:00"], "there is no 00:00 on the 5th"


async def test_a_time_that_the_clocks_show_twice_in_autumn_is_a_tick_twice_in_new_york(temporal: Client) -> None:
    # In New York 02:00 is 01:00 once more on 7 November 2027.
    daily = await times(temporal, "30 1 * * *", "America/New_York", date(2027, 11, 6), 3)
    assert daily == ["11-06 05:30", "11-07 05:30", "11-07 06:30", "11-08 06:30"]
    hourly = await times(temporal, "30 0-2 * * *", "America/New_York", date(2027, 11, 7), 1)
    assert hourly == ["11-07 04:30", "11-07 05:30", "11-07 06:30", "11-07 07:30"]


@pytest.mark.parametrize("minute", [0, 1, 30, 59])
async def test_a_time_that_the_clocks_show_twice_in_autumn_is_a_tick_once_in_berlin(
    temporal: Client, minute: int
) -> None:
    # In Berlin 03:00 is 02:00 once more on 31 October 2027.
    daily = await times(temporal, f"{minute} 2 * * *", "Europe/Berlin", date(2027, 10, 30), 3)
    assert daily == [f"10-30 00:{minute:02}", f"10-31 01:{minute:02}", f"11-01 01:{minute:02}"]
    for hour, utc in ((1, "10-30 23"), (3, "10-31 02"), (6, "10-31 05")):
        beside = await times(temporal, f"{minute} {hour} * * *", "Europe/Berlin", date(2027, 10, 31), 1)
        assert beside == [f"{utc}:{minute:02}"], "the hours beside it are as always"


async def test_a_day_that_matches_either_field_is_due_where_the_server_itself_requires_both(temporal: Client) -> None:
    either = await times(temporal, "0 0 13 * FRI", "UTC", date(2027, 8, 1), 31)
    assert either == [f"08-{day:02} 00:00" for day in (6, 13, 20, 27)], "the 13th is a Friday"
    either = await times(temporal, "0 0 1 * MON", "UTC", date(2027, 8, 1), 15)
    assert either == [f"08-{day:02} 00:00" for day in (1, 2, 9)]
    both = await times(temporal, "0 0 */1 * FRI", "UTC", date(2027, 8, 1), 31)
    assert both == [f"08-{day:02} 00:00" for day in (6, 13, 20, 27)]

    name = f"own-reading-{uuid4()}"
    action = ScheduleActionStartWorkflow("Unused", id=name, task_queue="without-workers")
    spec = ScheduleSpec(cron_expressions=["0 0 1 * MON"])
    handle = await temporal.create_schedule(name, Schedule(action=action, spec=spec, state=ScheduleState(paused=True)))
    start = datetime(2027, 8, 1, tzinfo=UTC) - HOUR
    own = await matching(temporal, name, start, start + 60 * DAY)
    await handle.delete()
    assert own == [], "of the server's own reading no first day of August and September 2027 is a Monday"


async def test_a_time_zone_that_the_server_does_not_know_is_refused_by_name(temporal: Client) -> None:
    schedules = Schedules(temporal)
    unknown = desired(CronSchedule(expression="0 6 * * *", time_zone="Atlantis/Center"))
    with pytest.raises(Invalid, match="unknown time zone Atlantis/Center"):
        await schedules.ensure(unknown)
    assert await schedules.find(unknown.saved_query_id) is None
    await schedules.ensure(unknown.model_copy(update={"cron": None}))
    with pytest.raises(Invalid, match="Choose another time zone") as refused:
        await schedules.ensure(unknown)
    assert refused.value.attr == "time_zone"
    await schedules.delete(unknown.saved_query_id)


async def test_a_cron_schedule_has_no_offset_of_its_project(temporal: Client) -> None:
    schedules = Schedules(temporal)
    at_the_hour = desired(CronSchedule(expression="0 * * * *"))
    await schedules.ensure(at_the_hour.model_copy(update={"cron": None}))
    handle = temporal.get_schedule_handle(contract.schedule_id(at_the_hour.saved_query_id))
    by_frequency = (await handle.describe()).schedule.spec.intervals[0]
    assert (by_frequency.every, by_frequency.offset != timedelta(0)) == (HOUR, True)
    await schedules.ensure(at_the_hour)
    changed = await handle.describe()
    assert {(moment.minute, moment.second) for moment in changed.info.next_action_times} == {(0, 0)}
    assert changed.schedule.policy.catchup_window == HOUR
    await schedules.delete(at_the_hour.saved_query_id)
