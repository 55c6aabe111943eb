"""Making files durable while they are written, so that less is left to wait for at the end."""

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

# A file is flushed whenever it has grown by so much, which few results do.
_GROWN_BYTES = 64 << 20
_PAUSE_SECONDS = 0.5


class BackgroundFsync:
    """The files of one folder. It only makes the end come sooner: whoever seals them flushes all of them again."""

    def __init__(self, folder: Path, flusher: ThreadPoolExecutor) -> None:
        """`flusher` has threads for nothing else: what waits for the disk must not hold up whoever needs a thread."""
        self._folder = folder
        self._flusher = flusher
        self._sizes: dict[int, int] = {}  # at which each file was flushed the last time, by its inode
        self._last: Future[None] | None = None

    async def run(self) -> None:
        """Flush what has grown, again and again, until this is cancelled or something cannot be flushed."""
        while True:
            await asyncio.sleep(_PAUSE_SECONDS)
            if self._last is None or (self._last.done() and not self._last.exception()):
                self._last = self._flusher.submit(self._flush)

    def abort(self) -> None:
        """Wait for nothing: nobody wants the files any more."""
        if self._last:
            self._last.cancel()

    async def end(self) -> None:
        """Wait for a flush that goes on. Raises OSError if one has failed.

        That is never to be passed over: the system tells of a block that it could not write only once, and a later
        flush of the same file would find nothing wrong.
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
        # Whatever cannot be looked at now will be when it is sealed.
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                size = entry.stat(follow_symlinks=False).st_size
                if size - self._sizes.get(entry.inode(), 0) >= _GROWN_BYTES:
                    self._sizes[entry.inode()] = size
                    yield entry.path
