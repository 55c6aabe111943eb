"""The text of CSV and JSON files, as far as it has to be looked at before DuckDB reads it."""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from orchestrator.engines.source_files import SourceFile

_SEPARATORS = {b";": "semicolons", b"\t": "tabs", b"|": "bars"}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_NOT = "uncompressed"


class Unreadable(ValueError):
    """A file cannot be read as what it should be. The text names it, by its real path."""


def compression(file: SourceFile) -> str:
    """How the file is compressed, as DuckDB calls it. A link counts for the name that it has and for its target's."""
    for suffix, name in _COMPRESSIONS.items():
        if file.shown.lower().endswith(suffix) or file.real.lower().endswith(suffix):
            return name
    return _NOT


def with_data(files: Iterable[SourceFile]) -> list[SourceFile]:
    """The files that are not empty. An empty one holds no rows, and no header line either."""
    return [file for file in files if os.path.getsize(file.real) and not _unpacks_to_nothing(file)]  # noqa: PTH202 - strings


def header(file: SourceFile) -> tuple[str, ...]:
    """The names in the header line of a CSV file, made complete and unique in the way that DuckDB does it."""
    record = first_record(file, skip_empty=False)
    seen: dict[str, int] = {}
    names = []
    for name, default in zip(map(str.strip, record), default_names(len(record)), strict=True):
        unique = name or default
        while unique.lower() in seen:
            seen[unique.lower()] += 1
            unique = f"{unique}_{seen[unique.lower()]}"
        seen[unique.lower()] = 0
        names.append(unique)
    return tuple(names)


def default_names(count: int) -> tuple[str, ...]:
    """What DuckDB calls so many columns that have no names: all numbers are of the same length."""
    digits = len(str(count - 1))
    return tuple(f"column{n:0{digits}}" for n in range(count))


def first_record(file: SourceFile, *, skip_empty: bool = True) -> list[str]:
    """The fields in the first line of a CSV file. Raises Unreadable."""
    with _opened(file) as stream:
        records = csv.reader(io.TextIOWrapper(stream, "utf-8-sig", newline=""))
        record = next((r for r in records if r or not skip_empty), [])
    if not record:
        raise Unreadable(f"{file.real} begins with an empty line.")
    return record


def other_separator(file: SourceFile) -> str | None:
    """What a CSV file seems to have in the place of commas, to judge by its first line."""
    with _opened(file) as stream:
        line = stream.read(1 << 16).partition(b"\n")[0]
    if b"," in line or b'"' in line:
        return None
    return next((name for character, name in _SEPARATORS.items() if character in line), None)


def _unpacks_to_nothing(file: SourceFile) -> bool:
    if compression(file) == _NOT:
        return False
    try:
        with _opened(file) as stream:
            return not stream.read(1)
    except (OSError, Unreadable):
        return False  # damaged: what reads it next says so better


@contextmanager
def _opened(file: SourceFile) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked. Raises Unreadable for what is found to be wrong with them."""
    try:
        with _stream(file) as stream:
            yield stream
    except (UnicodeDecodeError, csv.Error, EOFError, zlib.error) as error:
        raise Unreadable(f"{file.real} is damaged, or not a text in UTF-8: {error}.") from None
    except OSError as error:
        if error.errno is not None:  # else it is about the bytes
            raise
        raise Unreadable(f"{file.real} is damaged: {error}.") from None


def _stream(file: SourceFile) -> IO[bytes]:
    kind = compression(file)
    if kind == "gzip":
        return cast("IO[bytes]", gzip.open(file.real))
    if kind == "zstd":
        from pyarrow import input_stream  # noqa: PLC0415 - takes long to import, and few files are of this kind

        return cast("IO[bytes]", input_stream(file.real, compression="zstd"))
    return Path(file.real).open("rb")
