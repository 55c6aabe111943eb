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
    """Imports inside functions are for what starts processes, each of which should load only what it runs.

    And for extras, which may not be installed.
    """
    found = subprocess.run(
        ["git", "grep", "-nE", r"^\s+(from|import) (orchestrator|api)\b", "--", "orchestrator", "api"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    inside = {line.split(":")[0] for line in found if "workflows/" not in line}  # their passed-through imports
    commands = {f"orchestrator/cli/{name}.py" for name in ("database_access", "doctor", "processes", "shell")}
    children = {"orchestrator/engines/duckdb/child/entry.py"}
    extras = {"orchestrator/container.py", "orchestrator/engines/duckdb/child/session.py"}  # object stores, Spark
    assert inside <= commands | children | extras | {"orchestrator/__main__.py"}
