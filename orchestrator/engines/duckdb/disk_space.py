"""Checks whether a run fits on the disk, and whether the run itself filled a full disk."""

import contextlib
import os
from pathlib import Path

from orchestrator.model.errors import DiskFull, OutputTooLarge

_MIB = 1 << 20
# If less is free when a run begins, others filled the disk, and may free space again.
_FREE_BYTES_TO_BLAME_RUN = 64 * _MIB
# This much is left free: PostgreSQL or Temporal may keep their files on the same disk.
_LEFT_FOR_OTHERS = 512 * _MIB
_SHARE_OF_DISK = 0.05
# A run that took this share of the free space would take all of it again if it were tried again.
_ALMOST_ALL = 0.9


class DiskSpace:
    """The free space on the disk of a run's `target` when the run began, and how much of it the run has taken.

    `scratch`, into which the query spills, may be on the same disk.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._taken = 0
        self._free_then, total = _space(target)
        self._left_for_others = min(_LEFT_FOR_OTHERS, int(total * _SHARE_OF_DISK))
        self._room_to_speak_of = min(_FREE_BYTES_TO_BLAME_RUN, int(total * _SHARE_OF_DISK))

    def measure(self, scratch: str) -> int:
        """The bytes of the result so far. Raises OutputTooLarge if the run is about to fill the disk by itself."""
        result = size_of(self._target)
        spilled = size_of(scratch) if _disk_of(scratch) == _disk_of(self._target) else 0
        self._taken = max(self._taken, result + spilled)
        if self._takes_all() and _space(self._target)[0] < self._left_for_others:
            raise self._too_large()
        return result

    def classify(self, error: DiskFull, scratch: str) -> DiskFull | OutputTooLarge:
        """The error for a full disk: `error`, which may pass, or OutputTooLarge if the run would fill it again."""
        with contextlib.suppress(OutputTooLarge):
            self.measure(scratch)
        return self._too_large() if self._takes_all() else error

    def _takes_all(self) -> bool:
        return self._free_then >= self._room_to_speak_of and self._taken >= self._free_then * _ALMOST_ALL

    def _too_large(self) -> OutputTooLarge:
        return OutputTooLarge(
            f"The result does not fit on the disk: with what it spills, the query had written {_mib(self._taken)} MiB "
            f"of the {_mib(self._free_then)} MiB that were free when it began."
        )


def size_of(folder: str) -> int:
    """The total bytes of the files in a folder and in its subfolders."""
    size = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            # DuckDB writes some files under another name first, so that an entry may vanish.
            with contextlib.suppress(FileNotFoundError):
                is_folder = entry.is_dir(follow_symlinks=False)
                size += size_of(entry.path) if is_folder else entry.stat(follow_symlinks=False).st_size
    return size


def _disk_of(folder: str) -> int | None:
    try:
        return Path(folder).stat().st_dev
    except OSError:
        return None


def _space(folder: str) -> tuple[int, int]:
    """The free bytes and the total bytes of the disk of a folder."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0, 0
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def _mib(size: int) -> str:
    return f"{size / _MIB:,.0f}"
