"""How an engine opens the remote files of source tables."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from orchestrator.model.remote_files import RemoteObject
from orchestrator.model.source_table import Credential


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

    async def open(self, url_pattern: str, credential: Credential | None) -> RemoteTable:
        """The files that match `url_pattern`, read with the credential. Raises InvalidSource if it may not be read."""


class RemoteTables(RemoteServers, Protocol):
    """Opens the remote files of source tables."""

    async def open_stored(self, table_id: UUID, url_pattern: str) -> RemoteTable:
        """The files of a stored table, read with the credential that is stored for it.

        Raises as `open` does, and Invalid if the credential cannot be decrypted.
        """
