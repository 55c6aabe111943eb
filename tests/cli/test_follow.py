"""Following a run: which one, and how the command ends."""

import json
import os
import signal
import subprocess
import sys

import pytest

from orchestrator.cli.follow import pick_started_run
from orchestrator.cli.output import Failure
from tests.cli.conftest import Matview
from tests.cli.support import HISTORY, OF_VIEW, VIEWS, CannedApi, Json, history, page, run, view

OLD = run(1, "Completed")
MINE = run(2, "Running")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], [], None),
        ([OLD], [OLD], None),
        ([OLD], [MINE, OLD], MINE),
        # The run ended before the command could list it.
        ([OLD], [run(2, "Failed"), OLD], MINE),
        # The call joins the run that was in progress, even if that has ended by now.
        ([MINE, OLD], [MINE, OLD], MINE),
        ([MINE, OLD], [run(2, "Completed"), OLD], MINE),
        ([MINE, OLD], [run(3, "Running", trigger="schedule"), run(2, "Completed"), OLD], MINE),
        # The run in progress ended just before the call, which then started another.
        ([OLD | {"status": "Running"}], [MINE, OLD], MINE),
        # The schedule started a run first, and the call joined it.
        ([OLD], [run(2, "Running", trigger="schedule"), OLD], MINE),
        # The run is over, and the schedule or another client has started the next.
        ([OLD], [run(3, "Running", trigger="schedule"), run(2, "Completed"), OLD], MINE),
        ([OLD], [run(3, "Running"), run(2, "Completed"), OLD], MINE),
        ([], [run(2, "Completed", trigger="first")], MINE),
    ],
)
def test_the_run_of_a_call_is_recognized(before: list[Json], after: list[Json], expected: Json | None) -> None:
    assert pick_started_run(before, after) == (expected["id"] if expected else None)


@pytest.fixture
def started(api: CannedApi) -> CannedApi:
    """An API whose view has run before and is run again now."""
    api.will_say("GET", VIEWS, page(view()))
    api.will_say("GET", HISTORY, history(OLD))
    api.will_say("POST", f"{OF_VIEW}run/", view())
    return api


def test_a_run_is_followed_until_it_completes(matview: Matview, started: CannedApi) -> None:
    progress = {"percent": 41.7, "elapsed_seconds": 3.2}
    started.will_say("GET", HISTORY, history(MINE, OLD), history(MINE | {"progress": progress}, OLD))
    started.will_say("GET", HISTORY, history(run(2, "Completed"), OLD))
    result = matview("view", "run", "sales", "--wait")
    assert result.exit_code == 0
    assert result.stdout == "sales: 42 %, 3 s\nsales: 1,234 rows, 5.7 kB, 1.2 seconds\n"


def test_the_end_of_an_older_run_is_not_taken_for_it(matview: Matview, started: CannedApi) -> None:
    """The run is listed only in the third answer; until then the newest one is an older, completed run."""
    started.will_say("GET", HISTORY, history(OLD), history(OLD), history(run(2, "Failed"), OLD))
    error = matview("view", "run", "sales", "--wait").exception
    assert isinstance(error, Failure)
    assert (error.status, str(error)) == (1, "sales: Out of luck")


def test_a_cancelled_run_has_a_status_of_its_own(matview: Matview, started: CannedApi) -> None:
    started.will_say("GET", HISTORY, history(run(2, "Cancelled"), OLD))
    error = matview("view", "run", "sales", "--wait").exception
    assert isinstance(error, Failure)
    assert error.status == 3


def test_a_wait_outlives_a_restart_of_the_api(matview: Matview, started: CannedApi) -> None:
    started.will_say("GET", HISTORY, history(MINE, OLD))
    started.will_say("GET", HISTORY, {"detail": "PostgreSQL is out of reach."}, status=503)
    started.will_say("GET", HISTORY, history(run(2, "Completed"), OLD))
    assert matview("view", "run", "sales", "--wait").exit_code == 0


def test_json_after_a_wait_is_the_run(matview: Matview, started: CannedApi) -> None:
    started.will_say("GET", HISTORY, history(run(2, "Completed"), OLD))
    assert json.loads(matview("view", "run", "sales", "--wait", "--json").stdout) == run(2, "Completed")


def test_a_refused_run_is_not_waited_for(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view()))
    api.will_say("GET", HISTORY, history())
    api.will_say("POST", f"{OF_VIEW}run/", {"detail": "Materialize it first."}, status=400)
    assert str(matview("view", "run", "sales", "--wait").exception) == "Materialize it first. (HTTP 400)"


def test_materializing_again_starts_nothing_to_wait_for(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view(is_materialized=True)))
    api.will_say("GET", HISTORY, history(OLD))
    api.will_say("POST", f"{OF_VIEW}materialize/", view())
    result = matview("view", "materialize", "sales", "--wait")
    assert result.exit_code == 0
    assert "no run was started" in result.stdout


def test_ctrl_c_ends_the_wait_and_not_the_run(started: CannedApi) -> None:
    progress = {"percent": None, "elapsed_seconds": 1.0}
    started.will_say("GET", HISTORY, history(MINE | {"progress": progress}, OLD))
    waiting = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "view", "run", "sales", "--wait"],
        env={**os.environ, **started.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "sales: running, 1 s\n"
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert "the run goes on. To stop it: " in said
    assert said.endswith("matview view cancel sales\n")
    assert [method for method, _, _ in started.requests].count("POST") == 1
