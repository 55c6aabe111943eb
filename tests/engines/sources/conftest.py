"""Source tables over files of a test's own."""

from pathlib import Path

import pytest

from orchestrator.engines.duckdb.engine import DuckDBEngine
from tests.engines.conftest import Run
from tests.engines.sources.tables import Tables


@pytest.fixture
def tables(engine: DuckDBEngine, run: Run, data: Path) -> Tables:
    return Tables(engine, run, data)
