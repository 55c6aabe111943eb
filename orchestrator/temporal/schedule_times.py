"""The times of schedules: those of a view in Temporal's form, and in one that can be compared.

A cron expression becomes calendars here, not in the server. Where the day of the month and the weekday are both
restricted, the server's own reading of an expression requires both, and crontab(5) one of them.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import NamedTuple

from temporalio.api.schedule.v1 import IntervalSpec, Range, ScheduleSpec as SpecProto, StructuredCalendarSpec
from temporalio.client import ScheduleCalendarSpec, ScheduleIntervalSpec, ScheduleRange, ScheduleSpec

from orchestrator.model.cron import Calendar
from orchestrator.model.schedule import DesiredSchedule
from orchestrator.model.time_zones import UTC_NAME

# A progression of at least so many numbers is one range with a step.
_SHORTEST_PROGRESSION = 3


class ScheduleTimes(NamedTuple):
    """When a schedule ticks, however its ranges are written.

    Each calendar holds its numbers in the order of Temporal's fields: seconds, minutes, hours, days, months, weekdays,
    years. Intervals do not depend on the time zone, so it is empty without calendars.
    """

    intervals: tuple[timedelta, ...]
    calendars: frozenset[tuple[frozenset[int], ...]]
    time_zone: str

    def __str__(self) -> str:
        if len(self.intervals) == 1 and not self.calendars:
            return f"every {self.intervals[0]}"
        return "at other times"


def times_of(spec: ScheduleSpec) -> ScheduleTimes:
    """The times of a schedule as the server describes or lists it: it converts expressions to calendars."""
    calendars = frozenset(
        (
            *(_numbers(ranges) for ranges in (one.second, one.minute, one.hour, one.day_of_month, one.month)),
            frozenset(number % 7 for number in _numbers(one.day_of_week)),
            _numbers(one.year),
        )
        for one in spec.calendars
    )
    intervals = tuple(interval.every for interval in spec.intervals)
    return ScheduleTimes(intervals, calendars, (spec.time_zone_name or UTC_NAME) if calendars else "")


def desired_times(desired: DesiredSchedule) -> ScheduleTimes:
    """The times that the view's schedule should have."""
    return times_of(new_spec(desired))


def new_spec(desired: DesiredSchedule) -> ScheduleSpec:
    """The times of a schedule as it is created."""
    if desired.cron is None:
        return ScheduleSpec(intervals=[ScheduleIntervalSpec(every=desired.longest_gap, offset=_offset(desired))])
    calendars = [
        ScheduleCalendarSpec(
            minute=_ranges(one.minutes),
            hour=_ranges(one.hours),
            day_of_month=_ranges(one.days),
            month=_ranges(one.months),
            day_of_week=_ranges(one.weekdays),
            comment=desired.cron.expression,
        )
        for one in desired.cron.calendars
    ]
    return ScheduleSpec(calendars=calendars, time_zone_name=desired.cron.time_zone)


def spec_message(desired: DesiredSchedule) -> SpecProto:
    """The same times as the protobuf message with which an existing schedule is changed."""
    if desired.cron is None:
        interval = IntervalSpec()
        interval.interval.FromTimedelta(desired.longest_gap)
        interval.phase.FromTimedelta(_offset(desired))
        return SpecProto(interval=[interval])
    calendars = [_calendar_message(one, desired.cron.expression) for one in desired.cron.calendars]
    return SpecProto(structured_calendar=calendars, timezone_name=desired.cron.time_zone)


def _calendar_message(calendar: Calendar, comment: str) -> StructuredCalendarSpec:
    return StructuredCalendarSpec(
        second=[Range(start=0, end=0, step=1)],
        minute=_messages(calendar.minutes),
        hour=_messages(calendar.hours),
        day_of_month=_messages(calendar.days),
        month=_messages(calendar.months),
        day_of_week=_messages(calendar.weekdays),
        comment=comment,
    )


def _messages(numbers: Iterable[int]) -> list[Range]:
    return [Range(start=one.start, end=one.end, step=one.step) for one in _ranges(numbers)]


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


def _numbers(ranges: Iterable[ScheduleRange]) -> frozenset[int]:
    return frozenset(number for one in ranges for number in range(one.start, one.end + 1, one.step))


def _offset(desired: DesiredSchedule) -> timedelta:
    """The offset of a view's ticks in the interval: the same for all views of a project, which gather into generations.

    It is spread evenly by the project, or all projects would start at midnight. There is no random delay beside it: it
    would separate ticks that belong together. A cron schedule has neither: its author has chosen the moment.
    """
    digest = hashlib.sha256(f"project {desired.project_id}".encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8], "big") % int(desired.longest_gap.total_seconds()))
