"""Checks that a source file is whole, and computes the digest of its bytes, in one pass."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO

import xxhash

from orchestrator.engines.duckdb.integrity.decompression import Broken, unpacked
from orchestrator.engines.duckdb.sources.contract import UnreadableFile
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.engines.duckdb.sources.opening import open_file
from orchestrator.engines.duckdb.sources.text import compression

PARQUET = "Parquet"
_PACKED = {"gzip", "zstd"}
# Small enough to stay in the cache of a processor.
_CHUNK_BYTES = 128 << 10
_PARQUET_MAGIC = b"PAR1"
_PARQUET_TAIL = 8
# The first bytes of files that are no text, and the ends of error messages.
_NO_TEXT = {
    b"\x1f\x8b": "is packed by gzip, and its name does not end in .gz.",
    b"\x28\xb5\x2f\xfd": "is packed by zstd, and its name does not end in .zst.",
    **{b"BZh%d1AY&SY" % level: "is packed by bzip2, which is not read." for level in range(1, 10)},
    b"\xfd7zXZ\x00": "is packed by xz, which is not read.",
    b"PK\x03\x04": "is a ZIP archive, which is not read.",
    b"PAR1\x15": "is a Parquet file.",
}
_LONGEST_MAGIC = max(map(len, _NO_TEXT))


class Stopped(Exception):
    """The check was stopped, because its result is no longer needed."""


def is_packed(file: SourceFile, source_format: str) -> bool:
    """Whether DuckDB has to decompress the whole file to read it."""
    return source_format != PARQUET and compression(file) in _PACKED


def check_whole(file: SourceFile, source_format: str, stop: Callable[[], bool] = lambda: False) -> str:
    """Read a source file to its end and return its digest: `xxh128:` and 32 hexadecimal digits.

    Raises UnreadableFile, which names the file, if it is compressed and not whole, or does not begin like text. Raises
    OSError, and Stopped soon after `stop` returns true. The content of a Parquet file is not checked: DuckDB notices
    when one was cut off.
    """
    digest = xxhash.xxh3_128()
    with _naming(file), open_file(file) as stream:
        chunks = _chunks(stream, digest, stop)
        if is_packed(file, source_format):
            for _ in unpacked(chunks, compression(file)):
                pass
        elif source_format != PARQUET:
            _refuse_no_text(next(chunks, b""))
        for _ in chunks:
            pass
    return f"xxh128:{digest.hexdigest()}"


def digest_of(file: SourceFile) -> str:
    """The digest of a file's bytes, as `check_whole` returns it. Raises OSError."""
    return check_whole(file, PARQUET)


def check_text(files: Iterable[SourceFile], source_format: str) -> None:
    """Raise UnreadableFile for a text file whose name says no compression, and that does not begin like text."""
    for file in files:
        if source_format != PARQUET and not is_packed(file, source_format):
            with _naming(file), open_file(file) as stream:
                _refuse_no_text(stream.read(_LONGEST_MAGIC))


def digest_of_footer(file: SourceFile) -> str | None:
    """The digest of a Parquet file's footer, which holds the offsets, sizes and bounds of all its data.

    It is `xxh128-footer:` and 32 hexadecimal digits; None if the file has no footer. Raises OSError.
    """
    with open_file(file) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _PARQUET_TAIL))
        tail = stream.read(_PARQUET_TAIL)
        length = int.from_bytes(tail[:4], "little") + _PARQUET_TAIL
        if tail[4:] != _PARQUET_MAGIC or length > size:
            return None
        stream.seek(size - length)
        return f"xxh128-footer:{xxhash.xxh3_128(stream.read(length)).hexdigest()}"


@contextmanager
def _naming(file: SourceFile) -> Iterator[None]:
    """Turn Broken into UnreadableFile, with the file's real path before the message."""
    try:
        yield
    except Broken as error:
        raise UnreadableFile(f"{file.real} {error}") from None


def _chunks(stream: IO[bytes], digest: xxhash.xxh3_128, stop: Callable[[], bool]) -> Iterator[bytes]:
    while not stop():
        chunk = stream.read(_CHUNK_BYTES)
        if not chunk:
            return
        digest.update(chunk)
        yield chunk
    raise Stopped


def _refuse_no_text(start: bytes) -> None:
    for magic, what in _NO_TEXT.items():
        if start.startswith(magic):
            raise Broken(what)
