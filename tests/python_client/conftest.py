"""Connections of the Python client."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import matview
from orchestrator.devstack.stack import DevStack
from tests.python_client.support import bare_environment, connected
from tests.support.tenants import Tenant


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make sure that the environment names no server and no proxy."""
    for name in ("MATVIEW_API_URL", "MATVIEW_API_KEY", "MATVIEW_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def mv(stack: DevStack, tenant: Tenant) -> Iterator[matview.Connection]:
    """A connection to the project of a test."""
    with connected(stack, tenant) as connection:
        yield connection


@pytest.fixture(scope="session")
def bare(session_folder: Path) -> Path:
    """The programs of an environment that has the wheel and what it requires, and nothing else."""
    folder = session_folder / "client-alone"
    folder.mkdir()
    return bare_environment(folder)
