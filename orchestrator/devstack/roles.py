"""The API and the worker as child processes: their commands, environments and checks for readiness."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.devstack.home import Home
from orchestrator.devstack.ports import LOOPBACK
from orchestrator.devstack.processes import ManagedProcess


async def ready_file_exists(environment: Mapping[str, str]) -> bool:
    """Whether the process made the file that `MATVIEW_READY_FILE` names."""
    return Path(environment["MATVIEW_READY_FILE"]).exists()  # noqa: ASYNC240 - a look at a local folder


async def http_ready(environment: Mapping[str, str]) -> bool:
    """Whether the process answers `GET /readyz` with 200."""
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, int(environment["MATVIEW_API_PORT"]))
    except OSError:
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        status_line = await asyncio.wait_for(reader.readline(), timeout=10)
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
    return status_line.split()[1:2] == [b"200"]


@dataclass(frozen=True)
class Role:
    """A part of the program that runs as a process of its own.

    Attributes:
        name: Its name in messages, in `dev.json` and of its log file.
        argv: The program and its arguments.
        env: Variables that only this role gets.
        ready: Returns, given the role's whole environment, whether the process is ready.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[Mapping[str, str]], Awaitable[bool]] = ready_file_exists


# -P: Python must not import modules from the current folder, which may hold any files.
_PROGRAM = (sys.executable, "-P", "-m", "orchestrator")
MIGRATE = (*_PROGRAM, "migrate")
ROLES = (Role("api", (*_PROGRAM, "api"), ready=http_ready), Role("worker", (*_PROGRAM, "worker")))


class RoleProcess(ManagedProcess):
    """A role as a child of the stack."""

    def __init__(self, role: Role, home: Home, environment: Mapping[str, str]) -> None:
        super().__init__(role.name, home)
        self._role = role
        self._ready_file = home.run / f"{role.name}.ready"
        self._environment = {**environment, **role.env, "MATVIEW_READY_FILE": str(self._ready_file)}

    def command(self) -> Sequence[str]:
        """The command of the role."""
        return self._role.argv

    def environment(self) -> Mapping[str, str]:
        """The environment of the stack, with the variables of the role."""
        return self._environment

    async def prepare(self) -> None:
        """Removes the file that shows that an earlier process was ready."""
        self._ready_file.unlink(missing_ok=True)

    async def ready(self) -> bool:
        """Whether the role's check says that the process is ready."""
        return await self._role.ready(self._environment)
