"""`matview view edit`: the editor, and that no text is lost."""

import os
import re
import stat
import sys
from pathlib import Path

import pytest

from orchestrator.cli.output import Failure
from tests.cli.conftest import Matview
from tests.cli.support import OF_VIEW, VIEWS, CannedApi, Json, page, view
from tests.cli.test_revisions import CONFLICT, FIRST, SECOND, THIRD, entry, whole
from tests.support.terminal import Terminal

SQL = "SELECT 1 AS n\nFROM t"


@pytest.fixture
def stored(api: CannedApi) -> CannedApi:
    api.will_say("GET", VIEWS, page(view()))
    api.will_say("GET", OF_VIEW, stored_view(FIRST))
    return api


def stored_view(revision: str) -> Json:
    return whole(revision) | {"query": {"kind": "HogQLQuery", "query": SQL, "extra": 1}}


def editor(folder: Path, script: str) -> str:
    """An editor that runs Python on the file `path`, and leaves a copy of what it was given."""
    program = folder / "editor.py"
    program.write_text(
        "import pathlib, shutil, sys\n"
        f"path = pathlib.Path(sys.argv[-1]); shutil.copy(path, {str(folder / 'given.sql')!r})\n{script}\n"
    )
    return f"{sys.executable} '{program}' --wait"


def patched(api: CannedApi) -> list[Json | None]:
    return api.sent("PATCH")


def test_the_edited_text_is_saved_from_the_revision_that_was_loaded(
    matview: Matview, stored: CannedApi, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.will_say("PATCH", OF_VIEW, stored_view(SECOND))
    monkeypatch.setenv("EDITOR", "false")
    monkeypatch.setenv("VISUAL", editor(empty_folder, "path.write_text(path.read_text().replace('1', '2'))"))
    monkeypatch.setenv("TMPDIR", str(empty_folder))
    result = matview("view", "edit", "sales")
    assert result.exit_code == 0, result.exception
    assert result.stdout.startswith("saved sales; readers see it after its next run: ")
    query = {"kind": "HogQLQuery", "query": "SELECT 2 AS n\nFROM t", "extra": 1}
    assert patched(stored) == [{"query": query, "edited_history_id": FIRST}]
    assert (empty_folder / "given.sql").read_text() == f"{SQL}\n"


def test_a_text_that_was_not_changed_changes_nothing_and_leaves_no_file(
    matview: Matview, stored: CannedApi, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", editor(empty_folder, "print(path)"))
    (empty_folder / "drafts").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(empty_folder / "drafts"))
    assert matview("view", "edit", "sales").stdout == "sales: nothing was changed\n"
    assert patched(stored) == []
    assert list((empty_folder / "drafts").iterdir()) == []


def test_line_ends_are_kept_as_they_are(
    matview: Matview, stored: CannedApi, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.will_say("GET", OF_VIEW, whole(FIRST) | {"query": {"query": "SELECT 'ä'\r\n"}})
    stored._answers["GET", f"/api/projects/7/{OF_VIEW}"].popleft()
    monkeypatch.setenv("VISUAL", editor(empty_folder, ""))
    assert matview("view", "edit", "sales").stdout == "sales: nothing was changed\n"
    assert (empty_folder / "given.sql").read_bytes() == "SELECT 'ä'\r\n".encode()


@pytest.mark.parametrize(
    "case",
    [
        ("path.write_text('SELECT 9'); sys.exit(3)", 200, "ended with status 3"),
        ("path.write_text('SELECT 9')", 400, "Invalid query: no"),
        ("path.write_text('SELECT 9')", 503, "PostgreSQL is away"),
        ("path.write_text('  ')", 200, "the text is empty"),
        ("path.write_bytes(b'SELECT \\xff')", 200, "not in UTF-8"),
    ],
)
def test_a_text_that_is_not_saved_is_kept_and_its_file_is_named(
    matview: Matview,
    stored: CannedApi,
    empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[str, int, str],
) -> None:
    script, status, reason = case
    detail = "PostgreSQL is away" if status == 503 else "Invalid query: no"
    stored.will_say("PATCH", OF_VIEW, {"detail": detail, "code": "invalid_query"}, status=status)
    monkeypatch.setenv("VISUAL", editor(empty_folder, script))
    monkeypatch.setattr("tempfile.tempdir", str(empty_folder))
    error = matview("view", "edit", "sales").exception
    assert isinstance(error, Failure)
    assert reason in str(error)
    (path,) = re.findall(r"the text is kept in (\S+\.sql); to save it: .*view edit sales --file \1", str(error))
    kept = Path(path)
    assert kept.read_bytes().strip() in {b"SELECT 9", b"", b"SELECT \xff"}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_an_editor_that_there_is_not_is_named(
    matview: Matview, stored: CannedApi, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stored
    monkeypatch.setattr("tempfile.tempdir", str(empty_folder))
    monkeypatch.setenv("VISUAL", "no-such-editor")
    assert "no-such-editor cannot be used" in str(matview("view", "edit", "sales").exception)
    monkeypatch.setenv("VISUAL", "'")
    assert "EDITOR is no command" in str(matview("view", "edit", "sales").exception)
    monkeypatch.delenv("VISUAL")
    monkeypatch.delenv("EDITOR", raising=False)
    monkeypatch.setenv("PATH", str(empty_folder))
    assert "set EDITOR" in str(matview("view", "edit", "sales").exception)


@pytest.mark.parametrize("arguments", [["SELECT 2"], ["--file", "new.sql"], ["-"]])
def test_a_statement_that_is_given_needs_no_editor(
    matview: Matview, stored: CannedApi, empty_folder: Path, arguments: list[str]
) -> None:
    (empty_folder / "new.sql").write_text("SELECT 2")
    stored.will_say("PATCH", OF_VIEW, stored_view(SECOND))
    assert matview("view", "edit", "sales", *arguments, stdin="SELECT 2").exit_code == 0
    assert matview("view", "edit", "sales", "SELECT 3", "--edited-history-id", THIRD).exit_code == 0
    assert [(body or {})["edited_history_id"] for body in patched(stored)] == [FIRST, THIRD]


def test_a_given_statement_starts_from_what_was_seen_last(matview: Matview, stored: CannedApi) -> None:
    """Otherwise a script would overwrite the edit that was made since it was written."""
    stored.will_say("POST", VIEWS, whole(THIRD))
    matview("view", "create", "sales", "SELECT 1")
    stored.will_say("PATCH", OF_VIEW, CONFLICT, status=400)
    stored.will_say("GET", f"{OF_VIEW}activity/", {"results": [entry("query")]})
    error = str(matview("view", "edit", "sales", "SELECT 2").exception)
    assert "was modified by someone else by Ada" in error
    assert [(body or {})["edited_history_id"] for body in patched(stored)] == [THIRD]


def test_a_refused_text_is_edited_again_on_a_terminal(stored: CannedApi, empty_folder: Path) -> None:
    stored.will_say("PATCH", OF_VIEW, {"detail": "Invalid query: no", "code": "invalid_query"}, status=400)
    stored.will_say("PATCH", OF_VIEW, stored_view(SECOND))
    script = "path.write_text('SELECT 7' if 'SELEC ' in path.read_text() else 'SELEC 7')"
    env = {
        **os.environ,
        "VISUAL": editor(empty_folder, script),
        "XDG_CACHE_HOME": str(empty_folder / "cache"),
        **stored.env,
    }
    with Terminal([sys.executable, "-m", "orchestrator", "view", "edit", "sales"], env=env, columns=200) as terminal:
        shown = terminal.shows("Edit it again? [y/N]")
        assert "error: Invalid query: no" in shown
        (path,) = re.findall(r"The text is in (\S+\.sql)\.", shown)
        assert Path(path).read_text() == "SELEC 7"
        terminal.types("y\n")
        assert terminal.ends() == 0
    assert [(body or {})["query"]["query"] for body in patched(stored)] == ["SELEC 7", "SELECT 7"]
    assert not Path(path).exists()


def test_a_no_keeps_the_text(stored: CannedApi, empty_folder: Path) -> None:
    stored.will_say("PATCH", OF_VIEW, {"detail": "Invalid query: no", "code": "invalid_query"}, status=400)
    env = {**os.environ, "VISUAL": editor(empty_folder, "path.write_text('SELEC 7')"), "TMPDIR": str(empty_folder)}
    command = [sys.executable, "-m", "orchestrator", "view", "edit", "sales"]
    with Terminal(command, env={**env, "XDG_CACHE_HOME": str(empty_folder / "cache"), **stored.env}) as terminal:
        terminal.shows("[y/N]")
        terminal.types("n\n")
        assert terminal.ends() == 1
    (kept,) = empty_folder.glob("sales-*.sql")
    assert kept.read_text() == "SELEC 7"
