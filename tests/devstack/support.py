"""Helpers that the tests of the development stack share."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psycopg

from orchestrator.devstack.home import DevInfo
from orchestrator.devstack.roles import Role

HERE = Path(__file__).parent


def fake_role(name: str, behaviour: str = "") -> Role:
    return Role(name, (sys.executable, "-S", "-E", str(HERE / "fake_role.py"), name, behaviour))


ROLES = (fake_role("api"), fake_role("worker"))


def begin(home: Path, template: Path) -> Path:
    """Copy the folder of a stack with the owners of its files, which may be two."""
    subprocess.run(["cp", "-a", template, home], check=True)
    return home


async def bootstrap(_database_url: str, previous: DevInfo | None) -> Mapping[str, str]:
    return {"api_key": previous["api_key"] if previous else "first-key", "project_id": "project"}


class Said:
    """The messages of the stack to the developer."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str] = asyncio.Queue()

    def __call__(self, line: str) -> None:
        self._lines.put_nowait(line)

    async def next(self) -> str:
        return await asyncio.wait_for(self._lines.get(), 20)


async def ask(database_url: str, sql: str) -> object:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        cursor = await connection.execute(sql.encode())
        return (await cursor.fetchone() or (None,))[0] if cursor.description else None


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def until_made(path: Path) -> None:
    while True:
        if path.exists():
            return
        await asyncio.sleep(0.01)


def read_info(home: Path) -> DevInfo:
    info: DevInfo = json.loads((home / "dev.json").read_text())
    return info


def events(home: Path) -> list[str]:
    return (home / "data" / "events").read_text().splitlines()


def alive_below(home: Path) -> dict[int, str]:
    """Every process but this one that works in the folder, or has it in its arguments or environment."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            reported = command + (entry / "environ").read_bytes()
            if command and (os.fsencode(home) in reported or (entry / "cwd").readlink().is_relative_to(home)):
                found[int(entry.name)] = command.replace(b"\0", b" ").decode()
    return found


async def order_of_ends(pids: Mapping[str, int]) -> list[str]:
    """The names of the stack's processes, in the order in which they end."""
    left, ended = ["api", "worker", "temporal", "postgres"], []
    while left:
        ended += [name for name in left if not is_alive(pids[name])]
        left = [name for name in left if name not in ended]
        await asyncio.sleep(0.002)
    return ended


async def until_nothing_is_alive_below(home: Path, seconds: float = 5) -> None:
    for _ in range(int(seconds / 0.05)):
        if not alive_below(home):
            return
        await asyncio.sleep(0.05)
    assert alive_below(home) == {}


class Supervisor:
    """A stack in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout
        return (await asyncio.wait_for(self.process.stdout.readline(), 30)).decode().rstrip()


@asynccontextmanager
async def supervisor(
    home: Path, prefix: Sequence[str] = (), *, leaves_alone: bool = False, packages: Path | None = None
) -> AsyncGenerator[Supervisor]:
    """Start a stack in its own process, and kill that in the end if it still runs. Its children must end with it.

    With `leaves_alone`, the processes below `home` may belong to another stack, and are not waited for. Packages in
    the folder `packages` come before those that are installed here.
    """
    process = await asyncio.create_subprocess_exec(
        *(*prefix, sys.executable, "-m", "tests.devstack.run_stack", str(home)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=HERE.parents[1],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (packages, HERE.parents[1])))} if packages else None,
    )
    try:
        yield Supervisor(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        if not leaves_alone:
            await until_nothing_is_alive_below(home)
