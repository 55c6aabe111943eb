"""Copies tables of a database into Parquet files, batch by batch: a table need not fit into memory."""

import errno
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.model.database_tables import CopiedRows, CopyOrder
from orchestrator.model.errors import (
    DiskFull,
    InvalidSource,
    OrchestratorError,
    OutputTooLarge,
    QueryCancelled,
    StoreUnavailable,
    Terminal,
)
from orchestrator.model.names import fold
from orchestrator.model.snapshot import Column
from orchestrator.remote_sources.databases.locations import TableLocation, parse_table
from orchestrator.remote_sources.databases.sessions import Session, SourceColumn

# Of a row group, as DuckDB writes them. The wider the rows, the fewer.
_GROUP_ROWS, _GROUP_BYTES = 122_880, 64 << 20
_MIB = 1 << 20
_REFRESH = "If that is meant to be so, refresh the schema of the source table."


class Copying:
    """The copies of some tables of one database, made by one thread. Any thread may call `stop`."""

    def __init__(self, orders: Mapping[UUID, CopyOrder], most_mb: int) -> None:
        self._orders = orders
        self._most_mb = most_mb
        self._session: Session | None = None
        self._is_stopped = threading.Event()

    def use(self, session: Session) -> None:
        """Read in this session. Raises QueryCancelled if this was stopped before."""
        self._session = session
        self._raise_if_stopped()

    def stop(self) -> None:
        """Have the server end its statement, and the thread end soon."""
        self._is_stopped.set()
        if self._session is not None:
            self._session.cancel()

    def copy_all(self) -> dict[UUID, CopiedRows | OrchestratorError]:
        """Copy every table. The error of one that trying again cannot help is in its place."""
        found: dict[UUID, CopiedRows | OrchestratorError] = {}
        for key, order in self._orders.items():
            self._raise_if_stopped()
            try:
                found[key] = self._copy(order)
            except Terminal as error:
                self._raise_if_stopped()
                found[key] = error
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    raise DiskFull from None
                raise StoreUnavailable(f"A copy could not be written: {error.strerror or error}.") from None
        return found

    def _copy(self, order: CopyOrder) -> CopiedRows:
        if self._session is None:
            raise RuntimeError("A copy is made before there is a session.")
        table = parse_table(order.table.url, order.table.format)
        columns = chosen_columns(self._session.columns(table), order, table)
        schema = pa.schema([pa.field(column.name, column.arrow_type) for column in columns])
        rows = 0
        with (
            closing(self._session.batches(table, columns)) as batches,
            order.path.open("xb") as stream,
            pq.ParquetWriter(stream, schema, compression="zstd") as writer,
        ):
            for group in grouped(batches):
                self._raise_if_stopped()
                writer.write_table(pa.Table.from_batches(group, schema), row_group_size=_GROUP_ROWS)
                rows += sum(batch.num_rows for batch in group)
                self._check_size(stream.tell(), table)
        return CopiedRows(rows, order.path.stat().st_size, self._session.began_at)

    def _check_size(self, size: int, table: TableLocation) -> None:
        if size > self._most_mb * _MIB:
            raise OutputTooLarge(
                f"The copy of {table.shown} is larger than it may be ({self._most_mb:,} MiB: MATVIEW_SOURCE_COPY_MB)."
            )

    def _raise_if_stopped(self) -> None:
        if self._is_stopped.is_set():
            raise QueryCancelled("The copy was stopped.")


def grouped(batches: Iterator[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """The batches in groups that are large enough for a row group."""
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        is_large = sum(one.num_rows for one in group) >= _GROUP_ROWS or sum(one.nbytes for one in group) >= _GROUP_BYTES
        if is_large:
            yield group
            group = []
    if group:
        yield group


def chosen_columns(found: Sequence[SourceColumn], order: CopyOrder, table: TableLocation) -> list[SourceColumn]:
    """The columns of the copy: those that were recorded, of which none may be gone or have another type.

    Raises InvalidSource, which names the column.
    """
    by_name = {fold(column.name): column for column in found}
    return [_chosen(by_name.get(fold(column.name)), column, order, table) for column in order.columns]


def _chosen(there: SourceColumn | None, recorded: Column, order: CopyOrder, table: TableLocation) -> SourceColumn:
    if there is None:
        raise InvalidSource(
            f'the column "{recorded.name}" is not in {table.shown} any more, or may not be read. {_REFRESH}'
        )
    if fold(recorded.name) in order.stated:
        return there.as_text()
    if there.duckdb_type != recorded.duckdb_type:
        raise InvalidSource(
            f'the column "{recorded.name}" is {there.duckdb_type} in {table.shown}, but was recorded as '
            f"{recorded.duckdb_type}. {_REFRESH}"
        )
    return there
