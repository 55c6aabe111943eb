"""Tables of databases as source tables: what is asked of a database, and what its answer is.

For engines, services and the readers of databases, which do not import one another.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol
from uuid import UUID

from orchestrator.model.base import Value
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.remote_files import COPY_VERSION, RemoteObject
from orchestrator.model.snapshot import Column, SnapshotFile
from orchestrator.model.source_table import Credential, SourceFormat

_EPOCH, _MICROSECOND = datetime.fromtimestamp(0, UTC), timedelta(microseconds=1)
COPY_FILE = "rows.parquet"
"""The name of the file that a copy consists of."""


class DatabaseTable(NamedTuple):
    """A table of a database as a client names it."""

    url: str
    format: SourceFormat
    credential: Credential | None


class CopyOrder(NamedTuple):
    """A table that is to be copied into the file `path`, which does not exist.

    `columns` are those that the copy has, with their types. Of one in `stated` a person has stated the type: the copy
    has it in the type of the database, or as text.
    """

    table: DatabaseTable
    columns: Sequence[Column]
    stated: frozenset[str]
    path: Path


class CopiedRows(NamedTuple):
    """A copy that was made: its rows and bytes, and the moment of the database at which it was read."""

    rows: int
    bytes: int
    read_at: datetime


class SourceCopy(Value):
    """A copy of a table of a database, as the catalog keeps it. `content` is the digest of its rows, in any order."""

    id: UUID
    project_id: int
    source_table_id: UUID
    url: str
    columns: tuple[Column, ...]
    location: str
    file: SnapshotFile
    content: str
    read_at: datetime

    @property
    def version(self) -> str:
        """A text that is the same for every copy of the same rows, as RemoteObject has it."""
        return f"{COPY_VERSION}{self.content}"

    def as_object(self) -> RemoteObject:
        """The copy as a remote file of its table, with the URL of that and the moment at which it was read."""
        microseconds = (self.read_at - _EPOCH) // _MICROSECOND
        return RemoteObject(self.url, self.file.bytes, microseconds * 1000, self.version)


def moment_of(copy: RemoteObject) -> datetime:
    """The moment at which a copy was read."""
    return _EPOCH + copy.modified_ns // 1000 * _MICROSECOND


class DatabaseServers(Protocol):
    """Reads tables of databases."""

    async def describe(self, table: DatabaseTable) -> tuple[Column, ...]:
        """The columns of a table that its user may read. Raises InvalidSource, or SourceUnavailable."""

    async def copy(
        self, orders: Mapping[UUID, CopyOrder], seconds: float
    ) -> Mapping[UUID, CopiedRows | OrchestratorError]:
        """Copy tables of one database with one credential, all at one moment; returns each copy, or why there is none.

        An error that trying again may help is raised: SourceUnavailable, DiskFull. So is QueryTimedOut, if it takes
        longer than `seconds`. A cancel ends the statement on the server, and then this.
        """
