"""`matview view rename`, `delete`, `revert`, `pause`, `resume`, `activity` and `dependencies`; versions and lists."""

import json
import os
import sys

import pytest

from orchestrator.cli.output import Failure
from tests.cli.conftest import Matview
from tests.cli.support import OF_VIEW, VIEW_ID, VIEWS, CannedApi, Json, page, view
from tests.cli.test_revisions import FIRST, whole
from tests.support.terminal import Terminal

VERSION = "7b8f3722-e88b-4e4b-9378-dcff5c2b584c"


@pytest.fixture
def stored(api: CannedApi) -> CannedApi:
    api.will_say("GET", VIEWS, page(view()))
    return api


def failed(matview: Matview, *arguments: str) -> Failure:
    error = matview(*arguments).exception
    assert isinstance(error, Failure)
    return error


def test_a_view_is_renamed_and_its_next_edit_still_needs_no_question(matview: Matview, stored: CannedApi) -> None:
    stored.will_say("POST", VIEWS, whole(FIRST))
    matview("view", "create", "sales", "SELECT 1")
    stored.will_say("PATCH", OF_VIEW, whole(FIRST, name="revenue"))
    assert matview("view", "rename", "sales", "revenue").stdout == "sales is called revenue now\n"
    assert stored.sent("PATCH") == [{"name": "revenue"}]
    matview("view", "create", "revenue", "SELECT 2")
    assert (stored.posted()[-1] or {})["edited_history_id"] == FIRST


@pytest.mark.parametrize("command", ["delete", "revert"])
def test_without_a_terminal_a_removal_needs_a_yes(matview: Matview, stored: CannedApi, command: str) -> None:
    error = failed(matview, "view", command, "sales")
    assert (error.status, "--yes" in str(error)) == (2, True)
    assert [method for method, _, _ in stored.requests] == ["GET"]


def test_a_removal_with_a_yes_is_done(matview: Matview, stored: CannedApi) -> None:
    stored.will_say("DELETE", OF_VIEW, b"", status=204)
    stored.will_say("POST", f"{OF_VIEW}revert_materialization/", view(is_materialized=False))
    assert matview("view", "delete", "sales", "--yes").stdout == "sales: deleted\n"
    assert "not materialized any more" in matview("view", "revert", "sales", "-y").stdout


@pytest.mark.parametrize(("answer", "status", "sent"), [("y\n", 0, 1), ("n\n", 1, 0), ("\x04", 1, 0)])
def test_on_a_terminal_a_removal_asks(stored: CannedApi, answer: str, status: int, sent: int) -> None:
    stored.will_say("DELETE", OF_VIEW, b"", status=204)
    command = [sys.executable, "-m", "orchestrator", "view", "delete", "sales"]
    with Terminal(command, env={**os.environ, **stored.env}) as terminal:
        terminal.shows("Delete the view sales with its schedule and its result? [y/N]")
        terminal.types(answer)
        assert terminal.ends() == status
    assert len(stored.sent("DELETE")) == sent


def test_a_pause_is_the_frequency_never_and_says_how_to_resume(matview: Matview, stored: CannedApi) -> None:
    stored.will_say("PATCH", OF_VIEW, view(sync_frequency="never"))
    shown = matview("view", "pause", "sales").stdout
    assert shown.startswith("sales: paused; to resume it: ")
    assert shown.endswith("view resume sales\n")
    assert stored.sent("PATCH") == [{"sync_frequency": "never"}]


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_view_without_a_schedule_is_neither_paused_nor_resumed(
    matview: Matview, api: CannedApi, command: str
) -> None:
    api.will_say("GET", VIEWS, page(view(is_materialized=False, sync_frequency=None)))
    assert "is not materialized" in str(failed(matview, "view", command, "sales"))
    assert len(api.requests) == 1


def test_a_resume_gives_a_view_that_was_set_to_never_the_frequency_that_it_had(
    matview: Matview, api: CannedApi
) -> None:
    api.will_say("GET", VIEWS, page(view(sync_frequency="never")))
    changes = [
        {"field": "description", "before": "a", "after": "never"},
        {"field": "sync_frequency", "before": "6hour", "after": "never"},
    ]
    earlier = [{"field": "sync_frequency", "before": "1hour", "after": "never"}]
    entries = [{"detail": {"changes": some}} for some in (changes, earlier)]
    api.will_say("GET", f"{OF_VIEW}activity/", {"results": entries})
    api.will_say("PATCH", OF_VIEW, view())
    assert matview("view", "resume", "sales").stdout == "sales: resumed\n"
    assert matview("view", "resume", "sales", "--every", "1hour").exit_code == 0
    assert api.sent("PATCH") == [{"sync_frequency": "6hour"}, {"sync_frequency": "1hour"}]


def test_without_a_frequency_before_the_pause_one_must_be_given(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view(sync_frequency="never")))
    api.will_say("GET", f"{OF_VIEW}activity/", {"results": []})
    assert "say --every" in str(failed(matview, "view", "resume", "sales"))


def test_all_that_are_paused_are_resumed_but_for_followers_without_a_clock(matview: Matview, api: CannedApi) -> None:
    views = [
        view(id="a", name="by_policy"),
        view(id="b", name="running"),
        view(id="c", name="follower", sync_frequency="never"),
        view(id="d", name="held", sync_frequency="never"),
        view(id="e", name="plain", is_materialized=False, sync_frequency=None),
    ]
    api.will_say("GET", VIEWS, page(*views))
    api.will_say("GET", "status/", page(*({"id": one["id"], "schedule_paused": one["id"] in "acd"} for one in views)))
    for one, freshness in (("c", "follow"), ("d", "clock")):
        api.will_say("GET", f"{VIEWS}{one}/", view(id=one, freshness=freshness))
    api.will_say(
        "GET",
        f"{VIEWS}d/activity/",
        {"results": [{"detail": {"changes": [{"field": "sync_frequency", "before": "1hour", "after": "never"}]}}]},
    )
    api.will_say("PATCH", f"{VIEWS}d/", view())
    api.will_say("POST", f"{VIEWS}resume_schedules/", {"resumed": ["a"]})
    assert matview("view", "resume", "--all").stdout == "by_policy: resumed\nheld: resumed\n"
    assert api.posted() == [{"view_ids": ["a"]}]


@pytest.mark.parametrize("arguments", [[], ["sales", "--all"]])
def test_a_resume_of_nothing_is_misuse(matview: Matview, arguments: list[str]) -> None:
    assert failed(matview, "view", "resume", *arguments).status == 2


def test_the_activity_shows_who_changed_what(matview: Matview, stored: CannedApi) -> None:
    changes = [
        {"field": "query", "before": {}, "after": {}},
        {"field": "sync_frequency", "before": None, "after": "1hour"},
    ]
    user = {"first_name": "System", "last_name": "", "email": None}
    entry: Json = {"user": user, "activity": "updated", "created_at": "2026-01-01T10:00:00.5Z"}
    stored.will_say("GET", f"{OF_VIEW}activity/", {"results": [entry | {"detail": {"changes": changes}}]})
    line = matview("view", "activity", "sales", "--limit", "3").stdout.splitlines()[1]
    assert line == "2026-01-01T10:00:00Z  System  updated  query, sync_frequency: none -> 1hour"
    assert stored.requests[-1][1].endswith("activity/?limit=3")
    assert matview("view", "activity", VIEW_ID).exit_code == 0  # of a deleted one


def test_dependencies_are_shown_by_name(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view(), view(id="other", name="by_day")))
    api.will_say("POST", f"{OF_VIEW}ancestors/", {"ancestors": ["orders", "other"]})
    api.will_say("POST", f"{OF_VIEW}descendants/", {"descendants": []})
    shown = matview("view", "dependencies", "sales", "--level", "2").stdout
    assert shown == "reads    orders, by_day\nread by  no view\n"
    assert matview("view", "dependencies", "sales", "--level", "all").exit_code == 0
    assert [body for body in api.posted() if body] == [{"level": 2}] * 2 + [{"level": "all"}] * 2


@pytest.mark.parametrize(
    "arguments",
    [["rollback"], ["pin"], ["unpin"], ["quarantine"], ["sources"]],
)
def test_a_version_that_is_none_is_named(matview: Matview, stored: CannedApi, arguments: list[str]) -> None:
    error = failed(matview, "view", *arguments, "sales", "abc")
    assert error.status == 2
    assert str(error).startswith("'abc' is no id of a version of sales; the versions: ")
    # The API says so of an id that is one, and "Not found." of another one.
    for method, path in (
        *(("POST", "rollback/"), ("PATCH", f"snapshots/{VERSION}/"), ("GET", f"snapshots/{VERSION}/quarantine/")),
        ("GET", f"snapshots/{VERSION}/source_files/"),
    ):
        gone = {"detail": "There is no such version, or it is no longer kept.", "code": "not_found"}
        stored.will_say(method, f"{OF_VIEW}{path}", gone, status=404)
    missing = failed(matview, "view", *arguments, "sales", VERSION)
    assert str(missing).startswith(f"sales has no version {VERSION}, or keeps it no longer; the versions: ")


def test_not_found_says_of_what(matview: Matview) -> None:
    assert str(failed(matview, "view", "show", VIEW_ID)) == f"there is no view {VIEW_ID} in project 7"
    assert str(failed(matview, "generation", "show", "abc")).startswith("there is no generation 'abc'")
    assert str(failed(matview, "view", "list")) == "there is no /api/projects/7/warehouse_saved_queries/ (HTTP 404)"


def test_near_names_are_suggested(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view(), view(name="orders_by_day"), view(name="x")))
    api.will_say("GET", "warehouse_tables/", page({"name": "events", "id": "1"}))
    assert str(failed(matview, "view", "show", "sale")).endswith("; did you mean sales?")
    assert str(failed(matview, "view", "show", "ORDER_BY_DAY")).endswith("; did you mean orders_by_day?")
    assert str(failed(matview, "view", "show", "something_else")).endswith("in project 7")
    assert str(failed(matview, "table", "show", "event")).endswith("; did you mean events?")


def test_all_pages_of_a_list_are_one_document(matview: Matview, api: CannedApi) -> None:
    for path, command in (
        (VIEWS, ["view", "list"]),
        ("warehouse_tables/", ["table", "list"]),
        (f"{OF_VIEW}snapshots/", ["view", "versions", VIEW_ID]),
        (f"{OF_VIEW}snapshots/{VERSION}/source_files/", ["view", "sources", VIEW_ID, VERSION]),
    ):
        api.will_say("GET", OF_VIEW, view())
        api.will_say("GET", path, page({"name": "ä"}, more=True), page({"name": "b"}))
        whole_list = json.loads(matview(*command, "--json").stdout)
        expected = {"count": 2, "next": None, "previous": None, "results": [{"name": "ä"}, {"name": "b"}]}
        assert whole_list == expected, command


def test_the_list_shows_state_age_next_run_and_rows(matview: Matview, api: CannedApi) -> None:
    views = [view(row_count=5, data_as_of="2026-01-01T10:00:00Z"), view(id="b", name="plain", status=None)]
    api.will_say("GET", VIEWS, page(*views))
    known = {
        "id": VIEW_ID,
        "condition": "Failed",
        "schedule_paused": True,
        "next_run_at": None,
        "data_as_of": None,
    }
    api.will_say("GET", "status/", page(known, known | {"id": "b", "condition": "Fresh", "schedule_paused": False}))
    header, first, second = matview("view", "list", "--search", "s").stdout.splitlines()
    assert header.split("  ")[0] == "NAME"
    assert "Failed, paused" in first
    assert " days " in first
    assert second.split()[:2] == ["plain", "Fresh"]
    assert all("search=s" in path for _, path, _ in api.requests)


def column(name: str) -> Json:
    return {"name": name, "duckdb_type": "BIGINT"}


@pytest.mark.parametrize("names", [["n"], ["n", "more"]])
def test_the_columns_are_those_that_readers_get(matview: Matview, stored: CannedApi, names: list[str]) -> None:
    shown = whole(FIRST, columns=[column(name) for name in names], current_snapshot_id=VERSION, next_run_at=None)
    more = {"description": None, "size_bytes": 1, "row_count": 1, "schedule_paused": False, "paused_reason": None}
    stored.will_say("GET", OF_VIEW, shown | more)
    versions = [{"is_current": False, "columns": []}, {"is_current": True, "columns": [column("n")]}]
    stored.will_say("GET", f"{OF_VIEW}snapshots/", page(*versions))
    result = matview("view", "show", "sales")
    assert result.exit_code == 0, result.exception
    lines = result.stdout.splitlines()
    assert "columns      n BIGINT" in lines
    assert ("not yet      its query now gives n BIGINT, more BIGINT" in lines) is (len(names) > 1)
