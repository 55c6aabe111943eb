"""Source tables over files of a test's own."""

from pathlib import Path

import pytest

from tests.engines.conftest import Run, WholeEngine
from tests.engines.sources.tables import Tables


@pytest.fixture
def tables(engine: WholeEngine, run: Run, data: Path) -> Tables:
    return Tables(engine, run, data)
