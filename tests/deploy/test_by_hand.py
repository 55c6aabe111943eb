import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.by_hand import play
from tests.deploy.machine import Machine


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the users of the containers can enter; pytest's own folder is closed to them."""
    made = Path(tempfile.mkdtemp(prefix="mv-hand-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


async def test_the_containers_commands_in_their_order_make_an_installation_that_refreshes_a_view(folder: Path) -> None:
    await play(Machine(folder, Path(sysconfig.get_path("scripts"))))
