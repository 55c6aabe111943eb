"""A PostgreSQL server for tests, as a source of tables: reachable over TCP, unlike that of the catalog."""

import asyncio
import os
import pwd
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from orchestrator.devstack.ports import choose_ports
from orchestrator.devstack.postgres import as_reader, binary

USER, PASSWORD = "reader", "a-password-of-a-database-that-is-nowhere"
_OWNER, _OWNER_PASSWORD = "owner", "owner"


@dataclass(frozen=True)
class PostgresServer:
    """The server. Its owner writes, and `USER` may read what it is granted."""

    port: int
    pid: int

    @property
    def allowed(self) -> str:
        """The server as MATVIEW_SOURCE_DATABASES names it."""
        return f"127.0.0.1:{self.port}"

    def url(self, table: str, database: str = "postgres") -> str:
        return f"postgresql://127.0.0.1:{self.port}/{database}/{table}"

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of the owner."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=_OWNER,
            password=_OWNER_PASSWORD,
            dbname="postgres",
            autocommit=True,
        )

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as the owner; returns the rows of the last one."""
        rows: list[tuple[Any, ...]] = []
        with self.connect() as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
        return rows


@asynccontextmanager
async def postgres_server(folder: Path, *settings: str) -> AsyncIterator[PostgresServer]:
    """A server with its files in a folder, which is created."""
    cluster, password = folder / "cluster", folder / "password"
    folder.mkdir(parents=True)
    password.write_text(_OWNER_PASSWORD)
    privileges: list[str] = []
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        privileges = ["setpriv", *as_reader(nobody.pw_uid, nobody.pw_gid)]
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
    options = ("-D", str(cluster), "-U", _OWNER, "--pwfile", str(password), "-A", "scram-sha-256", "-E", "UTF8")
    initdb = [*privileges, str(binary("initdb")), *options, "--locale", "C", "--no-sync"]
    await asyncio.to_thread(subprocess.run, initdb, env=environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (port,) = choose_ports({"postgres": 0})
    configured = ("listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", "fsync=off", *settings)
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *privileges,
            *(str(binary("postgres")), "-D", str(cluster), *(f"--{one}" for one in configured)),
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    server = PostgresServer(port, process.pid)
    try:
        await _ready(server)
        await asyncio.to_thread(server.run, f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()


async def _ready(server: PostgresServer) -> None:
    for _ in range(200):
        try:
            await asyncio.to_thread(server.run, "SELECT 1")
        except psycopg.OperationalError:
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("PostgreSQL does not start")
