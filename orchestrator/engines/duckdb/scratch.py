"""Folders for data that queries spill, one for each. A later worker removes those that a killed worker left."""

import fcntl
import os
import shutil
from pathlib import Path
from uuid import uuid4


class Scratch:
    """A new folder below `root`, locked for as long as this process lives.

    A folder in use is locked; one that a killed worker left is not, even if that worker ran on another machine.
    """

    def __init__(self, root: Path) -> None:
        """Create the folder, and `root` if it does not exist. Raises OSError."""
        root.mkdir(parents=True, exist_ok=True)
        self.path, self._lock = _make(root)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_abandoned(root: Path) -> None:
    """Remove every folder below `root` that no process has locked."""
    for folder in root.glob("run-*"):
        lock = _try_lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _make(root: Path) -> tuple[Path, int]:
    while True:
        folder = root / f"run-{uuid4().hex}"
        folder.mkdir()
        lock = _try_lock(folder)
        # Another process may have removed the folder as abandoned, before it was locked here.
        if lock is not None and folder.exists():
            return folder, lock


def _try_lock(folder: Path) -> int | None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
