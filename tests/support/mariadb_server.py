"""A MariaDB server for tests, as a source of tables: the one that is installed on the machine."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from tests.support.postgres_server import PASSWORD, USER

_PATH = f"{os.defpath}:/usr/sbin:/usr/local/sbin"


def is_installed() -> bool:
    return shutil.which("mariadbd", path=_PATH) is not None


@dataclass(frozen=True)
class MariaDbServer:
    """The server. Its owner writes, and `USER` may read what it is granted."""

    port: int
    socket: Path

    def url(self, table: str) -> str:
        return f"mysql://127.0.0.1:{self.port}/{table}"

    def run(self, *statements: str) -> Sequence[tuple[Any, ...]]:
        """Run statements as the owner; returns the rows of the last one."""
        with pymysql.connect(unix_socket=str(self.socket), user="root", charset="utf8mb4", autocommit=True) as opened:
            cursor = opened.cursor()
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()


@asynccontextmanager
async def mariadb_server(folder: Path, port: int) -> AsyncIterator[MariaDbServer]:
    """A server with its files in a folder, which is created."""
    folder.mkdir(parents=True)
    data, socket = folder / "data", folder / "s"
    own = ["--user=root"] if os.geteuid() == 0 else []
    environment = {"PATH": _PATH, "LC_ALL": "C", "TZ": "UTC"}
    made = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"]
    await asyncio.to_thread(
        subprocess.run, [*made, *own], env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    options = (f"--datadir={data}", f"--socket={socket}", f"--port={port}", "--bind-address=127.0.0.1")
    light = ("--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin")
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *("mariadbd", "--no-defaults", *options, *light, *own), env=environment, stdout=log, stderr=log
        )
    server = MariaDbServer(port, socket)
    try:
        await _ready(server)
        await asyncio.to_thread(server.run, f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def _ready(server: MariaDbServer) -> None:
    # The driver leaves the sockets of connections open that are refused: so none is tried before.
    for _ in range(600):
        if server.socket.exists():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("MariaDB does not start")
