"""A small file system for the store, which the nemesis can fill."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

_SPARE_BYTES = 256 << 10


class Disk:
    """The folder of the store, on a file system of its own if the harness runs as root on Linux."""

    def __init__(self, folder: Path, size_mb: int) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"
        self._size_mb = size_mb
        self.is_small = False

    def mount(self) -> None:
        """Mount a small file system in memory at the folder, if that is possible."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount"):
            command = ["mount", "-t", "tmpfs", "-o", f"size={self._size_mb}m,mode=0700", "tmpfs", str(self._folder)]
            self.is_small = subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603

    def unmount(self) -> None:
        """Unmount the file system. Its files are lost and its memory is free."""
        if self.is_small:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=False)  # noqa: S603, S607
            self.is_small = False

    async def fill(self) -> None:
        """Write a file that leaves only 256 KiB free."""
        await asyncio.to_thread(self._fill)

    async def relieve(self) -> None:
        """Delete the file that `fill` wrote."""
        await asyncio.to_thread(self._ballast.unlink, missing_ok=True)

    def _fill(self) -> None:
        size = shutil.disk_usage(self._folder).free - _SPARE_BYTES
        if size > 0:
            descriptor = os.open(self._ballast, os.O_CREAT | os.O_WRONLY)
            try:
                os.posix_fallocate(descriptor, 0, size)
            except OSError:  # another process took the space first, so that the disk is full
                return
            finally:
                os.close(descriptor)
