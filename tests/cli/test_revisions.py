"""An edit starts from the revision that was saved or shown last, and overwrites no other without being asked."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.cli.api_client import Api
from orchestrator.cli.output import Failure
from orchestrator.cli.revisions import remember, remembered
from orchestrator.devstack.home import write_private
from orchestrator.devstack.stack import DevStack
from tests.cli.conftest import Matview
from tests.cli.support import OF_VIEW, VIEWS, CannedApi, Json, page, view
from tests.cli.test_installation import write_dev_json
from tests.support.commands import run_matview
from tests.support.tenants import Tenant, a_tenant
from tests.support.terminal import Terminal

FIRST, SECOND, THIRD = (f"0b6f1f0e-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))
CONFLICT = {"type": "validation_error", "code": "edit_conflict", "detail": "The query was modified by someone else."}
ADA = {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.com"}


def entry(field: str, **user: str) -> Json:
    change = {"type": "x", "action": "changed", "field": field, "before": None, "after": None}
    detail = {"name": "sales", "changes": [change]}
    return {"user": ADA | user, "activity": "updated", "created_at": "2026-01-01T10:00:00.5Z", "detail": detail}


def whole(revision: str, **given: object) -> Json:
    return view(latest_history_id=revision, query={"kind": "SQLQuery", "query": "SELECT 1"}, **given)


def sent_revisions(api: CannedApi) -> list[object]:
    return [body.get("edited_history_id") for body in api.posted() if body]


def test_the_next_edit_starts_from_what_was_saved(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", VIEWS, whole(FIRST), status=201)
    for _ in range(2):
        assert matview("view", "create", "sales", "SELECT 1").exit_code == 0
    assert matview("view", "create", "SALES", "SELECT 1", "--edited-history-id", THIRD).exit_code == 0
    assert sent_revisions(api) == [None, FIRST, THIRD]


def test_the_next_edit_starts_from_what_was_shown(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view()))
    shown = whole(SECOND, columns=[], size_bytes=None, row_count=None, next_run_at=None, schedule_paused=False)
    api.will_say("GET", OF_VIEW, {**shown, "description": None, "paused_reason": None, "current_snapshot_id": None})
    assert matview("view", "show", "sales").exit_code == 0
    api.will_say("POST", VIEWS, whole(THIRD))
    matview("view", "create", "sales", "SELECT 2")
    assert sent_revisions(api) == [SECOND]


def test_another_project_and_another_server_have_a_memory_of_their_own(api: CannedApi, empty_folder: Path) -> None:
    with Api(api.url, "k", 1) as one, Api(api.url, "k", 2) as two, Api("http://127.0.0.1:1", "k", 1) as three:
        remember(one, whole(FIRST))
        assert [remembered(each, "sales") for each in (one, two, three)] == [FIRST, None, None]
    (kept,) = (empty_folder / "cache" / "matview" / "revisions").iterdir()
    assert kept.stat().st_mode & 0o077 == 0


def test_the_memory_of_a_stack_lies_in_its_folder_and_outlives_a_change_of_its_port(
    matview: Matview, api: CannedApi, empty_folder: Path
) -> None:
    write_dev_json(empty_folder, api)
    api.will_say("POST", VIEWS, whole(FIRST), status=201)
    assert matview("view", "create", "sales", "SELECT 1", env={}).exit_code == 0
    home = empty_folder / ".matview"
    with Api("http://127.0.0.1:1", "k", 7, home=home) as later:
        assert remembered(later, "sales") == FIRST
    assert not (empty_folder / "cache").exists()


@pytest.mark.parametrize("text", ["", "nonsense", "\x00" * 100, FIRST[:-1]])
def test_a_damaged_memory_is_as_good_as_none(api: CannedApi, empty_folder: Path, text: str) -> None:
    with Api(api.url, "k", 1) as one:
        remember(one, whole(FIRST))
        (kept,) = (empty_folder / "cache" / "matview" / "revisions").iterdir()
        write_private(kept, text)
        assert remembered(one, "sales") is None


def test_a_memory_that_cannot_be_written_is_no_failure(
    matview: Matview, api: CannedApi, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty_folder / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(empty_folder / "file"))
    api.will_say("POST", VIEWS, whole(FIRST), status=201)
    assert matview("view", "create", "sales", "SELECT 1").exit_code == 0


def test_writers_at_the_same_time_leave_one_whole_revision(api: CannedApi, empty_folder: Path) -> None:
    revisions = [str(uuid4()) for _ in range(200)]
    with Api(api.url, "k", 1) as one, ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda revision: remember(one, whole(revision)), revisions):
            assert remembered(one, "sales") in revisions
    assert len(list((empty_folder / "cache" / "matview" / "revisions").iterdir())) == 1


def conflicting(api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view()))
    api.will_say("GET", OF_VIEW, whole(SECOND))
    api.will_say("GET", f"{OF_VIEW}activity/", {"results": [entry("description", email="not@me"), entry("query")]})
    api.will_say("POST", VIEWS, CONFLICT, status=400)


def test_a_conflict_names_who_when_and_what_to_type(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", VIEWS, whole(FIRST), status=201)
    matview("view", "create", "sales", "SELECT 1")
    api.requests.clear()
    conflicting(api)
    api._answers["POST", f"/api/projects/7/{VIEWS}"].popleft()
    error = str(matview("view", "create", "sales", "SELECT 2").exception)
    assert error.startswith(
        "The query of sales was modified by someone else by Ada Lovelace <ada@example.com> at 2026-01-01T10:00:00Z. "
        "Nothing was saved"
    )
    assert "view show sales" in error
    assert f"--edited-history-id {SECOND}" in error


def test_a_view_that_was_not_seen_is_not_replaced_without_a_question(matview: Matview, api: CannedApi) -> None:
    conflicting(api)
    error = str(matview("view", "create", "sales", "SELECT 2").exception)
    assert error.startswith("sales exists, and its query is not known here: it was saved last by Ada Lovelace")


def test_a_key_that_may_not_read_the_activity_still_gets_an_answer(matview: Matview, api: CannedApi) -> None:
    conflicting(api)
    api.will_say("GET", f"{OF_VIEW}activity/", {"detail": "no"}, status=403)
    api._answers["GET", f"/api/projects/7/{OF_VIEW}activity/"].popleft()
    error = matview("view", "create", "sales", "SELECT 2").exception
    assert isinstance(error, Failure)
    assert f"--edited-history-id {SECOND}" in str(error)


@pytest.mark.parametrize(("answer", "is_saved"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_on_a_terminal_the_person_decides(api: CannedApi, empty_folder: Path, answer: str, is_saved: bool) -> None:
    conflicting(api)
    api.will_say("POST", VIEWS, whole(THIRD))
    env = {**os.environ, "XDG_CACHE_HOME": str(empty_folder), **api.env}
    command = [sys.executable, "-m", "orchestrator", "view", "create", "sales", "SELECT 2"]
    with Terminal(command, env=env, columns=300) as terminal:
        shown = terminal.shows("Replace it? [y/N]")
        assert "Ada Lovelace" in shown
        terminal.types(answer)
        assert terminal.ends() == (0 if is_saved else 1)
    assert sent_revisions(api) == ([None, SECOND] if is_saved else [None])


async def test_of_two_people_who_edit_one_view_the_later_is_stopped_and_reads_who_was_first(
    stack: DevStack, tenant: Tenant, tmp_path: Path
) -> None:
    def shell(cache: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {
            "XDG_CACHE_HOME": str(tmp_path / cache),
            "MATVIEW_API_URL": stack.info["api_url"],
            "MATVIEW_API_KEY": tenant.token,
            "MATVIEW_PROJECT_ID": str(tenant.project_id),
        }
        return run_matview(*arguments, env=env, cwd=tmp_path)

    assert shell("ann", "view", "create", "v", "SELECT 1 AS n").returncode == 0
    assert shell("ann", "view", "create", "v", "SELECT 2 AS n").returncode == 0
    assert shell("bob", "view", "show", "v").returncode == 0
    assert shell("ann", "view", "create", "v", "SELECT 3 AS n").returncode == 0
    late = shell("bob", "view", "create", "v", "SELECT 4 AS n")
    assert late.returncode == 1
    assert late.stderr.startswith("error: The query of v was modified by someone else by tester@example.com at ")
    assert (await tenant.view((await tenant.call("GET", "/warehouse_saved_queries/"))["results"][0]["id"]))["query"][
        "query"
    ] == "SELECT 3 AS n"
    again = late.stderr.rstrip().rpartition("--edited-history-id ")[2]
    assert shell("bob", "view", "create", "v", "SELECT 4 AS n", "--edited-history-id", again).returncode == 0
    assert shell("bob", "view", "create", "v", "SELECT 5 AS n").returncode == 0
    async with a_tenant(stack) as other:
        created = await other.create_view("v", "SELECT 1 AS n")
        assert created["latest_history_id"]
