"""The file system through which DuckDB reads remote files.

DuckDB reads one file from several threads at once, so the position in a file is each thread's own.
"""

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
    """A file that is open in any number of threads, each with a position of its own."""

    def __init__(self, path: str, size: int) -> None:
        self.closed = False
        self._path = path
        self._size = size
        self._own = threading.local()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position: from the start, from the position itself, or from the end."""
        self._own.at = offset + (0, self.tell(), self._size)[whence]
        return self.tell()

    def tell(self) -> int:
        """The position of this thread."""
        return int(getattr(self._own, "at", 0))

    def read(self, count: int = -1) -> bytes:
        """The next bytes, fewer only at the end."""
        start = self.tell()
        end = self._size if count < 0 else min(self._size, start + count)
        self._own.at = max(start, end)
        return read(self._path, start, end)

    def flush(self) -> None:
        """Do nothing: it is only read."""

    def close(self) -> None:
        """Note that the file is closed."""
        self.closed = True
