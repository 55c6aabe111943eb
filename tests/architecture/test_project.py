"""Promises about the repository itself."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_lock_holds_hashes_and_names_no_index() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert lock.count("--hash=sha256:") > lock.count("==") > 50
    assert "://" not in lock
    assert "--index" not in lock
    assert "--find-links" not in lock


def test_no_function_hides_an_import_circle() -> None:
    """The one import inside a function is that of the program's entry, which says why."""
    found = subprocess.run(
        ["git", "grep", "-nE", r"^\s+(from|import) (orchestrator|api)\b", "--", "orchestrator", "api"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    inside = [line for line in found if "workflows/" not in line]  # their block of passed-through imports
    assert [line.split(":")[0] for line in inside] == ["orchestrator/__main__.py"]
