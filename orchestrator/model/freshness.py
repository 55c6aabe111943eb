"""How fresh the data of a materialized view is to be, beside how often it is refreshed."""

from enum import StrEnum


class Freshness(StrEnum):
    """The views that are refreshed with a view, and those with which it is refreshed.

    `clock`: its schedule refreshes the view alone, from its inputs as they are. `upstream`: before that, the views that
    it reads, as far as their data is too old. `follow`: beside its schedule, the view is in every generation that
    refreshes something that it reads, and becomes visible together with that.
    """

    CLOCK = "clock"
    UPSTREAM = "upstream"
    FOLLOW = "follow"
