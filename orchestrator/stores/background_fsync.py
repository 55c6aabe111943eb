"""Flushes files to the disk while they are written, so that sealing them takes less time."""

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

# A file is flushed each time it has grown by so much. Few results are that large.
_GROWN_BYTES = 64 << 20
_PAUSE_SECONDS = 0.5


class BackgroundFsync:
    """Flushes the files of one folder. It only saves time: the store flushes all of them again when it seals them."""

    def __init__(self, folder: Path, flusher: ThreadPoolExecutor) -> None:
        """`flusher` has threads only for this, so that waiting for the disk does not block other work in threads."""
        self._folder = folder
        self._flusher = flusher
        self._sizes: dict[int, int] = {}  # the size of each file at its last flush, by its inode
        self._last: Future[None] | None = None

    async def run(self) -> None:
        """Flush files that have grown, again and again, until this is cancelled or a flush fails."""
        while True:
            await asyncio.sleep(_PAUSE_SECONDS)
            if self._last is None or (self._last.done() and not self._last.exception()):
                self._last = self._flusher.submit(self._flush)

    def abort(self) -> None:
        """Cancel a flush that has not begun, and wait for none: the files are no longer needed."""
        if self._last:
            self._last.cancel()

    async def end(self) -> None:
        """Wait for a flush that is running. Raises OSError if one has failed.

        The caller must not ignore the error: the kernel reports only once that it could not write a block, and a later
        flush of the same file would succeed.
        """
        if self._last and not self._last.cancel():
            await asyncio.wrap_future(self._last)

    def _flush(self) -> None:
        for path in self._grown():
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except OSError:  # DuckDB writes some files under another name first
                continue
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _grown(self) -> Iterator[str]:
        # A file whose size cannot be read now is flushed when it is sealed.
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                size = entry.stat(follow_symlinks=False).st_size
                if size - self._sizes.get(entry.inode(), 0) >= _GROWN_BYTES:
                    self._sizes[entry.inode()] = size
                    yield entry.path
