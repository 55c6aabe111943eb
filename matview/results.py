"""Rows that are read as a stream of Arrow."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow as pa

from matview.errors import Incomplete, MatviewError, NotInstalled
from matview.transport import Request, Transport

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

ARROW = "application/vnd.apache.arrow.stream"
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_BUFFER_BYTES = 1 << 16
_CANCEL_SECONDS = 10.0


class Result:
    """Rows on the server. Each call below reads them again, and runs the query again."""

    def __init__(
        self, transport: Transport, ask: Callable[[], Request], cancel: Callable[[Request], Request] | None = None
    ) -> None:
        """`ask` makes the request for the rows. `cancel` makes the one that ends it before its last row."""
        self._transport = transport
        self._ask = ask
        self._cancel = cancel

    def to_arrow(self) -> pa.Table:
        """All rows as a table of Arrow. Raises MatviewError."""
        with self._reading() as reader:
            return reader.read_all()

    def to_pandas(self) -> pd.DataFrame:
        """All rows as a data frame of pandas. Raises MatviewError, NotInstalled without pandas."""
        _needed("pandas", "to_pandas()")
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def to_polars(self) -> pl.DataFrame:
        """All rows as a data frame of polars. Raises MatviewError, NotInstalled without polars."""
        frame: pl.DataFrame = _needed("polars", "to_polars()").from_arrow(self.to_arrow())
        return frame

    def batches(self) -> Generator[pa.RecordBatch, None, None]:
        """The rows in batches, of which one is in memory at a time. Closing the iterator ends the read."""
        with self._reading() as reader:
            yield from reader

    @contextmanager
    def _reading(self) -> Iterator[pa.RecordBatchReader]:
        """A reader of the rows. Raises Incomplete if they do not all come. Leaving it early ends the query."""
        request = self._ask()
        try:
            with self._transport.open(request) as response, _reader_of(response) as reader:
                yield reader
        except BaseException as error:
            # An answer of the server says that the query has ended. After anything else it may still run.
            if self._cancel and not (isinstance(error, MatviewError) and error.status is not None):
                self._transport.attempt(self._cancel(request), _CANCEL_SECONDS)
            raise


@contextmanager
def _reader_of(response: httpx.Response) -> Iterator[pa.RecordBatchReader]:
    """The reader of an answer, which must be whole after its use."""
    if response.headers.get("content-type", "").partition(";")[0] != ARROW:
        detail = f"{response.url} answers with something other than Arrow: it is no Matview API."
        raise MatviewError(detail, status=response.status_code)
    body = _Body(response)
    try:
        with pa.ipc.open_stream(io.BufferedReader(body, _BUFFER_BYTES)) as reader:
            yield reader
        body.finish()
    except (httpx.TransportError, pa.ArrowInvalid, OSError) as error:
        raise Incomplete(
            f"The rows broke off: the connection was lost, or the query failed after its first rows ({error}).",
            code="incomplete",
        ) from error


class _Body(io.RawIOBase):
    """The body of an answer as a file."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self._chunks = response.iter_bytes()
        self._rest = memoryview(b"")
        self._tail = b""

    def readable(self) -> bool:
        """Of every body."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any object with the buffer protocol
        """Fill the buffer with as much as has arrived, at least one byte unless the body has ended."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = self._seen(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def finish(self) -> None:
        """Read to the end. Raises OSError if the stream of Arrow was not ended by its writer.

        A proxy may hide that a server broke its answer off. Arrow takes such an end for one of the stream.
        """
        for chunk in self._chunks:
            self._seen(chunk)
        if self._tail != END_OF_STREAM:
            raise OSError("the stream has no end")

    def _seen(self, chunk: bytes) -> memoryview:
        size = len(END_OF_STREAM)
        self._tail = (self._tail + chunk[-size:])[-size:]
        return memoryview(chunk)


def _needed(package: str, call: str) -> Any:  # noqa: ANN401 - a module
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        detail = f"{call} needs {package}, which is not installed: pip install {package}"
        raise NotInstalled(detail, code="not_installed") from error
