"""Reads CSV and JSON files in Python, for what DuckDB does not say of them, such as headers and line numbers."""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Protocol, cast

from orchestrator.engines.duckdb.sources.contract import UnreadableFile
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.engines.duckdb.sources.opening import open_file, size_of
from orchestrator.model.names import fold

_SEPARATORS = {b";": "semicolons", b"\t": "tabs", b"|": "bars"}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_NOT = "uncompressed"
# Python's names for encodings, where they differ from DuckDB's. This one drops a byte order mark.
_CODECS = {"utf-8": "utf-8-sig"}
_DIGITS = bytes(ord("0") if chr(byte) in "0123456789." else ord(" ") for byte in range(256))
# As much as DuckDB takes for one line: a header may have thousands of long names, and a field may be a document.
csv.field_size_limit(2_000_000)


class Records(Protocol):
    """The interface of Python's `csv.reader` objects."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...


def compression(file: SourceFile) -> str:
    """DuckDB's word for the compression that a file's name says. Of a link, both names."""
    for suffix, name in _COMPRESSIONS.items():
        if file.shown.lower().endswith(suffix) or file.real.lower().endswith(suffix):
            return name
    return _NOT


def with_data(files: Iterable[SourceFile]) -> list[SourceFile]:
    """The files that are not empty. An empty one, or a byte order mark alone, has no rows and no header line."""
    return [file for file in files if not _is_empty(file)]


def header(file: SourceFile, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in the header line of a CSV file. Empty and repeated ones are replaced as DuckDB does it."""
    record = first_record(file, options, skip_empty=False)
    seen: dict[str, int] = {}
    names = []
    for name, default in zip(map(str.strip, record), default_names(len(record)), strict=True):
        unique = name or default
        while fold(unique) in seen:
            seen[fold(unique)] += 1
            unique = f"{unique}_{seen[fold(unique)]}"
        seen[fold(unique)] = 0
        names.append(unique)
    return tuple(names)


def default_names(count: int) -> tuple[str, ...]:
    """DuckDB's names for `count` columns without names. Their numbers are padded with zeros to the same length."""
    digits = len(str(count - 1))
    return tuple(f"column{n:0{digits}}" for n in range(count))


def first_record(file: SourceFile, options: Mapping[str, Any], *, skip_empty: bool = True) -> list[str]:
    """The fields of the first record of a CSV file. Raises UnreadableFile."""
    with records(file, options) as found:
        record = next((r for r in found if r or not skip_empty), [])
    if not record:
        raise UnreadableFile(f"{file.real} begins with an empty line.")
    return record


@contextmanager
def records(file: SourceFile, options: Mapping[str, Any]) -> Iterator[Records]:
    """The records of a CSV file as lists of fields. `line_num` is the line in which the latest one ends."""
    quote = options["quote"]
    with _opened(file) as stream:
        text = io.TextIOWrapper(stream, _CODECS.get(options["encoding"], options["encoding"]), newline="")
        if quote:
            yield csv.reader(text, delimiter=options["delimiter"], quotechar=quote)
        else:
            yield csv.reader(text, delimiter=options["delimiter"], quoting=csv.QUOTE_NONE)


def lines(file: SourceFile) -> Iterator[tuple[int, str]]:
    """The lines of a JSON file that are not blank, with their numbers, from 1."""
    with _opened(file) as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, line.decode("utf-8", "replace")


def is_array(file: SourceFile) -> bool:
    """Whether a JSON file holds one array of rows, rather than a row on each line."""
    with _opened(file) as stream:
        return stream.read(1 << 16).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")


def has_long_numbers(file: SourceFile, length: int) -> bool:
    """Whether a file has `length` digits and points in a row somewhere. True for every compressed file."""
    if compression(file) != _NOT:
        return True
    wanted, rest = b"0" * length, b""
    with open_file(file) as stream:
        while chunk := stream.read(1 << 20):
            digits = rest + chunk.translate(_DIGITS)
            if wanted in digits:
                return True
            rest = digits[-length:]
    return False


def mixed_line_ends(file: SourceFile) -> bool:
    """Whether a text file ends its lines in more than one way, which DuckDB cannot read."""
    kinds = set()
    with _opened(file) as stream:
        for line in stream:
            kinds.add(b"\r\n" if line.endswith(b"\r\n") else b"\n")
            if b"\r" in line.rstrip(b"\r\n") or len(kinds) > 1:
                return True
    return False


def detect_separator(file: SourceFile) -> str | None:
    """The name of the separator that a CSV file seems to have instead of commas, by its first line; None for none."""
    with _opened(file) as stream:
        line = stream.read(1 << 16).partition(b"\n")[0]
    if b"," in line or b'"' in line:
        return None
    return next((name for character, name in _SEPARATORS.items() if character in line), None)


def _is_empty(file: SourceFile) -> bool:
    if compression(file) == _NOT and size_of(file) > len(codecs.BOM_UTF8):
        return False
    try:
        with _opened(file) as stream:
            return stream.read(len(codecs.BOM_UTF8) + 1) in {b"", codecs.BOM_UTF8, codecs.BOM_UTF16}
    except (OSError, UnreadableFile):
        return False  # damaged: the next reader raises a better error


@contextmanager
def _opened(file: SourceFile) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed. Raises UnreadableFile if they are damaged or not in the encoding."""
    try:
        with _stream(file) as stream:
            yield stream
    except (UnicodeError, csv.Error, EOFError, zlib.error) as error:
        raise UnreadableFile(f"{file.real} is damaged, or not a text in its encoding: {error}.") from None
    except OSError as error:
        if error.errno is not None:  # without a number, the error is about the bytes
            raise
        raise UnreadableFile(f"{file.real} is damaged: {error}.") from None


@contextmanager
def _stream(file: SourceFile) -> Iterator[IO[bytes]]:
    kind = compression(file)
    with open_file(file) as raw:
        if kind == "gzip":
            with gzip.open(raw) as stream:
                yield cast("IO[bytes]", stream)
        elif kind == "zstd":
            from pyarrow import input_stream  # noqa: PLC0415 - takes long to import, and few files are of this kind

            with input_stream(raw, compression="zstd") as stream:
                yield cast("IO[bytes]", stream)
        else:
            yield raw
