"""When Temporal ticks for a cron expression: compared with an independent reading of it, and at changes of the clocks.

`MATVIEW_FUZZ_SEED` gives other expressions, `MATVIEW_CRON_EXPRESSIONS` how many.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
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
            expected = []
            for moment in moments(cron, start, end):
                expected.append(moment)
                if len(expected) == NEXT:
                    break
            last = expected[-1] if len(expected) == NEXT else end - timedelta(minutes=1)
            found = await matching(temporal, contract.schedule_id(plan.saved_query_id), start, last)
            assert found == expected, (cron, start, f"MATVIEW_FUZZ_SEED={SEED}")
    await schedules.delete(plan.saved_query_id)


async def times(temporal: Client, expression: str, zone: str, start: date, days: int) -> list[str]:
    """The ticks of a schedule in UTC, from a day on by the clock of the zone."""
    plan = desired(CronSchedule(expression=normal_cron(expression), time_zone=zone))
    schedules = Schedules(temporal)
    await schedules.ensure(plan)
    begin = datetime(start.year, start.month, start.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    found = await matching(
        temporal, contract.schedule_id(plan.saved_query_id), begin - timedelta(seconds=1), begin + days * DAY
    )
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


async def test_a_time_that_the_clocks_show_twice_in_autumn_is_a_tick_twice(temporal: Client) -> None:
    # In Berlin 03:00 is 02:00 once more on 31 October 2027.
    daily = await times(temporal, "30 2 * * *", "Europe/Berlin", date(2027, 10, 30), 3)
    assert daily == ["10-30 00:30", "10-31 00:30", "10-31 01:30", "11-01 01:30"]
    late = await times(temporal, "30 3 * * *", "Europe/Berlin", date(2027, 10, 31), 1)
    assert late == ["10-31 02:30"]


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
