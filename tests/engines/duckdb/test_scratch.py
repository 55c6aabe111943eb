"""The folders that queries spill into."""

import subprocess
import sys
from pathlib import Path

from orchestrator.engines.duckdb.scratch import Scratch, remove_abandoned


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys; from orchestrator.engines.duckdb.scratch import Scratch; "
        "(Scratch(pathlib.Path(sys.argv[1])).path / 'spilled').touch(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.exists()
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_use_is_left_alone(tmp_path: Path) -> None:
    first, second = Scratch(tmp_path), Scratch(tmp_path)
    remove_abandoned(tmp_path)
    assert first.path.exists()
    assert second.path.exists()
    first.remove()
    second.remove()


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        Scratch(tmp_path).remove()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
