"""The file by which a supervisor sees that a worker polls."""

import asyncio
from pathlib import Path

import pytest

from orchestrator.devstack.ports import choose_ports
from orchestrator.devstack.stack import DevStack
from orchestrator.settings import load_settings
from orchestrator.worker import run_worker
from tests.acceptance.test_round_trips import settings_of
from tests.support.tenants import until


async def test_the_file_is_there_while_a_worker_polls(
    stack: DevStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ready, stop = tmp_path / "ready", asyncio.Event()
    # As often as the stack's own worker asks for the reconciler: the schedule is everyone's.
    settings = settings_of(stack, monkeypatch, ready).model_copy(update={"reconcile_seconds": 600})
    working = asyncio.create_task(run_worker(settings, stop))

    async def polls() -> bool:
        return ready.exists()

    await until(polls, "a worker that polls")
    stop.set()
    await working
    assert not ready.exists()


async def test_a_file_that_a_killed_worker_left_shows_no_other_worker_as_ready(tmp_path: Path) -> None:
    ready, stop = tmp_path / "ready", asyncio.Event()
    ready.touch()
    (closed,) = choose_ports({"temporal": 0})
    settings = load_settings(
        _env_file=None,
        database_url="postgresql://localhost/none",
        data_dir=tmp_path,
        temporal_address=f"127.0.0.1:{closed}",
        temporal_namespace="none",
        ready_file=ready,
    )
    working = asyncio.create_task(run_worker(settings, stop))

    async def gone() -> bool:
        return not ready.exists()

    await until(gone, "the file to be gone")
    stop.set()
    await working
    assert not ready.exists()
