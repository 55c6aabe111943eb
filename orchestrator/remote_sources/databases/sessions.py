"""Shapes that the sessions of all databases share."""

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import pyarrow as pa

from orchestrator.model.source_table import Credential
from orchestrator.remote_sources.addresses import Server
from orchestrator.remote_sources.databases.locations import TableLocation, Tls

CONNECT_SECONDS = 5
# Several names for one server are seldom more. Each may take the time of a connection.
MOST_ADDRESSES = 4
# A table that another session keeps locked for longer is tried again later.
LOCK_SECONDS = 30


class SourceColumn(NamedTuple):
    """A column of a table: the SQL that reads its value, its type in DuckDB, and its type in the copy.

    `text` is the SQL that reads it as text instead, for a column whose type a person has stated; None if the value
    needs no such detour.
    """

    name: str
    select: str
    duckdb_type: str
    arrow_type: pa.DataType
    text: str | None = None

    def as_text(self) -> "SourceColumn":
        """The column read as text, if it has such SQL."""
        if self.text is None:
            return self
        return SourceColumn(self.name, self.text, "VARCHAR", pa.string())


class Target(NamedTuple):
    """A database to connect to: the addresses of its server were checked and are not to be resolved again."""

    server: Server
    addresses: Sequence[str]
    database: str
    credential: Credential
    tls: Tls


class Session(Protocol):
    """A read-only transaction on one database, which sees one moment of it. Only one thread uses it at a time.

    Every method raises InvalidSource for what trying again cannot help, and SourceUnavailable for the rest. No error
    holds the password.
    """

    @property
    def began_at(self) -> datetime:
        """The moment of the transaction, by the clock of the server."""

    def columns(self, table: TableLocation) -> Sequence[SourceColumn]:
        """The columns of a table that the user may read. Another table can be read after an error of this one."""

    def batches(self, table: TableLocation, columns: Sequence[SourceColumn]) -> Generator[pa.RecordBatch, None, None]:
        """The rows of a table, in batches of some megabytes, with the Arrow types of the columns."""

    def cancel(self) -> None:
        """Have the server end the statement in progress. Any other thread may call this."""

    def close(self) -> None:
        """End the transaction and the connection."""
