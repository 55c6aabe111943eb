"""The client is installed once; what was said with it is written down for people to read."""

import asyncio
import os
from pathlib import Path

import pytest

from orchestrator.devstack.stack import DevStack
from tests.client.support import CACHE, Client, install
from tests.support.tenants import Tenant


@pytest.fixture(scope="session")
def transcript(installed: Path) -> Path:
    """An empty file: one for each process that runs tests, always the same ones."""
    assert installed.exists()
    path = CACHE / f"transcript-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}.txt"
    path.write_text("")
    return path


@pytest.fixture(scope="session")
async def installed() -> Path:
    """The folder that the client is in."""
    return await asyncio.to_thread(install)


@pytest.fixture
def client(installed: Path, transcript: Path, stack: DevStack, tenant: Tenant) -> Client:
    """PostHog's client, with the key of the test's own project."""
    return Client(installed, transcript, stack.info["api_url"], tenant.token, tenant.project_id)
