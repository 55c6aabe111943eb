"""A small disk for the store, and the means to fill it."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

_SPARE_BYTES = 256 << 10


class Disk:
    """The folder of the store, on a file system of its own if that can be had: as root, on Linux."""

    def __init__(self, folder: Path, size_mb: int) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"
        self._size_mb = size_mb
        self.is_small = False

    def mount(self) -> None:
        """Make the folder a small file system in memory, if that is possible."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount"):
            command = ["mount", "-t", "tmpfs", "-o", f"size={self._size_mb}m,mode=0700", "tmpfs", str(self._folder)]
            self.is_small = subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603

    def unmount(self) -> None:
        """Give the memory back. What lay on it is gone."""
        if self.is_small:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=False)  # noqa: S603, S607
            self.is_small = False

    async def fill(self) -> None:
        """Leave next to nothing free."""
        await asyncio.to_thread(self._fill)

    async def relieve(self) -> None:
        """Give the room back."""
        await asyncio.to_thread(self._ballast.unlink, missing_ok=True)

    def _fill(self) -> None:
        size = shutil.disk_usage(self._folder).free - _SPARE_BYTES
        if size > 0:
            descriptor = os.open(self._ballast, os.O_CREAT | os.O_WRONLY)
            try:
                os.posix_fallocate(descriptor, 0, size)
            except OSError:  # somebody else was quicker: it is as full as it can be
                return
            finally:
                os.close(descriptor)
