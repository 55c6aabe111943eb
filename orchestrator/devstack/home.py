"""The folder of a stack: its lock, its secrets, and `dev.json`, in which other processes find its addresses."""

import fcntl
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from orchestrator.model.errors import Terminal
from orchestrator.model.private_folders import MARKER, TEXT


class StackError(Terminal):
    """The stack cannot run."""

    code = "stack_error"


class DevInfo(TypedDict):
    """The contents of `dev.json`."""

    api_url: str
    api_key: str
    project_id: str
    temporal_address: str
    temporal_namespace: str
    temporal_ui_url: str
    database_url: str
    data_dir: str
    source_roots: NotRequired[str]  # a JSON list, as the setting has it
    metrics_urls: dict[str, str]
    pids: dict[str, int]


class LockHeld(Exception):
    """Another process holds the lock; `pid` is the text that it wrote into the file."""

    def __init__(self, pid: str) -> None:
        super().__init__(pid)
        self.pid = pid


def take_lock(path: Path) -> int:
    """Locks `path` and returns the descriptor that holds the lock.

    The lock belongs to the open file description, so a child process that inherits the descriptor holds it too. It is
    released once all processes that have the descriptor have ended, even if they were killed. A pid in a file could be
    stale; this lock cannot. Raises LockHeld.
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
    """Writes the pid of the lock's holder, for the message of a process that finds it locked."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{pid}\n".encode(), 0)


def write_private(path: Path, text: str) -> None:
    """Replaces `path` atomically by a file that only its owner can read."""
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
        """Locks the folder for this process, and creates it if it is missing. Raises StackError."""
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
        """Releases the lock. `dev.json` stays, since it holds the API key, but no longer lists processes."""
        if self._lock is not None:
            with suppress(OSError):  # stale pids do no harm: the lock says whether the stack runs
                self._forget_pids()
                os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def owner(self) -> int | None:
        """The pid of the process that has claimed the folder, if that is alive; read for messages only.

        It does not try the lock: a stack that starts at that moment would find the folder in use.
        """
        try:
            pid = int((self.path / "dev.lock").read_text()[:20])
            os.kill(pid, 0)
        except PermissionError:
            return pid
        except (OSError, ValueError, OverflowError):
            return None
        return pid

    def secret(self, name: str) -> str:
        """A random secret that stays the same for the life of the folder."""
        path = self.secret_file(name)
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path.read_text()

    def secret_file(self, name: str) -> Path:
        """The path of the secret of that name."""
        return self.path / f"{name}.password"

    def read_info(self) -> DevInfo | None:
        """The contents of `dev.json` from the last start; None before the first, or if the file is damaged."""
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
