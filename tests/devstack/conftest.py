import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest


@pytest.fixture
def home() -> Generator[Path]:
    """A folder for a stack, with a path short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="mv-"))
    yield folder / "home"
    shutil.rmtree(folder)
