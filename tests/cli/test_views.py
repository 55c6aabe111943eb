"""`matview view`, except `--wait`."""

from pathlib import Path

import pytest

from orchestrator.cli.output import Failure
from tests.cli.conftest import Matview
from tests.cli.support import HISTORY, OF_VIEW, VIEW_ID, VIEWS, CannedApi, history, page, run, view


def test_a_view_is_created_from_its_sql(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", VIEWS, view(), status=201)
    result = matview("view", "create", "sales", "SELECT 1")
    assert result.stdout == f"created sales ({VIEW_ID})\n"
    assert api.posted() == [{"name": "sales", "query": {"kind": "SQLQuery", "query": "SELECT 1"}}]


def test_a_view_that_existed_is_saved(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", VIEWS, view())
    options = ("--description", "what was sold", "--edited-history-id", "abc")
    assert matview("view", "create", "sales", "SELECT 1", *options).stdout == f"saved sales ({VIEW_ID})\n"
    (body,) = api.posted()
    assert body is not None
    assert (body["description"], body["edited_history_id"]) == ("what was sold", "abc")


@pytest.mark.parametrize("arguments", [("-",), ("--file", "-"), ("--file", "sales.sql")])
def test_the_sql_may_come_from_elsewhere(
    matview: Matview, api: CannedApi, empty_folder: Path, arguments: tuple[str, ...]
) -> None:
    (empty_folder / "sales.sql").write_text("SELECT 'ä'")
    api.will_say("POST", VIEWS, view(), status=201)
    assert matview("view", "create", "sales", *arguments, stdin="SELECT 'ä'").exit_code == 0
    (body,) = api.posted()
    assert body is not None
    assert body["query"]["query"] == "SELECT 'ä'"


@pytest.mark.parametrize("arguments", [(), ("SELECT 1", "--file", "sales.sql")])
def test_the_sql_comes_from_one_place(matview: Matview, api: CannedApi, arguments: tuple[str, ...]) -> None:
    assert matview("view", "create", "sales", *arguments).exit_code == 2
    assert api.requests == []


def test_a_file_that_cannot_be_read_is_misuse(matview: Matview, empty_folder: Path) -> None:
    (empty_folder / "latin").write_bytes(b"SELECT '\xe4'")
    for name in ("missing.sql", "latin", "."):
        error = matview("view", "create", "sales", "--file", name).exception
        assert isinstance(error, Failure)
        assert error.status == 2
        assert str(error).startswith(f"{name} cannot be read: ")


def test_a_view_is_found_by_its_name_in_any_case(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view(id="another", name="sales_by_day"), view()))
    api.will_say("POST", f"{OF_VIEW}cancel/", view())
    assert matview("view", "cancel", "SALES").stdout == "sales: the run is cancelled\n"


def test_a_view_is_found_by_its_id(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", OF_VIEW, view())
    api.will_say("POST", f"{OF_VIEW}run/", view())
    assert matview("view", "run", VIEW_ID.upper()).stdout == "sales: a run was started\n"


@pytest.mark.parametrize("name", ["sale", "no-id"])
def test_a_view_that_is_not_there_is_named(matview: Matview, api: CannedApi, name: str) -> None:
    api.will_say("GET", VIEWS, page(view()))
    error = matview("view", "show", name).exception
    assert isinstance(error, Failure)
    assert name in str(error)


def test_nothing_in_a_name_or_an_error_is_markup(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view(status="Failed", latest_error="no [bold]x[/bold] at :smile:\nLINE 1")))
    assert "no [bold]x[/bold] at :smile:\n" in matview("view", "list").stdout


def test_the_frequency_is_sent_if_it_is_given(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view(is_materialized=False)))
    api.will_say("POST", f"{OF_VIEW}materialize/", view())
    assert matview("view", "materialize", "sales", "--every", "1hour").exit_code == 0
    assert matview("view", "materialize", "sales").exit_code == 0
    assert api.posted() == [{"sync_frequency": "1hour"}, {}]


def test_a_frequency_in_other_words_is_sent_as_the_word_of_the_api(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view()))
    api.will_say("POST", f"{OF_VIEW}materialize/", view())
    said = ("--every", "1d", "--freshness", "upstream", "--max-staleness", "6h")
    assert matview("view", "materialize", "sales", *said).exit_code == 0
    assert api.posted() == [{"sync_frequency": "24hour", "freshness": "upstream", "max_staleness": "6hour"}]


def test_a_frequency_that_there_is_not_is_misuse(matview: Matview) -> None:
    refused = matview("view", "materialize", "sales", "--every", "2hour")
    assert refused.exit_code == 2
    assert "Did you mean 1hour?" in " ".join(refused.output.split())
    assert matview("view", "materialize", "sales", "--every", "1hour", "--cron", "0 6 * * *").exit_code == 2


def test_a_cron_expression_is_sent_with_its_time_zone(matview: Matview, api: CannedApi) -> None:
    cron = {"cron": "0 6 * * 1-5", "time_zone": "Europe/Berlin"}
    api.will_say("GET", VIEWS, page(view(is_materialized=False)))
    api.will_say("POST", f"{OF_VIEW}materialize/", view(status="Running", **cron))
    ended = matview("view", "materialize", "sales", "--cron", cron["cron"], "--time-zone", cron["time_zone"])
    assert ended.stdout == "sales: refreshed at 0 6 * * 1-5 (Europe/Berlin) from now on; a first run was started\n"
    assert api.posted() == [cron]


def test_a_cron_expression_is_shown_with_its_time_zone(matview: Matview, api: CannedApi) -> None:
    cron = {"cron": "0 6 * * 1-5", "time_zone": "Europe/Berlin"}
    api.will_say("GET", VIEWS, page(view(**cron), view(name="other", sync_frequency="never", **cron)))
    lines = matview("view", "list").stdout.splitlines()
    assert "0 6 * * 1-5 (Europe/Berlin)" in lines[1]
    assert "never; 0 6 * * 1-5 (Europe/Berlin) is paused" in lines[2]


def test_the_history_shows_each_run_in_a_line(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view()))
    api.will_say("GET", HISTORY, history(run(2, "Running"), run(1, "Completed")))
    lines = matview("view", "history", "sales", "--limit", "2").stdout.splitlines()
    assert [line.split()[:4] for line in lines] == [
        ["STARTED", "STATUS", "TRIGGER", "SECONDS"],
        ["2026-01-01T10:00:00Z", "Running", "api", "-"],
        ["2026-01-01T10:00:00Z", "Completed", "api", "1.2"],
    ]
    assert api.requests[-1][1].endswith("?limit=2")


@pytest.mark.parametrize("limit", ["0", "101", "many"])
def test_a_limit_that_the_api_refuses_is_misuse(matview: Matview, limit: str) -> None:
    assert matview("view", "history", "sales", "--limit", limit).exit_code == 2
