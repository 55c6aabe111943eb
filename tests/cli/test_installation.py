"""Which API and key a command uses, and its error when a request fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import Result

from orchestrator.cli.output import Failure
from orchestrator.devstack.home import DevInfo
from tests.cli.conftest import Matview
from tests.cli.support import VIEWS, CannedApi, page, view


def failure(result: Result) -> Failure:
    assert isinstance(result.exception, Failure), result.output
    assert "\n" not in str(result.exception)
    return result.exception


def write_dev_json(folder: Path, api: CannedApi, **given: str) -> None:
    (folder / ".matview").mkdir()
    info = dict.fromkeys(DevInfo.__required_keys__, "") | {
        "api_url": api.url,
        "api_key": "mv_of_dev",
        "project_id": "7",
        **given,
    }
    (folder / ".matview" / "dev.json").write_text(json.dumps(info))


def test_the_environment_says_where_and_who(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view()))
    result = matview("view", "list")
    assert result.exit_code == 0
    assert "sales" in result.stdout
    assert api.headers[0]["Authorization"] == "Bearer mv_key"


def test_options_come_before_the_environment(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page())
    result = matview(
        "view", "list", "--api-key", "mv_other", "--project", "7", env={**api.env, "MATVIEW_PROJECT_ID": "8"}
    )
    assert result.exit_code == 0
    assert api.headers[0]["Authorization"] == "Bearer mv_other"


def test_in_the_folder_of_a_stack_nothing_needs_to_be_set(matview: Matview, api: CannedApi, empty_folder: Path) -> None:
    write_dev_json(empty_folder, api)
    api.will_say("GET", VIEWS, page(view()))
    assert "sales" in matview("view", "list", env={}).stdout
    assert api.headers[0]["Authorization"] == "Bearer mv_of_dev"


def test_the_key_of_the_stack_is_not_sent_to_another_server(
    matview: Matview, api: CannedApi, empty_folder: Path
) -> None:
    write_dev_json(empty_folder, api, api_url="http://127.0.0.1:1")
    error = failure(matview("view", "list", env={"MATVIEW_API_URL": api.url}))
    assert error.status == 2
    assert "MATVIEW_API_KEY" in str(error)
    assert api.requests == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"api_url": null}'])
def test_a_damaged_dev_json_is_as_good_as_none(matview: Matview, empty_folder: Path, text: str) -> None:
    (empty_folder / ".matview").mkdir()
    (empty_folder / ".matview" / "dev.json").write_text(text)
    assert "not set: MATVIEW_API_URL" in str(failure(matview("view", "list", env={})))


def test_only_what_is_missing_is_asked_for(matview: Matview) -> None:
    error = failure(matview("table", "list", env={"MATVIEW_API_URL": "http://127.0.0.1:1", "MATVIEW_API_KEY": "k"}))
    assert "MATVIEW_PROJECT_ID (--project)" in str(error)
    assert "MATVIEW_API_KEY" not in str(error)
    assert "matview dev" in str(error)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://localhost:port"])
def test_an_address_that_is_none_is_misuse(matview: Matview, api: CannedApi, url: str) -> None:
    assert failure(matview("view", "list", env={**api.env, "MATVIEW_API_URL": url})).status == 2


def test_a_key_that_cannot_be_sent_is_misuse(matview: Matview, api: CannedApi) -> None:
    assert failure(matview("view", "list", env={**api.env, "MATVIEW_API_KEY": "schlüssel"})).status == 2


def test_a_project_that_is_no_number_is_misuse(matview: Matview) -> None:
    assert matview("view", "list", "--project", "seven").exit_code == 2


def test_an_api_that_cannot_be_reached_is_one_line(matview: Matview, api: CannedApi) -> None:
    error = failure(matview("view", "list", env={**api.env, "MATVIEW_API_URL": "http://127.0.0.1:1"}))
    assert error.status == 1
    assert "http://127.0.0.1:1 cannot be reached" in str(error)


def test_no_proxy_is_asked_for_this_machine(matview: Matview, api: CannedApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    api.will_say("GET", VIEWS, page(view()))
    assert matview("view", "list").exit_code == 0


def test_an_error_shows_its_detail_and_its_status(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, {"type": "permission_error", "detail": "You may not."}, status=403)
    assert str(failure(matview("view", "list"))) == "You may not. (HTTP 403)"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"message": "no"}'])
def test_an_error_of_something_else_shows_its_status(matview: Matview, api: CannedApi, body: bytes) -> None:
    api.will_say("GET", VIEWS, body, status=502)
    assert str(failure(matview("view", "list"))) == "Bad Gateway (HTTP 502)"


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"[]", b"\xff"])
def test_a_page_that_is_not_the_api_is_recognized(matview: Matview, api: CannedApi, body: bytes) -> None:
    api.will_say("GET", VIEWS, body)
    assert "is not Matview's API" in str(failure(matview("view", "list")))


def test_the_process_ends_with_one_line_and_the_status(empty_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "view", "list"],
        cwd=empty_folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: not set: MATVIEW_API_URL")
    assert done.stderr.count("\n") == 1
