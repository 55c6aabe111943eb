"""The folder that a stack lives in: its lock, its secret, and the file that tells others where everything is."""

import fcntl
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TypedDict, cast

from orchestrator.model.errors import Terminal
from orchestrator.model.private_folders import MARKER, TEXT


class StackError(Terminal):
    """The stack cannot run."""

    code = "stack_error"


class DevInfo(TypedDict):
    """What `dev.json` holds."""

    api_url: str
    api_key: str
    project_id: str
    temporal_address: str
    temporal_namespace: str
    temporal_ui_url: str
    database_url: str
    data_dir: str
    metrics_urls: dict[str, str]
    pids: dict[str, int]


class LockHeld(Exception):
    """Another process holds the lock; `pid` is what it wrote into the file."""

    def __init__(self, pid: str) -> None:
        super().__init__(pid)
        self.pid = pid


def take_lock(path: Path) -> int:
    """Locks `path` and returns the descriptor that holds the lock.

    The lock belongs to the open file, so a child that inherits the descriptor holds it too, until it and everything
    it passed it on to has ended, however that came about. A pid in a file could be stale; this cannot.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(descriptor, 20).decode().strip()
        os.close(descriptor)
        raise LockHeld(pid or "unknown") from None
    return descriptor


def write_lock_owner(descriptor: int, pid: int) -> None:
    """Writes who holds the lock, for the message that a later taker gets."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{pid}\n".encode(), 0)


def write_private(path: Path, text: str) -> None:
    """Replaces `path` in one step by a file that only its owner can read."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


class Home:
    """The folder of one stack; only one process at a time may claim it."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.logs = self.path / "logs"
        self.run = self.path / "run"
        self.data = self.path / "data"
        self._info_file = self.path / "dev.json"
        self._lock: int | None = None

    def claim(self) -> None:
        """Takes the folder for this process, creating it if need be."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = take_lock(self.path / "dev.lock")
            self._occupy(self._lock)
        except LockHeld as held:
            raise StackError(f"{self.path} is in use by another stack, pid {held.pid}; stop that one first") from None
        except OSError as error:
            self.release()
            raise StackError(f"{error.filename or self.path} cannot be used: {error.strerror}") from error

    def release(self) -> None:
        """Gives the folder back; its `dev.json` stays, for the key in it, but names no process any more."""
        if self._lock is not None:
            with suppress(OSError):  # the lock alone says whether the processes in the file are there
                self._forget_pids()
            os.close(self._lock)
            self._lock = None

    def secret(self, name: str) -> str:
        """A random secret that stays the same for the life of the folder."""
        path = self.secret_file(name)
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path.read_text()

    def secret_file(self, name: str) -> Path:
        """Where the secret of that name is kept."""
        return self.path / f"{name}.password"

    def read_info(self) -> DevInfo | None:
        """What the last start wrote into `dev.json`; None before the first, or when the file is damaged."""
        try:
            info = json.loads(self._info_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        whole = isinstance(info, dict) and DevInfo.__required_keys__ <= info.keys()
        return cast("DevInfo", info) if whole else None

    def write_info(self, info: DevInfo) -> None:
        """Replaces `dev.json`."""
        write_private(self._info_file, json.dumps(info, indent=2) + "\n")

    def _occupy(self, lock: int) -> None:
        write_lock_owner(lock, os.getpid())
        write_private(self.path / MARKER, TEXT)
        for folder in (self.logs, self.run, self.data):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._forget_pids()

    def _forget_pids(self) -> None:
        info = self.read_info()
        if info and info.get("pids"):
            self.write_info({**info, "pids": {}})
