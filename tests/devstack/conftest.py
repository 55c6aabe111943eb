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
    """A folder with a PostgreSQL cluster, made once: making one takes longer than many tests."""
    home = Home(Path(tempfile.mkdtemp(prefix="mv-")))
    home.claim()
    await Postgres(home).prepare()
    home.release()
    yield home.path
    shutil.rmtree(home.path)


@pytest.fixture
def begun_home(home: Path, template: Path) -> Path:
    """The folder of a stack that has been started before."""
    return begin(home, template)


@pytest.fixture
def quick_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill Temporal instead of stopping it: a clean stop takes a second, and few tests need it."""
    monkeypatch.setattr(Temporal, "stop_signal", signal.SIGKILL)


@pytest.fixture
def said() -> Said:
    return Said()
