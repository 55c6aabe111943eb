"""The times of schedules: those of a view in Temporal's form, and in one that can be compared.

A cron expression becomes calendars here, not in the server. Where the day of the month and the weekday are both
restricted, the server's own reading of an expression requires both, and crontab(5) one of them.

Where clocks change, the server (1.32) computes wrong times. On the day in autumn, `30 1 * * *` in Europe/Berlin is also
due at 2:30. On a day that has no midnight, as in America/Santiago in spring, the server takes the weekday of the day
before. But it excludes times rightly. So each schedule has calendars that also match the weekdays before its own, and
excludes all times that do not match its expression. In London and east of it, the server still leaves out times in the
hour that comes twice and in the one after it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import NamedTuple

from temporalio.api.schedule.v1 import IntervalSpec, Range, ScheduleSpec as SpecProto, StructuredCalendarSpec
from temporalio.client import ScheduleCalendarSpec, ScheduleIntervalSpec, ScheduleRange, ScheduleSpec
from temporalio.service import RPCError

from orchestrator.model.cron import Calendar, CronSchedule
from orchestrator.model.errors import Invalid
from orchestrator.model.schedule import DesiredSchedule
from orchestrator.model.time_zones import UTC_NAME

# A progression of at least so many numbers is one range with a step.
_SHORTEST_PROGRESSION = 3


class ScheduleTimes(NamedTuple):
    """When a schedule ticks, however its ranges are written. `excluded` are calendars in which it does not.

    Each calendar holds its numbers in the order of Temporal's fields: seconds, minutes, hours, days, months, weekdays,
    years. Intervals do not depend on the time zone, so it is empty without calendars.
    """

    intervals: tuple[timedelta, ...]
    calendars: frozenset[tuple[frozenset[int], ...]]
    excluded: frozenset[tuple[frozenset[int], ...]]
    time_zone: str

    def __str__(self) -> str:
        if len(self.intervals) == 1 and not self.calendars:
            return f"every {self.intervals[0]}"
        return "at other times"


def times_of(spec: ScheduleSpec) -> ScheduleTimes:
    """The times of a schedule as the server describes or lists it: it converts expressions to calendars."""
    calendars, excluded = (frozenset(map(_numbers_of, given)) for given in (spec.calendars, spec.skip))
    intervals = tuple(interval.every for interval in spec.intervals)
    zone = (spec.time_zone_name or UTC_NAME) if calendars or excluded else ""
    return ScheduleTimes(intervals, calendars, excluded, zone)


def desired_times(desired: DesiredSchedule) -> ScheduleTimes:
    """The times that the view's schedule should have."""
    return times_of(new_spec(desired))


def new_spec(desired: DesiredSchedule) -> ScheduleSpec:
    """The times of a schedule as it is created."""
    if desired.cron is None:
        return ScheduleSpec(intervals=[ScheduleIntervalSpec(every=desired.longest_gap, offset=_offset(desired))])
    comment = desired.cron.expression
    return ScheduleSpec(
        calendars=[_calendar(_with_weekdays_before(one, desired.cron), comment) for one in desired.cron.calendars],
        skip=[_calendar(one, f"not {comment}") for one in desired.cron.excluded],
        time_zone_name=desired.cron.time_zone,
    )


def spec_message(desired: DesiredSchedule) -> SpecProto:
    """The same times as the protobuf message with which an existing schedule is changed."""
    if desired.cron is None:
        interval = IntervalSpec()
        interval.interval.FromTimedelta(desired.longest_gap)
        interval.phase.FromTimedelta(_offset(desired))
        return SpecProto(interval=[interval])
    spec = new_spec(desired)
    return SpecProto(
        structured_calendar=map(_calendar_message, spec.calendars),
        exclude_structured_calendar=map(_calendar_message, spec.skip),
        timezone_name=spec.time_zone_name or "",
    )


@contextmanager
def refused_times(desired: DesiredSchedule) -> Iterator[None]:
    """Raise Invalid if the server knows no such time zone: its database of them may be older than this program's."""
    try:
        yield
    except RPCError as error:
        if desired.cron is None or "time zone" not in error.message:
            raise
        message = f"Temporal cannot schedule {desired.cron}: {error.message}. Choose another time zone."
        raise Invalid(message, attr="time_zone") from error


def _with_weekdays_before(calendar: Calendar, cron: CronSchedule) -> Calendar:
    if not cron.excluded:
        return calendar
    before = {(weekday - 1) % 7 for weekday in calendar.weekdays}
    return calendar._replace(weekdays=calendar.weekdays | before)


def _calendar(calendar: Calendar, comment: str) -> ScheduleCalendarSpec:
    return ScheduleCalendarSpec(
        minute=_ranges(calendar.minutes),
        hour=_ranges(calendar.hours),
        day_of_month=_ranges(calendar.days),
        month=_ranges(calendar.months),
        day_of_week=_ranges(calendar.weekdays),
        comment=comment,
    )


def _calendar_message(calendar: ScheduleCalendarSpec) -> StructuredCalendarSpec:
    return StructuredCalendarSpec(
        second=_messages(calendar.second),
        minute=_messages(calendar.minute),
        hour=_messages(calendar.hour),
        day_of_month=_messages(calendar.day_of_month),
        month=_messages(calendar.month),
        day_of_week=_messages(calendar.day_of_week),
        comment=calendar.comment or "",
    )


def _messages(ranges: Iterable[ScheduleRange]) -> list[Range]:
    return [Range(start=one.start, end=one.end, step=one.step) for one in ranges]


def _ranges(numbers: Iterable[int]) -> list[ScheduleRange]:
    """The numbers as few ranges, which operators see in the Temporal UI."""
    ordered = sorted(numbers)
    steps = {after - before for before, after in pairwise(ordered)}
    if len(ordered) >= _SHORTEST_PROGRESSION and len(steps) == 1:
        return [ScheduleRange(ordered[0], ordered[-1], steps.pop())]
    return [ScheduleRange(run[0], run[-1]) for run in _runs(ordered)]


def _runs(ordered: Sequence[int]) -> Iterator[list[int]]:
    """The numbers in runs without gaps."""
    run: list[int] = []
    for number in ordered:
        if run and number != run[-1] + 1:
            yield run
            run = []
        run.append(number)
    if run:
        yield run


def _numbers_of(calendar: ScheduleCalendarSpec) -> tuple[frozenset[int], ...]:
    ranges = (calendar.second, calendar.minute, calendar.hour, calendar.day_of_month, calendar.month)
    weekdays = frozenset(number % 7 for number in _numbers(calendar.day_of_week))
    return (*map(_numbers, ranges), weekdays, _numbers(calendar.year))


def _numbers(ranges: Iterable[ScheduleRange]) -> frozenset[int]:
    return frozenset(number for one in ranges for number in range(one.start, one.end + 1, one.step))


def _offset(desired: DesiredSchedule) -> timedelta:
    """The offset of a view's ticks in the interval: the same for all views of a project, which gather into generations.

    It is spread evenly by the project, or all projects would start at midnight. There is no random delay beside it: it
    would separate ticks that belong together. A cron schedule has neither: its author has chosen the moment.
    """
    digest = hashlib.sha256(f"project {desired.project_id}".encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8], "big") % int(desired.longest_gap.total_seconds()))
