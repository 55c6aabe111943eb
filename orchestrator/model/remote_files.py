"""Files that are not on this machine's disk: those of results, and those of source tables.

For engines, stores and the readers of sources, which do not import one another.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import quote
from uuid import UUID

if TYPE_CHECKING:  # the processes of queries load this module, and not pydantic
    from orchestrator.model.source_table import Credential

SCHEME = "object://"
"""The beginning of the name under which the process of a query opens each."""
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


class RemoteTable(Protocol):
    """The remote files of one source table."""

    async def list_files(self) -> Sequence[RemoteObject]:
        """The files that match the pattern now, sorted by URL.

        Raises InvalidSource if they cannot be listed, and SourceUnavailable if the server fails.
        """

    async def read(self, file: RemoteObject, start: int, end: int) -> bytes:
        """The bytes of a file from `start` to before `end`.

        Raises InputReplaced if it is another one now, InputMissing if it is gone or may not be read any more, and
        SourceUnavailable if the server fails.
        """


class RemoteServers(Protocol):
    """Opens remote files."""

    async def open(self, url_pattern: str, credential: "Credential | None") -> RemoteTable:
        """The files that match `url_pattern`, read with the credential. Raises InvalidSource if it may not be read."""


class RemoteTables(RemoteServers, Protocol):
    """Opens the remote files of source tables."""

    async def open_stored(self, table_id: UUID, url_pattern: str) -> RemoteTable:
        """The files of a stored table, read with the credential that is stored for it.

        Raises as `open` does, and Invalid if the credential cannot be decrypted.
        """


class RemoteFile(NamedTuple):
    """A file that the process of a query may read: its size in bytes, and how its parent reads a range of it."""

    size: int
    read: Callable[[int, int], Awaitable[bytes]]


def is_remote(path: str) -> bool:
    """Whether a path is the name of a remote file."""
    return path.startswith(SCHEME)


def is_same_place(url_pattern: str, other: str) -> bool:
    """Whether two patterns lead to the same bucket of the same server, for which one credential may be given."""
    return _place_of(url_pattern) == _place_of(other)


def _place_of(url_pattern: str) -> tuple[str, ...]:
    scheme, _, rest = url_pattern.partition("://")
    server, _, path = rest.partition("/")
    # A bucket is in the name of the server or the first folder of the path.
    return scheme.lower(), server.lower(), path.partition("/")[0] if scheme.lower().startswith("http") else ""


def name_of_source(file: RemoteObject) -> str:
    """The name under which a query opens a version of a file of a source table.

    Its end is the path of the URL, for what a path says of a file: its compression, and the values of its partitions.
    """
    path = file.url.partition("://")[2].partition("/")[2]
    digest = hashlib.sha256(f"{file.version} {file.url}".encode()).hexdigest()
    return f"{_SOURCES}{digest[:32]}/{quote(path, safe=_PLAIN)}"
