"""The first thing that a newcomer types: the wheel installed, and nothing else, in an empty folder."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_readme import blocks
from tests.python_client.support import bare_environment


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_environment(tmp_path_factory.mktemp("wheel"), "embedded")


@contextmanager
def running(command: list[str], folder: Path, env: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


@pytest.mark.timeout(240)  # it builds a wheel and starts a stack of its own
def test_from_the_wheel_to_first_rows_as_the_readme_types_it(programs: Path, tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "empty"
    home.mkdir()
    folder.mkdir()
    env = {"PATH": f"{programs}:{os.defpath}", "HOME": str(home)}
    lines = [line for line in blocks("First rows in two minutes").splitlines() if line.strip()]
    install, dev, *typed = (line.partition("#")[0].strip() for line in lines)
    assert (install, dev) == ("pip install 'matview[embedded]'", "matview dev")
    with running(["matview", "dev", "--port", "0", "--temporal-port", "0", "--ui-port", "0"], folder, env):
        deadline = time.monotonic() + 60
        while not (folder / ".matview" / "dev.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        shell = ["bash", "-euo", "pipefail", "-c", "\n".join(typed)]
        ended = subprocess.run(shell, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Completed: 3 completed" in ended.stdout
    assert "Ada" in ended.stdout
