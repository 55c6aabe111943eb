"""The two servers that the program uses, without the program."""

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.aio import uninterruptible
from orchestrator.devstack.home import Home
from orchestrator.devstack.ports import choose_ports
from orchestrator.devstack.postgres import Postgres
from orchestrator.devstack.processes import gather_or_cancel
from orchestrator.devstack.temporal import NAMESPACE, Temporal


class Servers:
    """PostgreSQL and Temporal in one folder, as an async context manager.

    Args:
        home: The folder of all data. A later start with the same folder finds the data of the last.
        temporal_port: The port of Temporal; 0 for a free port.
        ui_port: The port of the Temporal UI; 0 for a free port, None for no UI.
    """

    temporal_namespace = NAMESPACE

    def __init__(self, home: Path, *, temporal_port: int = 0, ui_port: int | None = 0) -> None:
        self.home = Home(home)
        self._wanted = {"--temporal-port": temporal_port} | ({} if ui_port is None else {"--ui-port": ui_port})
        self._exits = AsyncExitStack()
        self.postgres: Postgres
        self.temporal: Temporal

    @property
    def database_url(self) -> str:
        """The URL of the database, for libpq. SQLAlchemy needs the scheme `postgresql+psycopg` instead."""
        return self.postgres.database_url

    @property
    def temporal_address(self) -> str:
        """The host and port of Temporal."""
        return self.temporal.address

    @property
    def temporal_ui_url(self) -> str:
        """The URL of the Temporal UI; empty without one."""
        return self.temporal.ui_url

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables for a process that uses the servers."""
        ui = {"MATVIEW_TEMPORAL_UI_URL": self.temporal_ui_url} if self.temporal_ui_url else {}
        return ui | {
            "MATVIEW_DATABASE_URL": self.database_url,
            "MATVIEW_TEMPORAL_ADDRESS": self.temporal_address,
            "MATVIEW_TEMPORAL_NAMESPACE": self.temporal_namespace,
        }

    async def __aenter__(self) -> Self:
        """Starts both concurrently."""
        try:
            await self._start()
        except BaseException:
            await uninterruptible(self._exits.aclose())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops Temporal, then PostgreSQL."""
        await uninterruptible(self._exits.aclose())

    async def start_postgres(self) -> None:
        """Starts PostgreSQL again, with the same data and socket."""
        await self.postgres.start()

    async def stop_postgres(self) -> None:
        """Stops PostgreSQL alone."""
        await self.postgres.stop()

    async def start_temporal(self) -> None:
        """Starts Temporal again, on the same ports."""
        await self.temporal.start()

    async def stop_temporal(self) -> None:
        """Stops Temporal alone."""
        await self.temporal.stop()

    async def _start(self) -> None:
        _forget_foreign_servers()
        self.home.claim()
        self._exits.callback(self.home.release)
        port, *ui_port = choose_ports(self._wanted)
        self.postgres = Postgres(self.home)
        self.temporal = Temporal(self.home, port=port, ui_port=ui_port[0] if ui_port else None)
        self._exits.callback(self.postgres.remove_socket_folder)
        self._exits.push_async_callback(self.postgres.stop)
        self._exits.push_async_callback(self.temporal.stop)
        await gather_or_cancel(self.postgres.start(), self.temporal.start())


def _forget_foreign_servers() -> None:
    """Removes the developer's PG* variables: libpq uses them for all that a URL leaves out, in this process too."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
