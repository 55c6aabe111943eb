"""Unpacking gzip and zstd to the end, and saying what is wrong with what is not whole.

By isal and libzstd, which hold the checksums against what they unpack. DuckDB 1.5.5 does not look at those of gzip, and
takes what there is of a file that was cut off for all of it.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol, cast

from backports.zstd import ZstdDecompressor, ZstdError
from isal import igzip_lib

# Its types say that this is an exception, and not the class of one.
_ISAL_ERROR = cast("type[Exception]", igzip_lib.error)
# As much as stays in the cache of a processor.
_UNPACKED_BYTES = 256 << 10
# What is left behind the end of a member is copied, and a file may have millions: each begins with a small bite.
_FIRST_BITE = 4 << 10
_GZIP_MAGIC = b"\x1f\x8b\x08"
_GZIP_FLAGS_AT, _GZIP_FIXED_BYTES = 3, 10
_GZIP_EXTRA, _GZIP_NAME = 1 << 2, 1 << 3
# DuckDB gives up its whole database over a longer header.
_GZIP_LONGEST_HEADER = 32_000
_USUAL_HEADER = 128
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# Frames that are to be passed over begin with a byte from 0x50 to 0x5f, and this.
_ZSTD_SKIPPED = b"\x2a\x4d\x18"
_ZSTD_SKIPPED_FIRST = 0x5
_NUMBER = re.compile(r"^Error -?\d+ ")


class Broken(Exception):
    """What is packed is not whole. The text is the end of a sentence that begins with the name of the file."""


def unpacked(chunks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """What is packed in the chunks, bit by bit; `compression` is `gzip` or `zstd`.

    All of it was unpacked, and is whole as far as checksums can tell, when the iterator ends. Raises Broken.
    """
    unpacking = _Unpacking(_PACKINGS[compression])
    for chunk in chunks:
        yield from unpacking.feed(chunk)
    unpacking.end()


class _Member(Protocol):
    """Unpacks a part of a file that stands for itself: a member of gzip, a frame of zstd."""

    @property
    def eof(self) -> bool:
        """Whether its end was reached."""

    @property
    def needs_input(self) -> bool:
        """Whether there is nothing more to be had from what it was given."""

    @property
    def unused_data(self) -> bytes:
        """What it was given beyond its end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """The next bytes, `max_length` at most."""


class _Packing(NamedTuple):
    """A kind of compression. `head` is given what a member begins with and returns how much of it is its header.

    None: not before there are more bytes. It raises _NoMember for what is none, and Broken for what is not read.
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
        # The beginning of a member, too short so far to make out.
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Unpack the next bytes of the file. Raises Broken."""
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
        """The file has ended. Raises Broken if it should not have."""
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
    """See _Packing. isal reads headers too, but not every one that comes in two pieces."""
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
    """See _Packing. The header of a frame is part of what is unpacked."""
    skipped = start[0] >> 4 == _ZSTD_SKIPPED_FIRST and _ZSTD_SKIPPED.startswith(start[1:4])
    if not skipped and not _ZSTD_MAGIC.startswith(start[:4]):
        raise _NoMember
    return 0 if len(start) >= len(_ZSTD_MAGIC) else None


_PACKINGS = {
    "gzip": _Packing("gzip", lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP_NO_HDR_VER), _gzip_head),
    "zstd": _Packing("zstd", ZstdDecompressor, _zstd_head),
}
