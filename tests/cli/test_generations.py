"""`matview refresh` and `matview generation`."""

import json
import os
import signal
import subprocess
import sys

import pytest

from orchestrator.cli import generation_display
from tests.cli.conftest import Matview
from tests.cli.support import CannedApi, Json, run

ID = "0d9f1f0e-0000-4000-8000-000000000001"
PATH = f"generations/{ID}/"


def member(name: str, status: str, *parents: str, **more: object) -> Json:
    phase = more.pop("phase", "waiting" if status == "Running" else None)
    shown = run(1, status) | {"skipped_reason": None, "error": None} | more
    return {"id": name, "name": name, "parents": list(parents), "phase": phase, "run": shown}


def generation(status: str, *members: Json) -> Json:
    counts: dict[str, int] = {}
    for one in members:
        counts[one["run"]["status"]] = counts.get(one["run"]["status"], 0) + 1
    found = {"id": ID, "status": status, "trigger": "api", "created_at": "2026-11-28T10:00:00.5Z", "started_at": None}
    return {**found, "view_count": len(members), "counts": counts, "views": list(members)}


@pytest.fixture
def started(api: CannedApi) -> CannedApi:
    api.will_say("POST", "generations/", generation("Running"), status=202)
    return api


@pytest.mark.parametrize(
    ("arguments", "select"),
    [
        (["a", "b"], {"views": ["a", "b"], "direction": "none"}),
        (["a", "--upstream"], {"views": ["a"], "direction": "upstream"}),
        (["a", "--downstream"], {"views": ["a"], "direction": "downstream"}),
        (["a", "--downstream", "--upstream"], {"views": ["a"], "direction": "both"}),
        (["--all"], {"all": True}),
    ],
)
def test_the_views_are_chosen_as_asked(
    matview: Matview, started: CannedApi, arguments: list[str], select: Json
) -> None:
    result = matview("refresh", *arguments, "--no-wait")
    assert (result.exit_code, result.stdout) == (0, f"generation {ID} was started\n")
    assert started.posted() == [{"select": select, "force": False, "publish": "what_succeeded"}]


def test_it_is_forced_and_published_as_asked(matview: Matview, started: CannedApi) -> None:
    matview("refresh", "--all", "--force", "--all-or-nothing", "--no-wait")
    assert started.posted() == [{"select": {"all": True}, "force": True, "publish": "all_or_nothing"}]


@pytest.mark.parametrize("arguments", [[], ["a", "--all"]])
def test_neither_views_nor_all_is_a_usage_error(matview: Matview, api: CannedApi, arguments: list[str]) -> None:
    result = matview("refresh", *arguments)
    assert "name the views to refresh, or say --all" in str(result.exception)
    assert api.requests == []


def test_it_is_followed_to_its_end_with_a_line_for_each_view(matview: Matview, started: CannedApi) -> None:
    top, below = member("top", "Completed", rows=5, bytes=1000, duration_seconds=1.0), member("low", "Running", "top")
    started.will_say("GET", PATH, generation("Running"), generation("Running", top, below))
    same = member("low", "Skipped", "top", skipped_reason="The same.")
    started.will_say("GET", PATH, generation("Completed", same, top))
    result = matview("refresh", "top", "--downstream")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "top: 5 rows, 1.0 kB, 1.0 seconds",
        "low: skipped. The same.",
        "Completed: 1 completed, 1 skipped",
    ]


@pytest.mark.parametrize(("status", "code"), [("Partial", 1), ("Failed", 1), ("Cancelled", 3)])
def test_the_exit_status_says_how_it_ended(matview: Matview, started: CannedApi, status: str, code: int) -> None:
    bad = member("bad", "Failed", error="no luck", duration_seconds=0.25)
    started.will_say("GET", PATH, generation(status, bad))
    result = matview("refresh", "--all")
    assert "bad: failed after 0.2 seconds. no luck" in result.stdout
    assert (str(result.exception), getattr(result.exception, "status", None)) == (f"{status}: 1 failed", code)


def test_json_is_the_answer_of_the_api(matview: Matview, started: CannedApi) -> None:
    started.will_say("GET", PATH, generation("Skipped", member("v", "Skipped")))
    assert json.loads(matview("refresh", "--all", "--json").stdout)["status"] == "Skipped"


@pytest.mark.parametrize(("option", "cancels"), [([], False), (["--cancel-on-interrupt"], True)])
def test_an_interrupt_leaves_it_or_cancels_it_as_asked(started: CannedApi, option: list[str], cancels: bool) -> None:
    started.will_say("GET", PATH, generation("Running"))
    started.will_say("POST", f"{PATH}cancel/", generation("Cancelled"))
    command = [sys.executable, "-m", "orchestrator", "refresh", "--all", *option]
    with subprocess.Popen(command, env={**os.environ, **started.env}, stderr=subprocess.PIPE, text=True) as process:
        while not any(path.endswith(PATH) for _, path, _ in started.requests):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert any(path.endswith("/cancel/") for _, path, _ in started.requests) is cancels
    assert (f"generation {ID} is cancelled" in errors) is cancels
    assert ("matview generation cancel" in errors) is not cancels


def test_they_are_listed_and_shown(matview: Matview, api: CannedApi) -> None:
    done = generation("Completed", member("v", "Completed", rows=5, bytes=1000, duration_seconds=1.0))
    api.will_say("GET", "generations/", {"count": 1, "next": None, "previous": None, "results": [done]})
    api.will_say("GET", PATH, done)
    listed = matview("generation", "list", "--view", "v", "--status", "Completed").stdout
    assert listed.splitlines()[1].split() == ["2026-11-28T10:00:00Z", "Completed", "api", "1", "1", "completed", ID]
    assert api.requests[0][1].endswith("?page_size=20&view=v&status=Completed")
    assert matview("generation", "show", ID).stdout.splitlines() == [
        "Completed: 1 completed",
        "v: 5 rows, 1.0 kB, 1.0 seconds",
    ]


def test_it_is_cancelled(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", f"{PATH}cancel/", generation("Cancelled"))
    assert matview("generation", "cancel", ID).stdout == f"generation {ID} is cancelled\n"


def test_the_tree_has_each_view_once_below_what_it_reads() -> None:
    members = [
        member("bottom", "Running", "left", "right"),
        member("left", "Running", "top", phase="querying"),
        member("right", "Failed", "top", error="\x1b[2J"),
        member("top", "Completed", rows=1, bytes=1, duration_seconds=0.0),
    ]
    tree = generation_display._tree(generation("Running", *members))
    (top,) = tree.children
    assert str(top.label).startswith("top: 1 row,")
    labels = [str(one.label) for one in top.children]
    assert labels == ["left: querying", "right: failed after 1.2 seconds. \\x1b[2J"]
    assert [str(one.label) for one in top.children[1].children] == ["bottom: waiting"]


def test_of_many_views_the_tree_has_those_that_run_or_failed() -> None:
    members = [member(f"v{number}", "Running") for number in range(500)]
    members[7] = member("v7", "Failed", error="no")
    members[8] = member("v8", "Running", phase="querying")
    tree = generation_display._tree(generation("Running", *members))
    assert [str(one.label).split(":", maxsplit=1)[0] for one in tree.children] == ["v7", "v8"]
