"""The names of time zones, as the IANA database has them."""

import difflib
from functools import cache
from zoneinfo import available_timezones

from orchestrator.model.errors import Invalid

UTC_NAME = "UTC"
MOST_ZONE_CHARACTERS = 64

# Files beside the zones in some installations of the database: the zone of the machine, and a placeholder.
_NO_ZONES = {"localtime", "Factory", "posixrules"}


def check_time_zone(name: str) -> str:
    """The name, if there is such a time zone. Raises Invalid, which names similar ones."""
    if name in _names():
        return name
    near = _similar(name)
    hint = f"Did you mean {' or '.join(near)}?" if near else "Names are such as Europe/Berlin, America/New_York or UTC."
    raise Invalid(f"There is no time zone {name!r}. {hint}", attr="time_zone")


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones() - _NO_ZONES)


@cache
def _by_spelling() -> dict[str, list[str]]:
    """The zones by their name, and by its last part, in lower case: `berlin` is part of `Europe/Berlin`."""
    found: dict[str, list[str]] = {}
    for name in sorted(_names()):
        for spelling in dict.fromkeys((name.lower(), name.lower().rpartition("/")[2])):
            found.setdefault(spelling, []).append(name)
    return found


def _similar(name: str) -> list[str]:
    known = _by_spelling()
    spelling = name.strip().lower().replace(" ", "_")
    near = [spelling] if spelling in known else difflib.get_close_matches(spelling, known, n=3, cutoff=0.75)
    return list(dict.fromkeys(zone for one in near for zone in known[one]))[:3]
