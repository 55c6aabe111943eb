"""Text from outside is shown on a terminal without control characters that the terminal would obey."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Matview
from tests.cli.support import HISTORY, OF_VIEW, VIEW_ID, VIEWS, CannedApi, history, page, run, view
from tests.support.commands import run_matview

HOSTILE = "first\nsales: 9 rows, 1 kB\r\x1b[2J\x1b]0;owned\x07\x9b31m\u202ecod\u2066\u2028\x85\x7f\x0b"
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
SHOWN = {
    "query": {"query": f"SELECT 1 -- {HOSTILE}"}, "id": VIEW_ID, "name": "sales", "description": HOSTILE,
    "status": "Failed", "latest_error": HOSTILE, "sync_frequency": "1hour", "last_run_at": None, "cron": None,
    "time_zone": None,
    "next_run_at": None, "data_as_of": None, "freshness": "clock", "max_staleness": None,
    "schedule_paused": True, "paused_reason": HOSTILE, "row_count": None, "size_bytes": None,
    "current_snapshot_id": None, "latest_history_id": None, "columns": [{"name": HOSTILE, "duckdb_type": HOSTILE}],
}  # fmt: skip


@pytest.fixture
def api(api: CannedApi) -> CannedApi:
    api.will_say("GET", VIEWS, page(view(latest_error=HOSTILE, name="sales")))
    api.will_say("GET", OF_VIEW, SHOWN)
    api.will_say("GET", HISTORY, history(run(1, "Failed", error=HOSTILE)))
    api.will_say("GET", "warehouse_tables/", {"type": "x", "detail": HOSTILE}, status=400)
    return api


@pytest.mark.parametrize(
    "command", [["view", "list"], ["view", "show", VIEW_ID], ["view", "history", VIEW_ID], ["table", "list"]]
)
def test_nothing_that_a_server_says_steers_a_terminal_or_begins_a_line(
    api: CannedApi, command: list[str], tmp_path: Path
) -> None:
    done = process(api, tmp_path, *command)
    assert "first" in done.stdout + done.stderr
    assert not UNSAFE.search(done.stdout + done.stderr)
    *_, own = (done.stdout + done.stderr).partition("SELECT 1")  # the query itself is shown as it is written
    own = (done.stdout + done.stderr).removesuffix(own)
    assert not [line for line in own.split("\n") if line.startswith("sales: 9 rows")]


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("command", [["view", "list"], ["view", "show", VIEW_ID], ["view", "history", VIEW_ID]])
def test_json_has_the_same_value_and_nothing_that_a_terminal_obeys(matview: Matview, command: list[str]) -> None:
    shown = matview(*command, "--json").stdout
    assert not UNSAFE.search(shown)
    assert HOSTILE in values(json.loads(shown))


def test_a_usage_error_does_not_repeat_the_name_of_a_file_as_it_is(api: CannedApi, tmp_path: Path) -> None:
    (tmp_path / "\x1b[2J\x9b.csv").touch()
    for arguments in (["table", "add", "t", *map(str, tmp_path.iterdir())], ["view", "show", "a", "\x1b[2J"]):
        done = process(api, tmp_path, *arguments)
        assert done.returncode != 0
        assert not UNSAFE.search(done.stdout + done.stderr)


def process(api: CannedApi, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_matview(*arguments, cwd=folder, env=api.env)


def values(node: object) -> list[object]:
    if isinstance(node, dict):
        return [value for each in node.values() for value in values(each)]
    return [value for each in node for value in values(each)] if isinstance(node, list) else [node]
