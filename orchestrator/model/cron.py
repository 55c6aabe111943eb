"""Cron expressions in a time zone: five fields, as crontab(5) has them.

The parser is not a library's. croniter and cronsim also accept seconds, `L` and `#`, report no more than which field is
wrong, and compute times with rules of their own for daylight saving, while Temporal computes them here.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from orchestrator.model.base import Value
from orchestrator.model.errors import Invalid
from orchestrator.model.time_zones import UTC_NAME

MOST_CRON_CHARACTERS = 128


class Calendar(NamedTuple):
    """Minutes that match each of five sets. Weekdays count from Sunday, which is 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]


class CronSchedule(Value):
    """The moments at which a view is refreshed: those of a cron expression by the clocks of a time zone.

    Both were checked when they were saved, by `cron_schedule`.
    """

    expression: str
    time_zone: str = UTC_NAME

    def __str__(self) -> str:
        return f"{self.expression} ({self.time_zone})"

    @property
    def calendars(self) -> tuple[Calendar, ...]:
        """Calendars of which a moment has to match one."""
        return parse_cron(self.expression)

    @property
    def excluded(self) -> tuple[Calendar, ...]:
        """Calendars of which a moment matches one unless it matches `calendars`; none in UTC, where none is needed."""
        return () if self.time_zone == UTC_NAME else _complement(self.calendars)

    @property
    def longest_gap(self) -> timedelta:
        """The longest time between two moments that follow one another, by clocks without daylight saving."""
        return _spread(self.calendars).longest

    @property
    def mean_gap(self) -> timedelta:
        """The mean time between two moments that follow one another."""
        return _spread(self.calendars).mean


@lru_cache(maxsize=4096)
def parse_cron(expression: str) -> tuple[Calendar, ...]:
    """The calendars of an expression. Raises Invalid for `cron`, which names the part that is wrong.

    There are two if both the day of the month and the weekday are restricted: as in crontab(5), a day then has to match
    one of them. Temporal's own reading of cron expressions requires both.
    """
    _refuse_extensions(expression)
    fields = _MACROS.get(expression.lower(), expression).split()
    if len(fields) != len(_FIELDS):
        raise _invalid(_count_message(len(fields)))
    values = [field.values(text) for field, text in zip(_FIELDS, fields, strict=True)]
    minutes, hours, days, months = values[:4]
    weekdays = frozenset(value % 7 for value in values[4])
    restricted = not (fields[2].startswith("*") or fields[4].startswith("*"))
    both = Calendar(minutes, hours, days, months, weekdays)
    either = (both._replace(weekdays=_EVERY_WEEKDAY), both._replace(days=_EVERY_DAY))
    calendars = either if restricted else (both,)
    if not _spread(calendars).days:
        raise _invalid("it never fires, since no month has such a day")
    return calendars


def normal_cron(expression: str) -> str:
    """The expression with single spaces between its fields."""
    return " ".join(expression.split())


class _Field(NamedTuple):
    """One of the five fields. `names` stand for the numbers from `low` on."""

    title: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def values(self, text: str) -> frozenset[int]:
        """The numbers that the field's text stands for."""
        return frozenset(value for part in text.split(",") for value in self._part(part))

    def _part(self, part: str) -> Iterable[int]:
        span, slash, step_text = part.partition("/")
        low, high = self._span(span)
        if not slash:
            return range(low, high + 1)
        if not re.fullmatch(r"[0-9]{1,4}", step_text) or int(step_text) == 0:
            raise self._wrong(part, "after / comes a step, a whole number from 1 on")
        if "-" not in span and span != "*":
            raise self._wrong(part, f"a step needs a range: {span}-{self.high}/{step_text}")
        step = int(step_text)
        if step > max(1, high - low):
            raise self._wrong(part, f"the step is larger than the range, so that only {low} would be left")
        return range(low, high + 1, step)

    def _span(self, span: str) -> tuple[int, int]:
        if span == "*":
            return self.low, self.high
        first, dash, last = span.partition("-")
        low = self._number(first, span)
        high = self._number(last, span) if dash else low
        if high < low:
            raise self._wrong(span, f"a range goes upwards: {first}-{self.high},{self.low}-{last}")
        return low, high

    def _number(self, text: str, part: str) -> int:
        if text.upper() in self.names:
            return self.names.index(text.upper()) + self.low
        if not re.fullmatch(r"[0-9]{1,4}", text):
            names = f" or one of {', '.join(self.names)}" if self.names else ""
            raise self._wrong(part, f"expected is a number from {self.low} to {self.high}{names}")
        if not self.low <= int(text) <= self.high:
            raise self._wrong(part, f"{text} is not between {self.low} and {self.high}")
        return int(text)

    def _wrong(self, part: str, why: str) -> Invalid:
        return _invalid(f"{self.title} {part!r}: {why}")


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")),
    _Field("weekday", 0, 7, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
)
_MACROS = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}
_EVERY_DAY = frozenset(range(1, 32))
_EVERY_WEEKDAY = frozenset(range(7))
_EXAMPLE = "An example: 0 6 * * 1-5 is at 6:00 from Monday to Friday."
# The calendar repeats after 28 years, but for the years that are divisible by 100.
_FIRST_DAY, _LAST_DAY = date(2001, 1, 1), date(2028, 12, 31)


def _complement(calendars: tuple[Calendar, ...]) -> tuple[Calendar, ...]:
    """Calendars that match all moments that none of these matches, which differ in their days at most."""
    first, last = calendars[0], calendars[-1]
    every = Calendar(frozenset(range(60)), frozenset(range(24)), _EVERY_DAY, frozenset(range(1, 13)), _EVERY_WEEKDAY)
    others = [
        every._replace(**{field: getattr(every, field) - getattr(first, field)})
        for field in ("minutes", "hours", "months")
    ]
    days, weekdays = _EVERY_DAY - first.days, _EVERY_WEEKDAY - last.weekdays
    if len(calendars) > 1:  # a day that matches neither
        others.append(every._replace(days=days, weekdays=weekdays))
    else:
        others += [every._replace(days=days), every._replace(weekdays=weekdays)]
    return tuple(one for one in others if all(one))


class _Spread(NamedTuple):
    """How many days of 28 years match, and the times between the moments in them."""

    days: int
    mean: timedelta
    longest: timedelta


@lru_cache(maxsize=4096)
def _spread(calendars: tuple[Calendar, ...]) -> _Spread:
    days = list(_days(calendars))
    whole = _LAST_DAY - _FIRST_DAY + timedelta(days=1)
    if not days:
        return _Spread(0, whole, whole)
    times = sorted(
        timedelta(hours=hour, minutes=minute) for hour in calendars[0].hours for minute in calendars[0].minutes
    )
    night = times[0] - times[-1]
    gaps = [after - before for before, after in pairwise(times)]
    gaps += [after - before + night for before, after in pairwise([*days, days[0] + whole])]
    return _Spread(len(days), whole / (len(days) * len(times)), max(gaps))


def _days(calendars: tuple[Calendar, ...]) -> Iterator[date]:
    for ordinal in range(_FIRST_DAY.toordinal(), _LAST_DAY.toordinal() + 1):
        day = date.fromordinal(ordinal)
        weekday = ordinal % 7  # the day 1 of date is a Monday
        if any(day.month in one.months and day.day in one.days and weekday in one.weekdays for one in calendars):
            yield day


def _refuse_extensions(expression: str) -> None:
    """Raise Invalid for what some programs accept beside the five fields."""
    if re.match(r"(CRON_)?TZ=", expression, re.IGNORECASE):
        raise _invalid("the time zone is a field of its own, time_zone")
    if expression.lower().startswith("@every"):
        raise _invalid("for an interval, set sync_frequency to one such as 6hour")
    if expression.startswith("@") and expression.lower() not in _MACROS:
        raise _invalid(f"of the words with @, there are {', '.join(_MACROS)}")
    if "#" in expression:
        raise _invalid("it contains #, and there are neither comments nor the n-th weekday of a month")
    if "?" in expression:
        raise _invalid("it contains ?; write * instead")


def _count_message(count: int) -> str:
    names = "minute, hour, day of the month, month, weekday"
    more = ". There are neither seconds nor years" if count > len(_FIELDS) else ""
    return f"it has {count or 'no'} field{'' if count == 1 else 's'} instead of 5 ({names}){more}"


def _invalid(why: str) -> Invalid:
    return Invalid(f"Not a cron expression: {why.rstrip('.')}. {_EXAMPLE}", attr="cron")
