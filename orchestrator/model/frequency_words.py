"""The words that clients may use for a frequency: `daily` and `24h` are `24hour`."""

import difflib
import math
import re
from datetime import timedelta

from orchestrator.model.saved_query import SyncFrequency

_LONGEST = 40
_ADVERBS = {
    "hourly": SyncFrequency.HOUR_1,
    "daily": SyncFrequency.HOUR_24,
    "weekly": SyncFrequency.DAY_7,
    "monthly": SyncFrequency.DAY_30,
}
_UNITS = {
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), timedelta(minutes=1)),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), timedelta(hours=1)),
    **dict.fromkeys(("d", "day", "days"), timedelta(days=1)),
    **dict.fromkeys(("w", "week", "weeks"), timedelta(days=7)),
    **dict.fromkeys(("month", "months"), timedelta(days=30)),
}
_INTERVALS = {frequency.interval: frequency for frequency in SyncFrequency if frequency is not SyncFrequency.NEVER}


def parse_frequency(text: str) -> SyncFrequency:
    """The frequency that a word stands for. Raises ValueError, which lists the words and names the nearest."""
    word = text.strip().lower()
    if word == SyncFrequency.NEVER:
        return SyncFrequency.NEVER
    if word in _ADVERBS:
        return _ADVERBS[word]
    interval = _interval(word)
    if interval in _INTERVALS:
        return _INTERVALS[interval]
    near = _nearest(word, interval)
    words = ", ".join(f"'{frequency}'" for frequency in SyncFrequency)
    raise ValueError(
        f"{text[:_LONGEST]!r} is none of the frequencies {words}." + (f" Did you mean {near}?" if near else "")
    )


def _interval(word: str) -> timedelta:
    """The interval of a number with a unit; 0 if it is something else."""
    parts = re.fullmatch(r"([0-9]{1,4}) ?([a-z]+)", word)
    if parts is None or parts[2] not in _UNITS:
        return timedelta(0)
    return int(parts[1]) * _UNITS[parts[2]]


def _nearest(word: str, interval: timedelta) -> str | None:
    if interval:
        return min(_INTERVALS.items(), key=lambda known: abs(math.log(known[0] / interval)))[1]
    known = difflib.get_close_matches(word[:_LONGEST], [*SyncFrequency, *_ADVERBS], n=1, cutoff=0.6)
    return known[0] if known else None
