"""Write the result of a query into a pipe, a part at a time, so that a result of any size takes little memory."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb

from orchestrator.model.type_names import Kind, literal

# DuckDB computes this many rows at a time.
_VECTOR = 2048
# A batch is converted as a whole. It has so many rows that, at the width assumed for a value, it takes this much.
_BATCH_BYTES = 8 << 20
_VALUE_BYTES = 32
_MOST_VECTORS = 32
_BETWEEN = ",\n"


def write_arrow(
    result: duckdb.DuckDBPyConnection,
    columns: Sequence[tuple[str, Kind]],
    pipe: int,
    *,
    lz4: bool,
    before_end: Callable[[], object],
) -> int:
    """Write the result as an Arrow IPC stream, and return the number of its rows. `before_end` may raise an error."""
    import pyarrow as pa  # noqa: PLC0415 - it takes longer to load than most queries, and most children never need it

    # DuckDB computes ahead into a small buffer, mostly with one thread. A larger one (streaming_buffer_size) would be
    # faster, but DuckDB counts 16 bytes for a text of any length, so long texts would fill the memory.
    reader = result.to_arrow_reader(_batch_rows(len(columns)))
    # `columns` may repeat a name, and have a spelling that the SELECT of the result had to change.
    schema = pa.schema([field.with_name(name) for field, (name, _) in zip(reader.schema, columns, strict=True)])
    options = pa.ipc.IpcWriteOptions(compression="lz4" if lz4 else None)
    rows = 0
    writer = pa.ipc.new_stream(pa.PythonFile(_Pipe(pipe), mode="w"), schema, options=options)
    for batch in reader:
        writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
        rows += batch.num_rows
    before_end()
    # Only now: closing writes the mark of the end, by which a reader takes the rows of a failed query for all of them.
    writer.close()
    return rows


def write_rows(result: duckdb.DuckDBPyConnection, pipe: int, *, most_rows: int | None) -> int:
    """Write the texts of a result of one column, separated by commas, and return how many the result has.

    At most `most_rows` are written. One more is read, but no further.
    """
    rows = 0
    while batch := result.fetchmany(_VECTOR):
        texts = [text for (text,) in batch]
        wanted = texts if most_rows is None else texts[: max(0, most_rows - rows)]
        if wanted:
            write_all(pipe, ((_BETWEEN if rows else "") + _BETWEEN.join(wanted)).encode())
        rows += len(texts)
        if most_rows is not None and rows > most_rows:
            break
    return rows


def write_file(
    connection: duckdb.DuckDBPyConnection, select: str, parameters: Mapping[str, Any], options: str, path: str
) -> int:
    """Have DuckDB write a file of this format into the pipe at `path`, and return the number of rows."""
    row = connection.execute(f"COPY ({select}) TO {literal(path)} ({options})", parameters).fetchone()
    return int(row[0]) if row else 0


def write_all(pipe: int, data: bytes) -> None:
    """Write all bytes. Raises BrokenPipeError if the parent no longer reads."""
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]


def _batch_rows(columns: int) -> int:
    vectors = _BATCH_BYTES // (_VECTOR * _VALUE_BYTES * max(1, columns))
    return _VECTOR * max(1, min(_MOST_VECTORS, vectors))


class _Pipe:
    """The pipe as a file of Python, which pyarrow writes into. It has no buffer: each batch is written as it is."""

    closed = False

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def write(self, data: bytes) -> int:
        write_all(self._pipe, data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The pipe is closed by its owner."""
