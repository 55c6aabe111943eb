"""Opens source files for Python in the process of a query: those on the disk, and remote ones."""

import io
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from orchestrator.engines.duckdb.child.object_access import read
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.model.remote_files import is_remote

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# A request to a bucket takes longer than the bytes that come with it.
_REMOTE_BUFFER_BYTES = 4 << 20


def open_file(file: SourceFile) -> IO[bytes]:
    """The bytes of a file. Raises OSError."""
    if is_remote(file.real):
        return cast("IO[bytes]", io.BufferedReader(_RemoteBytes(file), _REMOTE_BUFFER_BYTES))
    return Path(file.real).open("rb")


def size_of(file: SourceFile) -> int:
    """The size of a file in bytes. Raises OSError."""
    return file.size if is_remote(file.real) else os.stat(file.real).st_size  # noqa: PTH116 - of thousands


class _RemoteBytes(io.RawIOBase):
    """A remote file, of which the parent process is asked for one range after another."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        """See RawIOBase."""
        return True

    def seekable(self) -> bool:
        """See RawIOBase."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See RawIOBase."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.size}[whence]
        return self._at

    def tell(self) -> int:
        """See RawIOBase."""
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """See RawIOBase."""
        view = memoryview(buffer)
        end = min(self._file.size, self._at + len(view))
        if end <= self._at:
            return 0
        content = read(self._file.real, self._at, end)
        view[: len(content)] = content
        self._at += len(content)
        return len(content)
