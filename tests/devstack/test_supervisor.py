"""How the supervisor keeps a child running, with stand-ins for the program and no servers."""

import asyncio
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from orchestrator.devstack import supervisor
from orchestrator.devstack.home import Home
from orchestrator.devstack.roles import RoleProcess
from orchestrator.devstack.supervisor import Supervisor
from tests.devstack.support import Said, fake_role


@pytest.fixture
def claimed(home: Path) -> Generator[Home]:
    found = Home(home)
    found.claim()
    yield found
    found.release()


def worker(home: Home) -> RoleProcess:
    return RoleProcess(fake_role("worker"), home, {"MATVIEW_DATA_DIR": str(home.data)})


async def test_a_worker_returns_when_the_folder_of_its_log_does(claimed: Home, said: Said) -> None:
    child, watcher = worker(claimed), Supervisor(said, lambda: None)
    await child.start()
    watcher.watch(child)
    away = claimed.logs.rename(claimed.path / "away")
    child.kill()
    assert "worker was killed by SIGKILL, and could not be started again: " in await said.next()
    away.rename(claimed.logs)
    while "started again (log:" not in await said.next():
        pass
    assert child.pid
    await watcher.unwatch_all()
    await child.stop()


async def test_a_worker_that_cannot_be_started_again_is_reported(
    claimed: Home, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_FIRST_PAUSE", 0.01)
    child, watcher = worker(claimed), Supervisor(said, lambda: None)
    await child.start()
    watcher.watch(child)
    claimed.logs.rename(claimed.path / "away")
    child.kill()
    wait_for_failure = str(await asyncio.wait_for(watcher.wait_for_failure(), 20))
    assert wait_for_failure.startswith("worker could not be started again ([Errno 2] No such file")
    assert "the 5th failure within 30 seconds" in wait_for_failure


@pytest.mark.parametrize("trouble", [SystemExit(1), BrokenPipeError(), ValueError("closed")])
async def test_a_worker_is_started_again_although_no_line_can_be_written(claimed: Home, trouble: BaseException) -> None:
    written = asyncio.Event()

    def say(_text: str) -> None:
        raise trouble

    child, watcher = worker(claimed), Supervisor(say, written.set)
    await child.start()
    watcher.watch(child)
    for _ in range(2):
        written.clear()
        os.kill(child.pid or 0, signal.SIGKILL)
        await asyncio.wait_for(written.wait(), 20)
        assert child.pid
    await watcher.unwatch_all()
    await child.stop()
