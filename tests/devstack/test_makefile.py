"""`make setup` where Python cannot make a virtual environment, or failed to make one before."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.devstack.support import HERE

# As on a Debian without python3-venv: Python makes a part of the folder, and then fails.
HALF = """#!/bin/sh
test "$1" = -c && exit 0
mkdir -p .venv/bin; printf '#!/bin/sh\\nexit 1\\n' > .venv/bin/python; chmod +x .venv/bin/python; exit 1
"""
WHOLE = HALF.replace("nexit 1", "nexit 0").replace("; exit 1\n", "\n")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    shutil.copy(HERE.parents[1] / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    return tmp_path


def make(clone: Path, python: str) -> subprocess.CompletedProcess[str]:
    (clone / "python").write_text(python)
    (clone / "python").chmod(0o700)
    command = ["make", "setup", f"PYTHON={clone}/python"]
    # A make that runs these tests names itself to those it starts, which then print the folder they enter.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKELEVEL", "MAKEFLAGS")}
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)


def test_an_environment_that_was_left_half_made_is_made_again(clone: Path) -> None:
    failed = make(clone, HALF)
    assert failed.returncode != 0
    assert "python3-venv" in failed.stderr
    assert failed.stdout.startswith("Installing what Matview needs into .venv: this takes a minute or two"), "at once"
    assert make(clone, WHOLE).returncode == 0
    assert (clone / ".venv" / ".installed").exists()
