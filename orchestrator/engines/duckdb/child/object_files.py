"""The file system through which DuckDB reads remote files."""

import threading
from datetime import UTC, datetime
from typing import Any

from fsspec.spec import AbstractFileSystem  # type: ignore[import-untyped]

from orchestrator.engines.duckdb.child.object_access import read, sizes
from orchestrator.model.remote_files import SCHEME

# Remote files never change, so that any time is as good as another.
_MODIFIED = datetime(2000, 1, 1, tzinfo=UTC)


class ObjectFiles(AbstractFileSystem):  # type: ignore[misc]
    """The files that are granted, for DuckDB."""

    protocol = SCHEME.removesuffix("://")
    cachable = False

    def open(self, path: str, mode: str = "rb", **_: Any) -> "_ObjectFile":  # noqa: ANN401 - fsspec's own
        """Open a file for reading. Raises FileNotFoundError if it was not granted."""
        if mode != "rb" or path not in sizes:
            raise FileNotFoundError(path)
        return _ObjectFile(path, sizes[path])

    def info(self, path: str, **_: Any) -> dict[str, Any]:  # noqa: ANN401 - fsspec's own
        """The name, size and kind of a file."""
        if path not in sizes:
            raise FileNotFoundError(path)
        return {"name": path, "size": sizes[path], "type": "file"}

    def glob(self, path: str, **_: Any) -> list[str]:  # noqa: ANN401 - fsspec's own
        """The file of that name: there are no patterns."""
        return [path] if path in sizes else []

    def exists(self, path: str, **_: Any) -> bool:  # noqa: ANN401 - fsspec's own
        """Whether the file was granted."""
        return path in sizes

    def isfile(self, path: str) -> bool:
        """Whether the file was granted."""
        return path in sizes

    def modified(self, path: str) -> datetime:  # noqa: ARG002 - the same for all
        """A time: it is part of what DuckDB knows a file by."""
        return _MODIFIED


class _ObjectFile:
    """A file that is open in any number of threads.

    DuckDB reads in two ways, and a file sees the same calls for both. To read at a place, a thread moves the position
    and reads at once: other threads may do the same in between, so the move counts for its own thread. To read on, any
    thread reads without a move: so the position is that of all threads, and a part that one has read is not read again.
    """

    def __init__(self, path: str, size: int) -> None:
        self.closed = False
        self._path = path
        self._size = size
        self._lock = threading.Lock()
        self._at = 0
        self._reads_on = 0  # how often a thread has read on: moves before that no longer count
        self._own = threading.local()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position: from the start, from the position itself, or from the end."""
        with self._lock:
            self._at = offset + (0, self._at, self._size)[whence]
            self._own.move = (self._at, self._reads_on)
            return self._at

    def tell(self) -> int:
        """The position."""
        return self._at

    def read(self, count: int = -1) -> bytes:
        """The next bytes, fewer only at the end."""
        with self._lock:
            start, reads_on = getattr(self._own, "move", (0, -1))
            self._own.move = (0, -1)
            if reads_on != self._reads_on:
                start = self._at
                self._reads_on += 1
            end = self._size if count < 0 else min(self._size, start + count)
            self._at = max(start, end)
        return read(self._path, start, end)

    def flush(self) -> None:
        """Do nothing: it is only read."""

    def close(self) -> None:
        """Note that the file is closed."""
        self.closed = True
