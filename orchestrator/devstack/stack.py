"""The whole stack as the children of one process: the servers, the program's roles, and their supervisor."""

import asyncio
import base64
import json
import os
import signal
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.aio import uninterruptible
from orchestrator.devstack.backing_servers import Servers
from orchestrator.devstack.home import DevInfo
from orchestrator.devstack.logs import Log
from orchestrator.devstack.ports import LOOPBACK, choose_ports
from orchestrator.devstack.processes import ManagedProcess, gather_or_cancel, run_once
from orchestrator.devstack.roles import MIGRATE, ROLES, Role, RoleProcess
from orchestrator.devstack.sail import Sail
from orchestrator.devstack.supervisor import Supervisor

Bootstrap = Callable[[str, DevInfo | None], Awaitable[Mapping[str, str]]]
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The developer's variables for another Temporal server must not be used. Those of PostgreSQL are removed earlier.
_FOREIGN = "TEMPORAL_"


@dataclass(frozen=True)
class Ports:
    """The ports on the loopback interface; 0 stands for any free port."""

    api: int = 0
    temporal: int = 0
    ui: int = 0


class DevStack:
    """PostgreSQL, Temporal and the program, as an async context manager.

    Args:
        home: The folder of all data.
        ports: The ports of the API, of Temporal and of its UI.
        bootstrap: Creates the developer's project and key if they are missing, and returns `project_id` and `api_key`.
            It is called once the schema is up to date, with the database's URL, and the last contents of `dev.json`
            or None.
        say: Prints a message for the developer.
        extra_source_roots: Folders that source tables may lie in, beside the current one.
        roles: The parts of the program, in the order in which they are stopped.
        migrate: The command that brings the schema up to date; None for none.
        spark: Whether a Sail server runs too, for views with the engine spark.
    """

    info: DevInfo

    def __init__(
        self,
        home: Path,
        ports: Ports = Ports(),
        *,
        bootstrap: Bootstrap,
        say: Callable[[str], None],
        extra_source_roots: Sequence[Path] = (),
        roles: Sequence[Role] = ROLES,
        migrate: Sequence[str] | None = MIGRATE,
        spark: bool = False,
    ) -> None:
        self.servers: Servers
        self._home = home
        self._ports = ports
        self._bootstrap = bootstrap
        self._source_roots = [*_current_folder(), *extra_source_roots]
        self._roles = roles
        self._migrate = migrate
        self._spark = spark
        self._sail: Sail | None = None
        self._children: dict[str, ManagedProcess] = {}
        self._supervisor = Supervisor(say, self._refresh)
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Starts everything; if a part does not start, stops those that did."""
        try:
            await self._start()
        except BaseException:
            await uninterruptible(self._exits.aclose())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops everything: the roles, then Temporal, then PostgreSQL."""
        await uninterruptible(self._exits.aclose())

    async def run_until_stopped(
        self, on_ready: Callable[[DevInfo], None], on_stop: Callable[[], None] = lambda: None
    ) -> None:
        """Starts everything, waits for SIGINT, SIGTERM or SIGHUP, and stops everything; needs no `async with`.

        It calls `on_ready` when all has started, and `on_stop` when a signal has come, before it stops anything.

        Raises:
            StackError: When something does not start, or cannot be kept running.
        """
        asked = asyncio.Event()
        with _signals_call(asked.set):  # also while it starts; while it stops, signals change nothing
            work, stopping = asyncio.create_task(self._live(on_ready)), asyncio.create_task(asked.wait())
            try:
                await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if asked.is_set():
                    on_stop()
            finally:
                stopping.cancel()
                work.cancel()
                await uninterruptible(_settle(work))

    async def stop(self, name: str) -> None:
        """Stops one child, by the name that `info["pids"]` gives it."""
        await self._supervisor.unwatch(self._children[name])
        await self._children[name].stop()
        self._refresh()

    async def start(self, name: str) -> None:
        """Starts a child that was stopped."""
        await self._children[name].start()
        self._supervisor.watch(self._children[name])
        self._refresh()

    async def restart(self, name: str) -> None:
        """Stops and starts one child."""
        await self.stop(name)
        await self.start(name)

    def kill(self, name: str) -> None:
        """Kills one child. The supervisor then starts it again."""
        self._children[name].kill()

    async def _live(self, on_ready: Callable[[DevInfo], None]) -> None:
        async with self:
            on_ready(self.info)
            raise await self._supervisor.wait_for_failure()

    async def _start(self) -> None:
        wanted = {"--port": self._ports.api, "--temporal-port": self._ports.temporal, "--ui-port": self._ports.ui}
        metrics = {f"metrics of {role.name}": 0 for role in self._roles}
        api_port, temporal_port, ui_port, sail_port, *metrics_ports = choose_ports(wanted | {"sail": 0} | metrics)
        self.servers = Servers(self._home, temporal_port=temporal_port, ui_port=ui_port)
        await self._exits.enter_async_context(self.servers)
        if self._spark:
            self._sail = Sail(self.servers.home, port=sail_port)
            self._exits.push_async_callback(self._sail.stop)
            await self._sail.start()
        environment = self._environment(api_port)
        if self._migrate:
            await run_once("migrate", self._migrate, Log(self.servers.home.logs / "migrate.log"), environment)
        developer = await self._bootstrap(self.servers.database_url, self.servers.home.read_info())
        await self._start_roles(environment, metrics_ports)
        self.info = {
            "api_url": f"http://{LOOPBACK}:{api_port}",
            "api_key": developer["api_key"],
            "project_id": developer["project_id"],
            "temporal_address": self.servers.temporal_address,
            "temporal_namespace": self.servers.temporal_namespace,
            "temporal_ui_url": self.servers.temporal_ui_url,
            "database_url": self.servers.database_url,
            "data_dir": str(self.servers.home.data),
            "source_roots": environment["MATVIEW_SOURCE_ROOTS"],
            "metrics_urls": {
                role.name: f"http://{LOOPBACK}:{port}/metrics"
                for role, port in zip(self._roles, metrics_ports, strict=True)
            },
            "pids": {},
        }
        self._refresh()

    async def _start_roles(self, environment: Mapping[str, str], metrics_ports: Sequence[int]) -> None:
        roles = [
            RoleProcess(role, self.servers.home, {**environment, "MATVIEW_METRICS_PORT": str(port)})
            for role, port in zip(self._roles, metrics_ports, strict=True)
        ]
        for role in reversed(roles):
            self._exits.push_async_callback(role.stop)
        await gather_or_cancel(*(role.start() for role in roles))
        servers = (self.servers.postgres, self.servers.temporal, *([self._sail] if self._sail else []))
        self._children = {child.name: child for child in (*servers, *roles)}
        self._exits.push_async_callback(self._supervisor.unwatch_all)
        for child in self._children.values():
            self._supervisor.watch(child)

    def _environment(self, api_port: int) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        return {
            **own,
            **self.servers.environment,
            **({"MATVIEW_SPARK_REMOTE": self._sail.remote} if self._sail else {}),
            "MATVIEW_DATA_DIR": str(self.servers.home.data),
            # An object store has a URL of its own.
            **({} if "MATVIEW_STORE" in own else {"MATVIEW_SHARED_DATA_URL": f"file://{self.servers.home.data}"}),
            "MATVIEW_SECRET_KEY": base64.urlsafe_b64encode(self.servers.home.secret("credentials").encode()).decode(),
            "MATVIEW_SOURCE_ROOTS": json.dumps([str(root.absolute()) for root in self._source_roots]),
            "MATVIEW_API_HOST": LOOPBACK,
            "MATVIEW_API_PORT": str(api_port),
            "PYTHONUNBUFFERED": "1",  # or a killed process would lose the end of its log
        }

    def _refresh(self) -> None:
        """Writes `dev.json`, with the processes that run now."""
        pids = {name: child.pid for name, child in self._children.items() if child.pid}
        self.info = {**self.info, "pids": {"dev": os.getpid(), **pids}}
        self.servers.home.write_info(self.info)


@contextmanager
def _signals_call(callback: Callable[[], None]) -> Generator[None]:
    loop = asyncio.get_running_loop()
    # A signal that was ignored when this process started, as under `nohup`, stays ignored.
    numbers = [number for number in _STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in numbers:
        loop.add_signal_handler(number, callback)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _current_folder() -> list[Path]:
    """The current folder, and `$PWD` if that is another path to it, since the shell keeps symbolic links there."""
    folder, name = Path.cwd(), Path(os.environ.get("PWD", ""))
    with suppress(OSError):
        if name.is_absolute() and name != folder and name.samefile(folder):
            return [folder, name]
    return [folder]


async def _settle(task: asyncio.Task[None]) -> None:
    with suppress(asyncio.CancelledError):
        await task
