"""Files of results that are not on this machine's disk, for engines and stores, which do not import one another."""

from typing import Protocol

SCHEME = "object://"
"""The beginning of the URL of each."""


class RemoteFiles(Protocol):
    """Reads such files."""

    async def read(self, url: str, start: int, end: int) -> bytes:
        """The bytes of a file from `start` to before `end`.

        Raises InputMissing if the file no longer exists, and StoreUnavailable if it cannot be read or was replaced.
        """


def is_remote(path: str) -> bool:
    """Whether a path or URL is that of such a file."""
    return path.startswith(SCHEME)
