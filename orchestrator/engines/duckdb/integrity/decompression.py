"""Decompresses gzip and zstd to the end, and raises an error that says why data is not whole.

isal and libzstd verify the checksums. DuckDB 1.5.5 does not verify those of gzip, and reads a truncated file as if it
were complete.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol, cast

from backports.zstd import ZstdDecompressor, ZstdError
from isal import igzip_lib

# isal's type stubs declare `error` as an instance; it is the exception class.
_ISAL_ERROR = cast("type[Exception]", igzip_lib.error)
# Small enough to stay in the cache of a processor.
_UNPACKED_BYTES = 256 << 10
# The decompressor copies the input behind a member's end, and a file may have millions of members. So each member first
# gets a small piece.
_FIRST_BITE = 4 << 10
_GZIP_MAGIC = b"\x1f\x8b\x08"
_GZIP_FLAGS_AT, _GZIP_FIXED_BYTES = 3, 10
_GZIP_EXTRA, _GZIP_NAME = 1 << 2, 1 << 3
# A longer header makes DuckDB invalidate its whole database.
_GZIP_LONGEST_HEADER = 32_000
_USUAL_HEADER = 128
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# Skippable frames begin with a byte from 0x50 to 0x5f, and these bytes.
_ZSTD_SKIPPED = b"\x2a\x4d\x18"
_ZSTD_SKIPPED_FIRST = 0x5
_NUMBER = re.compile(r"^Error -?\d+ ")


class Broken(Exception):
    """A file is damaged or not of the expected kind. The message continues a sentence that begins with its name."""


def unpacked(chunks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """The decompressed content of the chunks, piece by piece; `compression` is `gzip` or `zstd`.

    When the iterator ends, all of it was decompressed and no checksum has failed. Raises Broken.
    """
    unpacking = _Unpacking(_PACKINGS[compression])
    for chunk in chunks:
        yield from unpacking.feed(chunk)
    unpacking.end()


class _Member(Protocol):
    """The decompressor of one independent part of a file: a member of gzip, or a frame of zstd."""

    @property
    def eof(self) -> bool:
        """Whether it has reached the end of its part."""

    @property
    def needs_input(self) -> bool:
        """Whether it has returned all bytes that its input so far gives."""

    @property
    def unused_data(self) -> bytes:
        """The input behind the end of its part."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """The next decompressed bytes, `max_length` at most."""


class _Packing(NamedTuple):
    """A compression format: its name, its decompressor, and a function for the beginning of a member.

    `head` gets the first bytes of a member and returns how many of them to skip as its header. It returns None if it
    needs more bytes. It raises _NoMember if they begin no member, and Broken if the header is not supported.
    """

    name: str
    member: Callable[[], _Member]
    head: Callable[[bytes], int | None]


class _NoMember(Exception):
    """These bytes are not the beginning of a member."""


class _Unpacking:
    def __init__(self, packing: _Packing) -> None:
        self._packing = packing
        self._member: _Member | None = None
        self._count = 0
        self._bite = _FIRST_BITE
        # The beginning of a member, still too short to parse.
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Decompress the next bytes of the file. Raises Broken."""
        chunk, self._rest, at = self._rest + chunk, b"", 0
        while at < len(chunk):
            if self._member is None:
                head = self._head(chunk, at)
                if head is None:
                    self._rest = chunk[at:]
                    return
                at += head
                self._member, self._bite = self._packing.member(), _FIRST_BITE
            bite = chunk[at : at + self._bite]
            at, self._bite = at + len(bite), 2 * self._bite
            yield from self._unpack(self._member, bite)
            if self._member.eof:
                at -= len(self._member.unused_data)
                self._member = None

    def end(self) -> None:
        """Note the end of the file. Raises Broken if the file is empty or cut off."""
        name = self._packing.name
        if self._rest or self._member is not None:
            raise Broken(f"is cut off: it ends in the middle of its {name} data.")
        if not self._count:
            raise Broken(f"is empty, which no {name} file is: it was cut off.")

    def _head(self, chunk: bytes, at: int) -> int | None:
        name = self._packing.name
        try:
            head = self._packing.head(chunk[at : at + _USUAL_HEADER])
            if head is None:
                head = self._packing.head(chunk[at : at + _GZIP_LONGEST_HEADER])
        except _NoMember:
            what = f"is damaged: behind the end of its {name} data are bytes that do not belong there."
            if not self._count:
                what = f"is damaged, or not packed by {name}: it does not begin as such a file does."
            raise Broken(what) from None
        self._count += head is not None
        return head

    def _unpack(self, member: _Member, data: bytes) -> Iterator[bytes]:
        try:
            yield member.decompress(data, _UNPACKED_BYTES)
            while not (member.needs_input or member.eof):
                yield member.decompress(b"", _UNPACKED_BYTES)
        except (_ISAL_ERROR, ZstdError) as error:
            reason = _NUMBER.sub("", str(error).rpartition(": ")[2])
            raise Broken(f"is damaged: its {self._packing.name} data cannot be unpacked ({reason}).") from None


def _gzip_head(start: bytes) -> int | None:
    """See _Packing. isal parses headers too, but not every one that comes in two pieces."""
    if not start.startswith(_GZIP_MAGIC[: len(start)]):
        raise _NoMember
    if len(start) < _GZIP_FIXED_BYTES:
        return None
    flags, at = start[_GZIP_FLAGS_AT], _GZIP_FIXED_BYTES
    if flags & ~(_GZIP_EXTRA | _GZIP_NAME):
        raise Broken(
            "has a part in the header of its gzip data that is not read, such as a comment. Compress it again."
        )
    if flags & _GZIP_EXTRA:
        at += 2 + int.from_bytes(start[at : at + 2], "little")
    if flags & _GZIP_NAME:
        end = start.find(b"\0", at)
        at = end + 1 if end >= 0 else max(at, len(start)) + 1
    if at <= len(start):
        return at
    if len(start) == _GZIP_LONGEST_HEADER:
        raise Broken("has a longer header in its gzip data than is read. Compress it again.")
    return None


def _zstd_head(start: bytes) -> int | None:
    """See _Packing. The decompressor reads the header of a frame itself, so nothing is skipped."""
    skipped = start[0] >> 4 == _ZSTD_SKIPPED_FIRST and _ZSTD_SKIPPED.startswith(start[1:4])
    if not skipped and not _ZSTD_MAGIC.startswith(start[:4]):
        raise _NoMember
    return 0 if len(start) >= len(_ZSTD_MAGIC) else None


_PACKINGS = {
    "gzip": _Packing("gzip", lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP_NO_HDR_VER), _gzip_head),
    "zstd": _Packing("zstd", ZstdDecompressor, _zstd_head),
}
