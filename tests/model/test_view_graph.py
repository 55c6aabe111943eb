"""Which views a generation refreshes, in which order, and which wait for which."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from orchestrator.model.freshness import Freshness
from orchestrator.model.generation import Direction, Selection
from orchestrator.model.view_graph import ViewGraph, ViewNode

# A name a view, and what it reads. Those in capitals are materialized, those with a star have no result yet.
DIAMOND = {"BASE": "", "LEFT": "BASE", "RIGHT": "BASE", "TOP": "LEFT RIGHT", "ALONE": ""}


def id_of(name: str) -> UUID:
    return UUID(int=int.from_bytes(name.strip("*").lower().encode()))


def graph(**views: str) -> ViewGraph:
    """The graph of these views; `_` at the end of a name stands for the star."""
    return ViewGraph(
        {
            id_of(name.rstrip("_")): ViewNode(
                name=name.rstrip("_").lower(),
                is_materialized=name.isupper(),
                has_result=name.isupper() and not name.endswith("_"),
                views=tuple(map(id_of, reads.split())),
            )
            for name, reads in views.items()
        }
    )


def names(some: ViewGraph, *views: str, direction: Direction = Direction.NONE, everything: bool = False) -> list[str]:
    selection = Selection(views=tuple(map(id_of, views)), direction=direction, all=everything)
    return [some.name(view).upper() for view in some.members(selection)]


@pytest.mark.parametrize(
    ("chosen", "direction", "expected"),
    [
        ("LEFT", Direction.NONE, {"LEFT"}),
        ("LEFT TOP", Direction.NONE, {"LEFT", "TOP"}),
        ("LEFT", Direction.UPSTREAM, {"BASE", "LEFT"}),
        ("LEFT", Direction.DOWNSTREAM, {"LEFT", "TOP"}),
        ("LEFT", Direction.BOTH, {"BASE", "LEFT", "TOP"}),
        ("TOP", Direction.UPSTREAM, {"BASE", "LEFT", "RIGHT", "TOP"}),
        ("BASE", Direction.DOWNSTREAM, {"BASE", "LEFT", "RIGHT", "TOP"}),
        ("ALONE", Direction.BOTH, {"ALONE"}),
    ],
)
def test_a_selection_has_the_relatives_that_were_asked_for(
    chosen: str, direction: Direction, expected: set[str]
) -> None:
    assert set(names(graph(**DIAMOND), *chosen.split(), direction=direction)) == expected


def test_all_is_every_materialized_view_each_after_those_that_it_reads() -> None:
    found = names(graph(**DIAMOND), everything=True)
    assert set(found) == set(DIAMOND)
    assert found.index("BASE") < min(found.index("LEFT"), found.index("RIGHT"))
    assert found.index("TOP") > max(found.index("LEFT"), found.index("RIGHT"))


def test_views_that_are_not_materialized_are_no_members() -> None:
    some = graph(BASE="", plain="BASE", TOP="plain")
    assert names(some, "plain") == []
    assert names(some, everything=True) == ["BASE", "TOP"]


def test_relatives_are_found_through_views_that_are_not_materialized() -> None:
    some = graph(BASE="", plain="BASE", TOP="plain")
    assert names(some, "TOP", direction=Direction.UPSTREAM) == ["BASE", "TOP"]
    assert names(some, "BASE", direction=Direction.DOWNSTREAM) == ["BASE", "TOP"]
    assert names(some, "plain", direction=Direction.BOTH) == ["BASE", "TOP"]


def test_a_view_that_does_not_exist_any_more_is_left_out() -> None:
    some = graph(**DIAMOND)
    assert names(some, "GONE") == []
    assert names(some, "GONE", "LEFT") == ["LEFT"]


def test_an_input_that_does_not_exist_any_more_is_passed_over() -> None:
    some = graph(TOP="gone BASE", BASE="")
    assert names(some, "TOP", direction=Direction.UPSTREAM) == ["BASE", "TOP"]
    assert some.parents([id_of("TOP"), id_of("BASE")])[id_of("TOP")] == {id_of("BASE")}


def test_a_member_waits_for_the_members_that_it_reads_itself() -> None:
    some = graph(**DIAMOND)
    parents = some.parents([id_of(name) for name in ("BASE", "LEFT", "TOP")])
    assert parents == {
        id_of("BASE"): set(),
        id_of("LEFT"): {id_of("BASE")},
        id_of("TOP"): {id_of("LEFT")},  # RIGHT is no member: TOP reads its version
    }


def test_a_member_waits_for_those_behind_a_view_that_is_evaluated_in_its_query() -> None:
    some = graph(BASE="", plain="BASE", NEW_="plain", TOP="NEW")
    assert some.parents([id_of("BASE"), id_of("TOP")])[id_of("TOP")] == {id_of("BASE")}


def test_a_member_does_not_wait_for_those_behind_a_version_that_it_reads() -> None:
    some = graph(BASE="", MIDDLE="BASE", TOP="MIDDLE")
    assert some.parents([id_of("BASE"), id_of("TOP")])[id_of("TOP")] == set()


def test_views_are_found_by_id_and_by_name_in_any_case() -> None:
    some = graph(**DIAMOND)
    assert some.find("Left") == some.find(id_of("LEFT")) == id_of("LEFT")
    assert some.find("nothing") is some.find(id_of("nothing")) is None


MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def node(name: str, reads: str, freshness: Freshness, *, hours_old: float = 0, max_staleness: int = 0) -> ViewNode:
    return ViewNode(
        name=name.lower(),
        is_materialized=name.isupper(),
        has_result=name.isupper(),
        views=tuple(map(id_of, reads.split())),
        freshness=freshness,
        max_staleness=timedelta(hours=max_staleness),
        data_as_of=MOMENT - timedelta(hours=hours_old),
    )


def test_followers_are_members_also_behind_others_and_behind_views_that_are_evaluated() -> None:
    some = ViewGraph(
        {
            id_of("BASE"): node("BASE", "", Freshness.CLOCK),
            id_of("plain"): node("plain", "BASE", Freshness.CLOCK),
            id_of("FIRST"): node("FIRST", "plain", Freshness.FOLLOW),
            id_of("SECOND"): node("SECOND", "FIRST", Freshness.FOLLOW),
            id_of("CLOCK"): node("CLOCK", "BASE", Freshness.CLOCK),
            id_of("BEHIND"): node("BEHIND", "CLOCK", Freshness.FOLLOW),
        }
    )
    assert names(some, "BASE") == ["BASE", "FIRST", "SECOND"]
    assert names(some, "CLOCK") == ["CLOCK", "BEHIND"]
    assert names(some, "plain") == []


def test_what_is_older_than_a_view_accepts_is_found_above_it() -> None:
    some = ViewGraph(
        {
            id_of("OLD"): node("OLD", "", Freshness.CLOCK, hours_old=3),
            id_of("YOUNG"): node("YOUNG", "OLD", Freshness.CLOCK, hours_old=1),
            id_of("plain"): node("plain", "YOUNG", Freshness.CLOCK, hours_old=9),
            id_of("EXACT"): node("EXACT", "plain", Freshness.UPSTREAM),
            id_of("PATIENT"): node("PATIENT", "plain", Freshness.UPSTREAM, max_staleness=2),
            id_of("CLOCK"): node("CLOCK", "plain", Freshness.CLOCK),
        }
    )
    now = MOMENT + timedelta(minutes=1)
    assert some.too_old([id_of("EXACT")], now) == {id_of("OLD"), id_of("YOUNG")}
    assert some.too_old([id_of("PATIENT")], now) == {id_of("OLD")}
    assert some.too_old([id_of("CLOCK"), id_of("gone")], now) == set()
    assert some.too_old([id_of("CLOCK"), id_of("PATIENT")], now) == {id_of("OLD")}
