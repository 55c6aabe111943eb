"""Folders for what queries spill: one for each, removed with it, also if the worker is killed before it can."""

import fcntl
import os
import shutil
from pathlib import Path
from uuid import uuid4


class Scratch:
    """A new folder below `root`, locked for as long as this process lives.

    The lock is what tells a folder in use from one that a killed worker left, whichever machine that was on.
    """

    def __init__(self, root: Path) -> None:
        """Make it, and `root` if need be. Raises OSError."""
        root.mkdir(parents=True, exist_ok=True)
        self.path, self._lock = _make(root)

    def remove(self) -> None:
        """Remove it, whatever is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_abandoned(root: Path) -> None:
    """Remove every folder below `root` that no process holds."""
    for folder in root.glob("run-*"):
        lock = _locked(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _make(root: Path) -> tuple[Path, int]:
    while True:
        folder = root / f"run-{uuid4().hex}"
        folder.mkdir()
        lock = _locked(folder)
        # A sweeper may have taken a folder that was not locked yet.
        if lock is not None and folder.exists():
            return folder, lock


def _locked(folder: Path) -> int | None:
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
