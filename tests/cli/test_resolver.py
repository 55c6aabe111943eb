"""Which stack a command uses, what it says if that does not run, and how it says that a command line is wrong."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.installation import same_address
from orchestrator.cli.program import advice, program
from orchestrator.devstack.home import Home
from orchestrator.devstack.stack import DevStack
from tests.cli.conftest import Matview
from tests.cli.support import VIEWS, CannedApi, page, view
from tests.cli.test_installation import failure, write_dev_json
from tests.support.commands import run_matview


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("http://127.0.0.1:8000", "http://localhost:8000/", True),
        ("http://[::1]:8000", "HTTP://LocalHost:8000", True),
        ("http://example.com", "http://example.com:80/", True),
        ("https://example.com", "http://example.com:443", False),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8001", False),
        ("http://127.0.0.1:8000", "http://127.0.0.1.example.com:8000", False),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000@example.com", False),
        ("http://127.0.0.1:8000", "http://127.0.0.1:none", False),
        ("http://127.0.0.1:8000", "", False),
    ],
)
def test_an_address_is_the_same_however_it_is_written(one: str, other: str, is_same: bool) -> None:
    assert same_address(one, other) is is_same


def test_the_address_of_the_stack_takes_its_key_and_project_from_it(
    matview: Matview, api: CannedApi, empty_folder: Path
) -> None:
    write_dev_json(empty_folder, api)
    api.will_say("GET", VIEWS, page(view()))
    url = api.url.replace("127.0.0.1", "localhost") + "/"
    result = matview("view", "list", "--api-url", url, "--verbose", env={})
    assert result.exit_code == 0, result.exception
    assert api.headers[0]["Authorization"] == "Bearer mv_of_dev"
    assert result.stderr == f"using the API at {api.url}, project 7, of the stack in {empty_folder}\n"


def test_another_address_names_what_is_missing_and_both_addresses(
    matview: Matview, api: CannedApi, empty_folder: Path
) -> None:
    write_dev_json(empty_folder, api)
    error = str(failure(matview("view", "list", "--api-url", "http://localhost:1", env={})))
    assert error == (
        "not set: MATVIEW_API_KEY (--api-key), MATVIEW_PROJECT_ID (--project); http://localhost:1 is not the address of"
        f" the `matview dev` in {empty_folder}, which is {api.url}"
    )


@pytest.mark.parametrize("command", [["view", "list"], ["status"], ["query", "SELECT 1"]])
def test_a_stack_that_does_not_run_is_said_with_the_command_that_starts_it(
    matview: Matview, api: CannedApi, empty_folder: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    write_dev_json(empty_folder, api, api_url="http://127.0.0.1:1")
    (empty_folder / "deep" / "down").mkdir(parents=True)
    monkeypatch.chdir(empty_folder / "deep" / "down")
    error = str(failure(matview(*command, env={})))
    assert "the API at http://127.0.0.1:1 cannot be reached" in error
    assert error.endswith(f"not running: start it with '{program()} dev' in {empty_folder}")


def test_the_owner_of_a_folder_is_known_while_it_is_alive_and_reading_it_disturbs_no_start(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert home.owner() is None
    home.claim()
    assert Home(home.path).owner() == os.getpid()
    home.release()
    assert Home(home.path).owner() is None
    home.claim()
    home.release()
    (home.path / "dev.lock").write_text("999999999\n")
    assert home.owner() is None


def test_a_second_start_says_where_the_first_one_is(stack: DevStack, tmp_path: Path) -> None:
    home = ["--home", str(stack.servers.home.path)]
    free = ["--port", "0", "--temporal-port", "0", "--ui-port", "0"]
    again = run_matview("dev", *home, *free, cwd=tmp_path)
    where = f"already running, pid {os.getpid()}, API at {stack.info['api_url']}, project {stack.info['project_id']}"
    assert (again.returncode, again.stdout) == (0, f"{where}\n")
    for other in (["--port", "9"], ["--port", "0", "--source-root", "/"]):
        refused = run_matview("dev", *home, *free[2:], *other, cwd=tmp_path)
        assert refused.returncode == 1
        assert refused.stderr == f"error: {where}; stop it first to start it with other options\n"


def test_a_start_says_at_once_what_it_does_and_that_there_is_another_stack_above(empty_folder: Path) -> None:
    Home(empty_folder / ".matview").claim()
    (empty_folder / ".matview" / "dev.json").write_text("{}")
    below = empty_folder / "below"
    below.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run_matview("dev", "--port", str(taken.getsockname()[1]), cwd=below)
    assert ended.stdout.startswith(f"Starting PostgreSQL, Temporal, the API and a worker; their state is in {below}/")
    note, error = ended.stderr.splitlines()
    assert note.startswith(f"note: there is a stack in {empty_folder} already; this is another one")
    assert error.startswith("error: --port")


def test_a_command_of_an_operator_without_an_installation_says_where_one_may_be(empty_folder: Path) -> None:
    for command in (["key", "list"], ["project", "create", "x"], ["reconcile", "--dry-run"]):
        ended = run_matview(*command, cwd=empty_folder)
        assert ended.returncode == 2, ended.stderr
        assert "MATVIEW_DATABASE_URL" in ended.stderr
        assert re.search(r"go to the folder of a `(\S+/)?matview dev`, or name that by --home", ended.stderr)


@pytest.mark.parametrize("command", ["api", "worker", "migrate"])
def test_a_server_without_settings_points_to_the_command_that_needs_none(empty_folder: Path, command: str) -> None:
    ended = run_matview(command, cwd=empty_folder)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: MATVIEW_DATABASE_URL: is missing; `")
    assert line.endswith("matview dev` needs no settings, and runs everything on this machine")


@pytest.mark.parametrize("command", [["key", "list"], ["project", "create", "x"], ["reconcile", "--dry-run"]])
def test_a_command_of_an_operator_says_that_the_stack_does_not_run(
    stack: DevStack, empty_folder: Path, command: list[str]
) -> None:
    (empty_folder / ".matview").mkdir()
    nowhere = {"database_url": f"postgresql://u@/d?host={empty_folder}/nowhere", "temporal_address": "127.0.0.1:1"}
    (empty_folder / ".matview" / "dev.json").write_text(json.dumps({**stack.info, **nowhere}))
    ended = run_matview(*command, cwd=empty_folder)
    assert ended.returncode == 1
    assert re.search(r"^error: \w+ is out of reach; not running: start it with ", ended.stderr)
    assert ended.stderr.endswith(f"dev' in {empty_folder}\n")


def test_doctor_says_first_that_the_stack_does_not_run(stack: DevStack, empty_folder: Path) -> None:
    (empty_folder / ".matview").mkdir()
    away = {**stack.info, "database_url": f"postgresql://u@/d?host={empty_folder}/nowhere"}
    (empty_folder / ".matview" / "dev.json").write_text(json.dumps(away))
    ended = run_matview("doctor", cwd=empty_folder)
    assert ended.returncode == 1
    first, advised, *_ = ended.stdout.splitlines()
    assert first.split(maxsplit=2) == ["fail", "stack", "`matview dev` is not running"]
    assert f"dev' in {empty_folder}" in advised


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["view", "lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["vew"], "No such command 'vew'. Did you mean 'view'?"),
        (["view", "create"], "Missing argument 'name'. See {program} view create --help."),
        (["view", "list", "--serch", "x"], "No such option: --serch (Possible options: --search)."),
        (["view", "history", "v", "--limit", "0"], "Invalid value for '--limit'"),
        (["refresh"], "name the views to refresh, or say --all"),
    ],
)
def test_a_wrong_command_line_is_one_line_that_begins_with_error(
    api: CannedApi, arguments: list[str], error: str
) -> None:
    ended = run_matview(*arguments, env=api.env)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: {error.format(program=program())}")


def test_a_group_without_a_command_shows_its_help() -> None:
    ended = run_matview("view")
    assert ended.returncode == 2
    assert ended.stderr.startswith("Usage: ")


def test_the_shell_completes_commands_also_where_the_program_is_called_by_its_path() -> None:
    env = {"_MATVIEW_COMPLETE": "complete_bash", "COMP_WORDS": "matview view ed", "COMP_CWORD": "2", "PATH": "/bin"}
    assert run_matview(env=env).stdout.split() == ["edit"]


def test_the_version_is_shown() -> None:
    ended = run_matview("--version")
    assert (ended.returncode, ended.stdout.split()[0]) == (0, "matview")


def test_advice_is_a_command_that_works_where_it_is_printed(tmp_path: Path) -> None:
    """The script is not on PATH here, and the name of the view would mean something to the shell."""
    line = advice("view", "show", "a$b")
    assert line.endswith("view show 'a$b'")
    code = "from orchestrator.cli.program import advice; print(advice('--version'))"
    env = {**os.environ, "PATH": "/bin"}
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    ran = subprocess.run(printed.stdout, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: S602
    assert ran.stdout.startswith("matview ")


def test_a_command_within_an_error_of_the_api_can_be_typed_where_the_program_is_not_on_path(
    api: CannedApi, tmp_path: Path
) -> None:
    api.will_say("POST", "query/", {"detail": "Read it: `matview table add x 'x.csv'`, then FROM x."}, status=400)
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "query", "FROM 'x.csv'"],
        cwd=tmp_path,
        env={**os.environ, **api.env, "PATH": "/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "`matview" not in ended.stderr
    assert f"{Path(sys.executable).with_name('matview')} table add x 'x.csv'`" in ended.stderr
