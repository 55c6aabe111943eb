"""Signals to the process that runs the stack, and the users that may run it."""

import asyncio
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from orchestrator.devstack.postgres import as_reader, binary
from tests.devstack.support import (
    ask,
    events,
    owner,
    read_info,
    supervisor,
    until_made,
    until_nothing_is_alive_below,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can show what root and others may do")


async def test_one_home_is_for_one_stack(begun_home: Path) -> None:
    home = begun_home
    async with supervisor(home) as first:
        assert await first.line() == "ready"
        async with supervisor(home, leaves_alone=True) as second:
            refusal = f"{home} is in use by another stack, pid {first.process.pid}; stop that one first"
            assert await second.line() == refusal
            assert await second.process.wait() == 1
        first.process.terminate()
        assert await first.line() == "stopped"


async def test_no_child_outlives_a_killed_supervisor_and_the_next_start_recovers(begun_home: Path) -> None:
    home = begun_home
    async with supervisor(home) as first:
        assert await first.line() == "ready"
        await ask(read_info(home)["database_url"], "CREATE TABLE kept AS SELECT 42 AS answer")
        first.process.kill()
        await first.process.wait()
        # This does not wait until the children have ended: the next start has to.
        async with supervisor(home) as second:
            assert await second.line() == "ready"
            assert await ask(read_info(home)["database_url"], "SELECT answer FROM kept") == 42


async def test_a_start_recovers_when_everything_was_killed_at_once(begun_home: Path) -> None:
    home = begun_home
    async with supervisor(home) as first:
        assert await first.line() == "ready"
        await ask(read_info(home)["database_url"], "CREATE TABLE kept AS SELECT 42 AS answer")
        for pid in reversed(read_info(home)["pids"].values()):  # the supervisor last: its death would stop the rest
            os.kill(pid, signal.SIGKILL)
        await until_nothing_is_alive_below(home)
        assert (home / "postgres" / "postmaster.pid").exists()
        # The file names a process that is alive, as it would if its process id had been reused.
        lines = (home / "postgres" / "postmaster.pid").read_text().split("\n")
        (home / "postgres" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]))
    async with supervisor(home) as second:
        assert await second.line() == "ready"
        assert await ask(read_info(home)["database_url"], "SELECT answer FROM kept") == 42


async def test_an_impatient_second_ctrl_c_leaves_nothing_behind(begun_home: Path) -> None:
    home = begun_home
    async with supervisor(home) as running:
        assert await running.line() == "ready"
        for _ in range(4):
            running.process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.05)
        assert await running.line() == "stopped"
        assert await running.process.wait() == 0
        assert events(home)[-2:] == ["api stopped", "worker stopped"]
        assert read_info(home)["pids"] == {}
        await until_nothing_is_alive_below(home, seconds=0.2)


async def test_a_stack_under_nohup_outlives_its_terminal(begun_home: Path) -> None:
    async with supervisor(begun_home, prefix=["nohup"]) as running:
        assert await running.line() == "ready"
        running.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.5)
        assert "api stopped" not in events(begun_home)
        running.process.terminate()
        assert await running.line() == "stopped"


async def test_ctrl_c_while_it_starts_leaves_nothing_behind(home: Path) -> None:
    async with supervisor(home) as starting:
        await until_made(home / "logs" / "postgres.log")
        starting.process.send_signal(signal.SIGINT)
        assert await starting.line() == "stopped"
        assert await starting.process.wait() == 0
        await until_nothing_is_alive_below(home, seconds=0.2)


@pytest.fixture
def home_of_root() -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mv-", dir=Path("~root").expanduser()))
    folder.chmod(0o700)
    yield folder / "home"
    shutil.rmtree(folder)


@as_root
async def test_root_can_run_it_in_a_folder_that_only_root_may_enter(home_of_root: Path) -> None:
    async with supervisor(home_of_root) as running:
        assert await running.line() == "ready"
        info = read_info(home_of_root)
        assert owner(info["pids"]["postgres"]) == pwd.getpwnam("nobody").pw_uid
        assert await ask(info["database_url"], "SELECT 1") == 1
        running.process.terminate()
        assert await running.line() == "stopped"


@as_root
async def test_root_can_run_it_when_it_is_installed_in_a_folder_that_only_root_may_enter(home_of_root: Path) -> None:
    installed = binary("initdb").parents[2]
    for part in installed.parent.glob(f"{installed.name}*"):  # its shared libraries lie beside it
        shutil.copytree(part, home_of_root.parent / "packages" / part.name, symlinks=True)
    async with supervisor(home_of_root, packages=home_of_root.parent / "packages") as running:
        assert await running.line() == "ready"
        command = Path(f"/proc/{read_info(home_of_root)['pids']['postgres']}/exe").readlink()
        assert command.is_relative_to(home_of_root.parent / "packages")
        running.process.terminate()
        assert await running.line() == "stopped"


@as_root
async def test_an_ordinary_user_can_run_it(home: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(home.parent, nobody.pw_uid, nobody.pw_gid)
    # The user may read what root may, as the interpreter or the whole clone may lie below a folder of root's.
    async with supervisor(home, prefix=("setpriv", *as_reader(nobody.pw_uid, nobody.pw_gid))) as running:
        assert await running.line() == "ready"
        info = read_info(home)
        assert {owner(pid) for pid in info["pids"].values()} == {nobody.pw_uid}
        assert await ask(info["database_url"], "SELECT 1") == 1
        running.process.kill()
        await running.process.wait()
        await until_nothing_is_alive_below(home)
