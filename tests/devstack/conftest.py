import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from orchestrator.devstack.home import Home
from orchestrator.devstack.postgres import Postgres
from orchestrator.devstack.temporal import Temporal
from tests.devstack.support import Said, begin


@pytest.fixture
def home() -> Generator[Path]:
    """A folder for a stack, with a path short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="mv-"))
    yield folder / "home"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def template() -> AsyncGenerator[Path]:
    """A folder with a cluster in it: to make one takes longer than many a test."""
    home = Home(Path(tempfile.mkdtemp(prefix="mv-")))
    home.claim()
    await Postgres(home).prepare()
    home.release()
    yield home.path
    shutil.rmtree(home.path)


@pytest.fixture
def begun_home(home: Path, template: Path) -> Path:
    """The folder of a stack that is not started for the first time."""
    return begin(home, template)


@pytest.fixture
def quick_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporal takes a second to say goodbye, which matters to few."""
    monkeypatch.setattr(Temporal, "stop_signal", signal.SIGKILL)


@pytest.fixture
def said() -> Said:
    return Said()
