"""Installs PostHog's client once, and records its calls in a transcript for people to read."""

import asyncio
import os
from pathlib import Path

import pytest

from orchestrator.devstack.stack import DevStack
from tests.client.support import CACHE, Client, install
from tests.support.tenants import Tenant


@pytest.fixture(scope="session")
def transcript(installed: Path) -> Path:
    """An empty transcript; each process that runs tests has its own, of the same name in every session."""
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
