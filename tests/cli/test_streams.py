"""The real process with odd streams: encodings without umlauts, closed and full outputs, bytes for text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import VIEW_ID, VIEWS, CannedApi, page, view

MATVIEW = f"{sys.executable} -m orchestrator"


@pytest.fixture
def api(api: CannedApi) -> CannedApi:
    api.will_say("GET", VIEWS, page(view(latest_error="für später")))
    api.will_say("POST", VIEWS, view(), status=201)
    return api


def shell(api: CannedApi, command: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("matview", MATVIEW)],
        stdin=subprocess.DEVNULL,
        env={**os.environ, **api.env, **env},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    return done


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_what_the_terminal_cannot_show_is_spelled_out_and_json_is_always_utf_8(
    api: CannedApi, env: dict[str, str]
) -> None:
    api.will_say("GET", VIEWS, raw := '{"next": null, "text": "für später"}'.encode())  # for the second request
    env["PYTHONCOERCECLOCALE"] = "0"
    lines = shell(api, "matview view list", **env)
    assert (lines.returncode, b"f\\xfcr sp\\xe4ter" in lines.stdout) == (0, True)
    assert shell(api, "matview view list --json", **env).stdout == raw + b"\n"


def test_standard_input_that_is_not_text_is_misuse(api: CannedApi) -> None:
    done = shell(api, "printf 'SELECT \\xe4' | matview view create sales -")
    assert done.returncode == 2
    assert done.stderr == b"error: standard input cannot be read: it is not text in UTF-8\n"


def test_an_argument_that_is_not_text_is_misuse(api: CannedApi) -> None:
    done = shell(api, "matview view create sales $'SELECT \\xe4'")
    assert (done.returncode, done.stderr) == (2, b"error: what was given is not text in UTF-8\n")


@pytest.mark.parametrize("command", ["view list", "view list --json", "--help"])
def test_a_full_disk_is_one_line(api: CannedApi, command: str) -> None:
    done = shell(api, f"matview {command} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == b"error: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("output", ["| true", "| head -1", ">&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("command", ["view list", "--help"])
def test_a_command_does_its_work_although_nobody_reads_it(api: CannedApi, command: str, output: str) -> None:
    done = shell(api, f"matview {command} {output}")
    assert (done.returncode, done.stderr) == (0, b"")


def test_sql_that_begins_with_a_dash_is_put_behind_two(api: CannedApi) -> None:
    assert b"Put -- before one that begins with a dash" in b" ".join(
        shell(api, "matview view create --help", COLUMNS="200").stdout.split()
    )
    assert VIEW_ID.encode() in shell(api, "matview view create sales -- '-- all of it\nSELECT 1'").stdout
    assert api.posted() == [{"name": "sales", "query": {"kind": "SQLQuery", "query": "-- all of it\nSELECT 1"}}]


@pytest.mark.parametrize("command", ["migrate", "worker", "api", "project create sales"])
def test_a_database_url_that_is_none_is_one_line_that_names_the_setting(
    api: CannedApi, command: str, tmp_path: Path
) -> None:
    settings = {"MATVIEW_DATABASE_URL": "postgresql://a:b@h:notaport/x", "MATVIEW_DATA_DIR": str(tmp_path)}
    done = shell(api, f"matview {command}", **settings)
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: MATVIEW_DATABASE_URL: it is not a valid URL")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("name", ["''", "' '"])
def test_a_project_without_a_name_is_misuse(api: CannedApi, name: str) -> None:
    done = shell(api, f"matview project create {name}")
    assert done.returncode == 2
    assert b"a project needs a name" in done.stderr
