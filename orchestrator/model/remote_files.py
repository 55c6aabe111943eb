"""Files that are not on this machine's disk: those of results, and those of source tables.

For engines, stores and the readers of sources, which do not import one another. The processes of queries load this
module too.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol
from urllib.parse import quote

from orchestrator.model.file_patterns import database_of, is_database_pattern

SCHEME = "object://"
"""The beginning of the name under which the process of a query opens each."""
COPY_VERSION = "copy:"
"""The beginning of the version of a copy of a table of a database; the digest of its rows follows."""
_SOURCES = f"{SCHEME}sources/"
# As they are in the folders of partitions. Others would be read as a pattern.
_PLAIN = "/=%"


class RemoteFiles(Protocol):
    """Reads the files of results."""

    async def read(self, url: str, start: int, end: int) -> bytes:
        """The bytes of a file from `start` to before `end`.

        Raises InputMissing if the file no longer exists, and StoreUnavailable if it cannot be read or was replaced.
        """


class RemoteObject(NamedTuple):
    """A file of a source table as it was found: its URL, its size in bytes, and when it was last changed.

    The time is in nanoseconds, 0 if the server does not say it. `version` is `etag:` or `modified:`, and what a request
    for a range has to be held to.
    """

    url: str
    size: int
    modified_ns: int
    version: str


class RemoteFile(NamedTuple):
    """A file that the process of a query may read: its size in bytes, and how its parent reads a range of it."""

    size: int
    read: Callable[[int, int], Awaitable[bytes]]


def is_remote(path: str) -> bool:
    """Whether a path is the name of a remote file."""
    return path.startswith(SCHEME)


def is_same_place(url_pattern: str, other: str) -> bool:
    """Whether two patterns lead to the same bucket or database of a server, for which one credential may be given."""
    return _place_of(url_pattern) == _place_of(other)


def _place_of(url_pattern: str) -> tuple[str, ...]:
    if is_database_pattern(url_pattern):
        return (database_of(url_pattern),)
    scheme, _, rest = url_pattern.partition("://")
    server, _, path = rest.partition("/")
    # A bucket is in the name of the server or the first folder of the path.
    return scheme.lower(), server.lower(), path.partition("/")[0] if scheme.lower().startswith("http") else ""


def name_of_source(file: RemoteObject) -> str:
    """The name under which a query opens a version of a file of a source table.

    Its end is the path of the URL, for what a path says of a file: its compression, and the values of its partitions.
    """
    path = file.url.partition("://")[2].partition("/")[2]
    # Two copies of the same rows have one version, and may have them in another order.
    copied = file.modified_ns if file.version.startswith(COPY_VERSION) else ""
    digest = hashlib.sha256(f"{file.version} {file.size} {copied} {file.url}".encode()).hexdigest()
    return f"{_SOURCES}{digest[:32]}/{quote(path, safe=_PLAIN)}"
